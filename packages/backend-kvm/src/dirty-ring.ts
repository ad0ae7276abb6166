/**
 * The rings in which KVM lists pages that vCPUs wrote, one for each.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_CAP_DIRTY_LOG_RING). x86 keeps the order of stores,
 * so that no fence is needed between an entry's flags and the rest.
 */
import { DIRTY_GFN_F, LIMITS } from './abi/constants.js';
import { DIRTY_GFN } from './abi/structs.js';
import { Mapping } from './mapping.js';
import type { Sys } from './sys/sys.js';

const PAGE = 4096;
const WORDS = DIRTY_GFN.size >> 2;
/** The slot's number without the address space's. */
const SLOT_MASK = 0xffff;

export class DirtyRing {
  private readonly mapping: Mapping;
  private readonly words: Uint32Array;
  private next = 0;

  constructor(
    sys: Sys,
    vcpuFd: number,
    private readonly entries: number,
  ) {
    const size = entries * DIRTY_GFN.size;
    this.mapping = Mapping.ofFile(sys, vcpuFd, size, LIMITS.DIRTY_LOG_PAGE_OFFSET * PAGE);
    this.words = new Uint32Array(this.mapping.buffer);
  }

  /** Takes all entries; KVM may use them again after KVM_RESET_DIRTY_RINGS. How many there were. */
  take(each: (slot: number, page: number) => void): number {
    let count = 0;
    for (; count < this.entries; count++) {
      const at = this.next * WORDS;
      if ((Atomics.load(this.words, at) & DIRTY_GFN_F.DIRTY) === 0) break;
      each(this.words[at + 1]! & SLOT_MASK, this.words[at + 2]!);
      Atomics.store(this.words, at, DIRTY_GFN_F.RESET);
      this.next = (this.next + 1) % this.entries;
    }
    return count;
  }

  dispose(): void {
    this.mapping.dispose();
  }
}
