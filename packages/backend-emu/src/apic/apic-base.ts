/**
 * APIC_BASE, the MSR that places the local APIC and switches it on: which values it takes.
 *
 * Source: AMD APM vol. 2, 16.3.1 and 16.9; Intel SDM vol. 3, 11.12.5 (changes of mode).
 */
import * as R from './registers.js';

/** Bits that are always zero. */
const RESERVED = 0x2ff;

/** Bits 11:10: 0 off, 2 xAPIC, 3 x2APIC; 1 is invalid. */
export function baseMode(lo: number): number {
  return (lo >>> 10) & 3;
}

/** Whether `lo` and `hi` have no bits that the processor lacks. */
export function isBase(
  { x2apic, physicalBits }: { readonly x2apic: boolean; readonly physicalBits: number },
  lo: number,
  hi: number,
): boolean {
  const reserved = RESERVED | (x2apic ? 0 : R.BASE_X2APIC);
  return (lo & reserved) === 0 && hi < 2 ** (physicalBits - 32);
}

/** Whether the mode may change: x2APIC is entered from xAPIC and left by switching off only. */
export function mayEnter(mode: number, before: number): boolean {
  if (mode === 1) return false;
  return !(before === 3 && mode === 2) && !(before === 0 && mode === 3);
}
