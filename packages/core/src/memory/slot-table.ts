/**
 * The slots of a VM: which guest-physical ranges have memory behind them, in ascending order.
 */
import type { MemorySlot } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

export const PAGE_SIZE = 4096;
/** Guest-physical addresses are below 2^52. */
export const GPA_LIMIT = 2 ** 52;

export class SlotTable {
  private list: readonly MemorySlot[] = [];

  get slots(): readonly MemorySlot[] {
    return this.list;
  }

  get ramSize(): number {
    return this.list.reduce((sum, slot) => sum + (slot.readOnly ? 0 : slot.size), 0);
  }

  add(slot: MemorySlot): void {
    this.check(slot);
    this.list = [...this.list, Object.freeze({ ...slot })].sort((a, b) => a.gpa - b.gpa);
  }

  /** Removes and returns a slot. */
  remove(id: number): MemorySlot {
    const slot = this.list.find((each) => each.id === id);
    if (slot === undefined) {
      throw new VmmError('invalid-argument', `there is no memory slot ${id}`);
    }
    this.list = this.list.filter((each) => each !== slot);
    return slot;
  }

  /** The slot that holds `gpa`. */
  find(gpa: number): MemorySlot | undefined {
    const list = this.list;
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle]!.gpa <= gpa) low = middle + 1;
      else high = middle;
    }
    const slot = list[low - 1];
    return slot !== undefined && gpa < slot.gpa + slot.size ? slot : undefined;
  }

  /** True when every byte of the range lies in a slot (in a writable one, if asked). */
  covers(gpa: number, length: number, writable: boolean): boolean {
    let at = gpa;
    const end = gpa + length;
    while (at < end) {
      const slot = this.find(at);
      if (slot === undefined || (writable && slot.readOnly)) return false;
      at = slot.gpa + slot.size;
    }
    return true;
  }

  private check(slot: MemorySlot): void {
    const { id, gpa, size, name } = slot;
    for (const [what, value] of [
      ['address', gpa],
      ['size', size],
    ] as const) {
      if (!Number.isSafeInteger(value) || value < 0 || value % PAGE_SIZE !== 0) {
        throw new VmmError(
          'invalid-argument',
          `the ${what} ${value} of memory slot ${name} is not a multiple of ${PAGE_SIZE}`,
        );
      }
    }
    if (size === 0 || gpa + size > GPA_LIMIT) {
      throw new VmmError('invalid-argument', `memory slot ${name} is empty or above 2^52`);
    }
    for (const other of this.list) {
      if (other.id === id) {
        throw new VmmError('invalid-argument', `memory slot ${id} exists already (${other.name})`);
      }
      if (gpa < other.gpa + other.size && other.gpa < gpa + size) {
        throw new VmmError('invalid-argument', `memory slots ${name} and ${other.name} overlap`);
      }
    }
  }
}
