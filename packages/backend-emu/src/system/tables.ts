/**
 * LGDT, LIDT, SGDT and SIDT.
 *
 * Source: AMD APM vol. 3 for each; vol. 2, 4.6 (descriptor-table registers).
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { NEXT, type Outcome } from './outcome.js';
import { requireNoUmip } from './segments.js';

/** Reads a pseudo-descriptor at ARG0; ARG1 the operand size: base of 24, 32 or 64 bits. */
function loadTable(cpu: Processor, field: number): Outcome {
  const { record, memory } = cpu;
  cpu.requireCpl0();
  const lo = record.lo(L.ARG0);
  const hi = record.hi(L.ARG0);
  const size = record.lo(L.ARG1);
  const limit = memory.read16(lo, hi, cpu.cpl);
  const [baseAtLo, baseAtHi] = advance(cpu, lo, hi, 2);
  let base: number;
  let baseHi = 0;
  if (size === 8) {
    base = memory.read64(baseAtLo, baseAtHi, cpu.cpl);
    baseHi = memory.high;
    if (!cpu.mmu.walker.isCanonicalBase(baseHi)) cpu.gp();
  } else {
    base = memory.read32(baseAtLo, baseAtHi, cpu.cpl);
    if (size === 2) base &= 0xffffff;
  }
  record.setPair(field, base, baseHi);
  record.setI32(field + 8, limit);
  return NEXT;
}

/** A pseudo-descriptor to be stored. */
const pseudo = new Uint8Array(10);
const view = new DataView(pseudo.buffer);

/** Stores in one piece, which need not be aligned, whatever #AC asks of others. */
function storeTable(cpu: Processor, field: number): Outcome {
  const { record, memory } = cpu;
  requireNoUmip(cpu);
  view.setUint16(0, record.i32(field + 8), true);
  view.setBigUint64(2, record.u64(field), true);
  const bytes = pseudo.subarray(0, record.lo(L.ARG1) === 8 ? 10 : 6);
  memory.writeBytes(record.lo(L.ARG0), record.hi(L.ARG0), bytes, cpu.cpl);
  return NEXT;
}

/** A linear address moved on, within the address space of the mode. */
function advance(cpu: Processor, lo: number, hi: number, bytes: number): [number, number] {
  const next = (lo + bytes) | 0;
  return [next, cpu.is64 && next >>> 0 < bytes ? (hi + 1) | 0 : hi];
}

/** LGDT: ARG0 the linear address, ARG1 the operand size in bytes. */
export function lgdt(cpu: Processor): Outcome {
  return loadTable(cpu, L.GDTR);
}

/** LIDT: ARG0 the linear address, ARG1 the operand size in bytes. */
export function lidt(cpu: Processor): Outcome {
  return loadTable(cpu, L.IDTR);
}

/** SGDT: ARG0 the linear address, ARG1 the operand size in bytes. */
export function sgdt(cpu: Processor): Outcome {
  return storeTable(cpu, L.GDTR);
}

/** SIDT: ARG0 the linear address, ARG1 the operand size in bytes. */
export function sidt(cpu: Processor): Outcome {
  return storeTable(cpu, L.IDTR);
}
