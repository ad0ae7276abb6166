/**
 * A deadline inside a block: the record there is patched (HANDLER_STOP), and put back when the run
 * ends. Records that the op cache has dropped meanwhile, or written anew, are left alone.
 */
import * as R from '../isa/op-record.js';
import { HANDLER_STOP, plainHandler } from './handlers.js';
import type { OpCache } from './op-cache.js';

interface Patch {
  /** Address of the patched record. */
  readonly record: number;
  readonly before: number;
  readonly since: number;
}

export class StopPatches {
  readonly #patches: Patch[] = [];
  /** The op cache's epoch that they are of. */
  #epoch = 0;

  constructor(
    /** The memory of op records. */
    readonly halves: Uint16Array,
    readonly opCache: OpCache,
  ) {}

  get any(): boolean {
    return this.#patches.length > 0;
  }

  /**
   * Has the run stop before `record`. Instructions from `from` on, in the same block, execute by
   * themselves until then: a sequence might leave out flags that are seen at the stop.
   */
  set(record: number, from: number): void {
    this.clear();
    const { handlers, epoch } = this.opCache;
    this.#epoch = epoch;
    for (let at = from; at < record; at += R.OP_SIZE) {
      const handler = this.halves[at >> 1];
      const plain = plainHandler(handlers, handler);
      if (plain !== handler) this.#replace(at, plain);
    }
    this.#replace(record, HANDLER_STOP);
  }

  /** Puts back what was patched. */
  clear(): void {
    if (this.#patches.length === 0) return;
    if (this.#epoch === this.opCache.epoch) {
      for (const { record, before, since } of this.#patches) {
        if (this.halves[record >> 1] === since) this.halves[record >> 1] = before;
      }
    }
    this.#patches.length = 0;
  }

  #replace(record: number, since: number): void {
    this.#patches.push({ record, before: this.halves[record >> 1], since });
    this.halves[record >> 1] = since;
  }
}
