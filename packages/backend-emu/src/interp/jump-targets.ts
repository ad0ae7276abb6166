/**
 * Where jumps lead: the jump caches of supervisor and user code, by which emitted code finds the
 * record of an address, and the ring that notes where jumps through a register or memory led last.
 */
import * as L from '../cpu/layout.js';

const GENERATION = L.GENERATION >> 2;
const JUMP_CACHE = L.JUMP_CACHE >> 2;
const STRIDE = L.JUMP_ENTRY_SIZE >> 2;

export class JumpTargets {
  /** `words` of the record. */
  constructor(readonly words: Int32Array) {}

  /** Record that the cache of the current privilege has for the RIP `lo`, `hi`; 0: none. */
  cached(lo: number, hi: number): number {
    const { words } = this;
    const entry = this.#entry(lo);
    const found = words[entry] === lo && words[entry + 1] === hi;
    return found && words[entry + 2] === words[GENERATION] ? words[entry + 3] : 0;
  }

  /** Has the RIP `lo`, `hi` lead to `record`. */
  enter(lo: number, hi: number, record: number): void {
    const { words } = this;
    const entry = this.#entry(lo);
    words[entry] = lo;
    words[entry + 1] = hi;
    words[entry + 2] = words[GENERATION];
    words[entry + 3] = record;
  }

  /** Has both caches lead to new targets of blocks. */
  redirect(targets: ReadonlyMap<number, number>): void {
    const { words } = this;
    const least = Math.min(...targets.keys());
    const most = Math.max(...targets.keys());
    for (const first of [L.JUMP_SUPERVISOR >> 2, L.JUMP_USER >> 2]) {
      const end = first + L.JUMP_ENTRIES * STRIDE;
      for (let at = first + 3; at < end; at += STRIDE) {
        const record = words[at];
        if (record < least || record > most) continue;
        const target = targets.get(record);
        if (target !== undefined) words[at] = target;
      }
    }
  }

  /** Visits the ring: the jumps' records, and the distance of the target from their page. */
  eachIndirect(visit: (op: number, distance: number) => void): void {
    const { words } = this;
    for (let i = 0; i < L.INDIRECT_PAIRS; i++) {
      const at = (L.INDIRECT + i * L.INDIRECT_PAIR_SIZE) >> 2;
      visit(words[at], words[at + 1]);
    }
  }

  /** Index in the words of the entry for `lo`, as the core module has it. */
  #entry(lo: number): number {
    const offset = (Math.imul(lo, L.JUMP_FACTOR) >>> L.JUMP_SHIFT) & L.JUMP_MASK;
    return (this.words[JUMP_CACHE] + offset) >> 2;
  }
}
