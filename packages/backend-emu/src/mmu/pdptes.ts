/**
 * The four top entries of legacy PAE tables, which the processor keeps: they are read with CR3 and
 * not by walks.
 *
 * Source: AMD APM vol. 2, 5.2.3 (PAE paging).
 */
import * as L from '../cpu/layout.js';
import type { CpuRecord } from '../cpu/record.js';
import type { Mmu } from './mmu.js';

/** Bits 2:1 and 8:5 must be zero; so must all above the physical address. */
const RESERVED_LO = 0x1e6;

/**
 * Loads the entries that `cr3` points to. False if one is present with a reserved bit; then none is
 * stored. Where there is no memory they read as all ones.
 */
export function loadPdptes(record: CpuRecord, mmu: Mmu, cr3: number): boolean {
  const { physical, walker } = mmu;
  const spa = mmu.tableSpa((cr3 & ~0xfff) >>> 0);
  const at = spa < 0 ? -1 : physical.ramBase + spa + (cr3 & 0xfe0);
  const word = (index: number) => (at < 0 ? -1 : physical.view.getInt32(at + index * 4, true));
  const reservedHi = ~walker.addressHi;
  for (let i = 0; i < 4; i++) {
    const lo = word(i * 2);
    const reserved = (lo & RESERVED_LO) | (word(i * 2 + 1) & reservedHi);
    if ((lo & 1) !== 0 && reserved !== 0) return false;
  }
  for (let i = 0; i < 4; i++) record.setPair(L.PDPTE + i * 8, word(i * 2), word(i * 2 + 1));
  return true;
}
