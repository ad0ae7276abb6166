/**
 * Descriptors, and the checks that a chain of them has to pass: lengths, order, guest memory.
 *
 * Source: virtio 1.2, 2.7.5 (split: le64 addr, le32 len, le16 flags, le16 next), 2.8.5 (packed:
 * le64 addr, le32 len, le16 id, le16 flags).
 */
import type { DmaView } from '@cloister/core';
import { CHAIN_BYTES_MAX, type Segment } from './chain.js';

export const DESC_F_NEXT = 1;
export const DESC_F_WRITE = 2;
export const DESC_F_INDIRECT = 4;
/** Packed ring only (2.8.1). */
export const DESC_F_AVAIL = 1 << 7;
export const DESC_F_USED = 1 << 15;

export const DESC_SIZE = 16;

const GPA_HIGH_MAX = 0xfffff;

/** An address of 64 bits as a number, or -1 when no memory can be there (above 2^52). */
export function gpaOf(low: number, high: number): number {
  return high > GPA_HIGH_MAX ? -1 : high * 2 ** 32 + low;
}

/** Collects the segments of one chain; each `add` says what is wrong, or null. */
export class ChainParts {
  readonly readable: Segment[] = [];
  readonly writable: Segment[] = [];
  private bytes = 0;

  constructor(private readonly dma: DmaView) {}

  add(gpa: number, length: number, write: boolean): string | null {
    // 2.7.4.2: device-writable elements come after all device-readable ones.
    if (!write && this.writable.length > 0) return 'a readable descriptor follows a writable one';
    this.bytes += length;
    if (this.bytes > CHAIN_BYTES_MAX) return 'a chain is longer than 2^32 bytes';
    if (length === 0) return null;
    if (gpa < 0 || !this.dma.covers(gpa, length, write ? 'write' : 'read')) {
      return `a descriptor is not in guest memory (${gpa < 0 ? 'above 2^52' : hex(gpa)})`;
    }
    (write ? this.writable : this.readable).push({ gpa, length });
    return null;
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
