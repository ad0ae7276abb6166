/**
 * What the entries of the jump caches were made for: the caches know addresses by RIP alone, so
 * another mode, base or limit of the code segment makes them worthless. One set each for
 * supervisor (0) and user (1) code, whose modes are in the record for emitted code.
 */
import * as L from './layout.js';

const CODE_MODES = L.CODE_MODES >> 2;

export class CodeModes {
  readonly #words: Int32Array;
  readonly #bases = [0, 0];
  readonly #limits = [0, 0];

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** True if the entries of `user` are still good under these; from now on they are for these. */
  hold(user: 0 | 1, mode: number, base: number, limit: number): boolean {
    const words = this.#words;
    const same = words[CODE_MODES + user] === mode && this.#bases[user] === base;
    if (same && this.#limits[user] === limit) return true;
    words[CODE_MODES + user] = mode;
    this.#bases[user] = base;
    this.#limits[user] = limit;
    return false;
  }

  /** The entries are for nothing any more. */
  forget(): void {
    this.#words.fill(-1, CODE_MODES, CODE_MODES + 2);
  }
}
