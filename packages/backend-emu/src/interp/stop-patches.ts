/**
 * A deadline inside a block: the record there is patched (HANDLER_STOP), and put back when the run
 * ends. Records that the op cache has dropped meanwhile, or written anew, are left alone.
 */
import * as R from '../isa/op-record.js';
import { HANDLER_STOP, plainHandlers } from './handlers.js';
import type { OpCache } from './op-cache.js';

/** Numbers that stand for a patch. */
const PATCH_SIZE = 3;

export class StopPatches {
  /** Of each patch the record's address, its handler before and since: `#used` numbers. */
  readonly #patches: number[] = [];
  #used = 0;
  /** The op cache's epoch that they are of. */
  #epoch = 0;
  readonly #plain: Uint16Array;

  constructor(
    /** The memory of op records. */
    readonly halves: Uint16Array,
    readonly opCache: OpCache,
  ) {
    this.#plain = plainHandlers(opCache.handlers);
  }

  get any(): boolean {
    return this.#used > 0;
  }

  /**
   * Has the run stop before `record`. Instructions from `from` on, in the same block, execute by
   * themselves until then: a sequence might leave out flags that are seen at the stop.
   */
  set(record: number, from: number): void {
    this.clear();
    this.#epoch = this.opCache.epoch;
    const plain = this.#plain;
    for (let at = from; at < record; at += R.OP_SIZE) {
      const handler = this.halves[at >> 1];
      const hasOther = handler < plain.length && plain[handler] !== handler;
      if (hasOther) this.#replace(at, plain[handler]);
    }
    this.#replace(record, HANDLER_STOP);
  }

  /** Puts back what was patched. */
  clear(): void {
    const used = this.#used;
    if (used === 0) return;
    this.#used = 0;
    if (this.#epoch !== this.opCache.epoch) return;
    const patches = this.#patches;
    for (let i = 0; i < used; i += PATCH_SIZE) {
      const at = patches[i] >> 1;
      if (this.halves[at] === patches[i + 2]) this.halves[at] = patches[i + 1];
    }
  }

  #replace(record: number, since: number): void {
    const patches = this.#patches;
    const used = this.#used;
    patches[used] = record;
    patches[used + 1] = this.halves[record >> 1];
    patches[used + 2] = since;
    this.#used = used + PATCH_SIZE;
    this.halves[record >> 1] = since;
  }
}
