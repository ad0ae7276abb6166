/**
 * Rows of the MSR table, and the checks they share.
 *
 * All words are unsigned. `write` gets a value that has not been checked.
 */
import type { MsrValue } from '@cloister/core';

export interface MsrEntry {
  readonly index: number;
  readonly name: string;
  /** Puts the value into `out`; false means #GP(0). `out` starts as 0. */
  read(out: MsrValue): boolean;
  /** False means #GP(0). */
  write(lo: number, hi: number): boolean;
}

/** Whether bits 63 to `bits` - 1, all in the high half, are equal; `bits` is 48 or 57. */
export function isCanonical(hi: number, bits: number): boolean {
  const top = hi >> (bits - 33);
  return top === 0 || top === -1;
}

/** A register that always reads as `lo` and takes `writable` bits of a write as no news. */
export function constant(index: number, name: string, lo: number, ignored: number): MsrEntry {
  return {
    index,
    name,
    read: (out) => {
      out.lo = lo;
      return true;
    },
    write: (low, high) => high === 0 && (low & ~ignored) === 0,
  };
}

/** A register that is 8 bytes of the vCPU record. */
export function recordField(
  index: number,
  name: string,
  view: DataView,
  offset: number,
  /** False refuses the value. */
  accept: (lo: number, hi: number) => boolean,
  /** Bits of the value that exist: all, or the low half. */
  width: 32 | 64,
  written: () => void = () => {},
): MsrEntry {
  return {
    index,
    name,
    read: (out) => {
      out.lo = view.getUint32(offset, true);
      out.hi = view.getUint32(offset + 4, true);
      return true;
    },
    write: (lo, hi) => {
      if (!accept(lo, hi)) return false;
      view.setUint32(offset, lo, true);
      view.setUint32(offset + 4, width === 64 ? hi : 0, true);
      written();
      return true;
    },
  };
}
