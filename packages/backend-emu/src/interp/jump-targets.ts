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
    const home = this.#entry(lo);
    for (const entry of [home, this.#beside(home)]) {
      const found = words[entry] === lo && words[entry + 1] === hi;
      if (found && words[entry + 2] === words[GENERATION]) return words[entry + 3];
    }
    return 0;
  }

  /** Has the RIP `lo`, `hi` lead to `record`. */
  enter(lo: number, hi: number, record: number): void {
    const { words } = this;
    const entry = this.#entry(lo);
    if (words[entry] !== lo || words[entry + 1] !== hi) this.#moveAside(entry);
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

  /**
   * Moves what an entry has to the one beside it, where emitted code looks second, unless that has
   * what belongs there: two targets that meet in one place would be looked up each time. An address
   * must never have two entries: of two records that are void each would lead to the other.
   */
  #moveAside(entry: number): void {
    const { words } = this;
    const generation = words[GENERATION];
    const beside = this.#beside(entry);
    if (words[entry + 2] !== generation) return;
    const taken = words[beside + 2] === generation && this.#entry(words[beside]) === beside;
    if (!taken) words.copyWithin(beside, entry, entry + STRIDE);
  }

  /** Index in the words of the entry for `lo`, as the core module has it. */
  #entry(lo: number): number {
    const offset = (Math.imul(lo, L.JUMP_FACTOR) >>> L.JUMP_SHIFT) & L.JUMP_MASK;
    return (this.words[JUMP_CACHE] + offset) >> 2;
  }

  /** Of two entries side by side the other. */
  #beside(entry: number): number {
    const first = this.words[JUMP_CACHE] >> 2;
    return first + ((entry - first) ^ STRIDE);
  }
}
