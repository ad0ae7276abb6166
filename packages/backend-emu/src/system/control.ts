/**
 * Control registers, and what acts on caches and TLBs.
 *
 * Source: AMD APM vol. 2, 3.1 (control registers), 5.5.1 (process-context identifiers), 14.6
 * (entering long mode); vol. 3, MOV CRn, LMSW, SMSW, CLTS, INVLPG, WBINVD, INVD.
 *
 * The TLBs hold translations of the current PCID only: every write to CR3 drops all that are not
 * global, which the manual allows even where bit 63 says that nothing need be dropped.
 */
import * as L from '../cpu/layout.js';
import { ATTR_L } from '../cpu/mode.js';
import type { Processor } from '../cpu/processor.js';
import * as R from '../cpu/registers.js';
import { loadPdptes } from '../mmu/pdptes.js';
import { NEXT, type Outcome } from './outcome.js';
import { requireNoUmip } from './segments.js';

export const CR0_DEFINED =
  R.CR0_PE |
  R.CR0_MP |
  R.CR0_EM |
  R.CR0_TS |
  R.CR0_ET |
  R.CR0_NE |
  R.CR0_WP |
  R.CR0_AM |
  R.CR0_NW |
  R.CR0_CD |
  R.CR0_PG;
/** Bits whose change empties the TLB. */
const CR0_PAGING = R.CR0_PG | R.CR0_WP | R.CR0_PE;
const CR4_PAGING =
  R.CR4_PSE |
  R.CR4_PAE |
  R.CR4_PGE |
  R.CR4_SMEP |
  R.CR4_SMAP |
  R.CR4_LA57 |
  R.CR4_PKE |
  R.CR4_PCIDE;
/** Bit 63 of a value for CR3, in its upper half: translations need not be dropped. */
const CR3_NO_FLUSH = 1 << 31;

/** Bits of CR4 that the CPU model has. */
export function cr4Defined(cpu: Processor): number {
  const has = (feature: string, bits: number) => (cpu.cpu.has(feature) ? bits : 0);
  return (
    R.CR4_PCE |
    has('vme', R.CR4_VME | R.CR4_PVI) |
    has('tsc', R.CR4_TSD) |
    has('de', R.CR4_DE) |
    has('pse', R.CR4_PSE) |
    has('pae', R.CR4_PAE) |
    has('mce', R.CR4_MCE) |
    has('pge', R.CR4_PGE) |
    has('fxsr', R.CR4_OSFXSR) |
    has('sse', R.CR4_OSXMMEXCPT) |
    has('umip', R.CR4_UMIP) |
    has('la57', R.CR4_LA57) |
    has('fsgsbase', R.CR4_FSGSBASE) |
    has('pcid', R.CR4_PCIDE) |
    has('xsave', R.CR4_OSXSAVE) |
    has('smep', R.CR4_SMEP) |
    has('smap', R.CR4_SMAP) |
    has('pku', R.CR4_PKE)
  );
}

/** MOV to CRn: ARG0 the number, ARG1 the value. */
export function movToCr(cpu: Processor): Outcome {
  const { record } = cpu;
  const number = record.lo(L.ARG0);
  if (number !== 0 && number !== 2 && number !== 3 && number !== 4 && number !== 8) cpu.raise(6);
  cpu.requireCpl0();
  const lo = record.lo(L.ARG1);
  const hi = cpu.is64 ? record.hi(L.ARG1) : 0;
  switch (number) {
    case 0:
      if (hi !== 0) cpu.gp();
      return writeCr0(cpu, lo);
    case 2:
      record.setPair(L.CR2, lo, hi);
      return NEXT;
    case 3:
      return writeCr3(cpu, lo, hi);
    case 4:
      if (hi !== 0) cpu.gp();
      return writeCr4(cpu, lo);
    default:
      if (hi !== 0 || (lo & ~15) !== 0) cpu.gp();
      record.setPair(L.CR8, lo, 0);
      cpu.services.apic.taskPriority = lo;
      cpu.updatePending();
      cpu.completed();
      return cpu.resume();
  }
}

function writeCr0(cpu: Processor, image: number): Outcome {
  const { record } = cpu;
  const before = record.i32(L.CR0);
  const value = (image & CR0_DEFINED) | R.CR0_ET;
  const pe = (value & R.CR0_PE) !== 0;
  const paging = (value & R.CR0_PG) !== 0;
  if (paging && !pe) cpu.gp();
  if ((value & R.CR0_NW) !== 0 && (value & R.CR0_CD) === 0) cpu.gp();
  const efer = record.i32(L.EFER);
  const turnsOn = paging && (before & R.CR0_PG) === 0;
  if (turnsOn && (efer & R.EFER_LME) !== 0) {
    // Entering long mode: PAE must be on, and the current code must not be 64-bit code yet.
    const cs = record.segmentAttributes(L.SEG.cs);
    if ((record.i32(L.CR4) & R.CR4_PAE) === 0 || (cs & ATTR_L) !== 0) cpu.gp();
    record.setI32(L.EFER, efer | R.EFER_LMA);
  } else if (!paging && (before & R.CR0_PG) !== 0) {
    if (cpu.is64 || (record.i32(L.CR4) & R.CR4_PCIDE) !== 0) cpu.gp();
    record.setI32(L.EFER, efer & ~R.EFER_LMA);
  }
  if (turnsOn && (efer & R.EFER_LME) === 0 && (record.i32(L.CR4) & R.CR4_PAE) !== 0) {
    loadTopEntries(cpu, record.lo(L.CR3));
  }
  record.setPair(L.CR0, value, 0);
  if (((before ^ value) & CR0_PAGING) !== 0) cpu.mmu.reconfigure();
  if (((before ^ value) & R.CR0_PE) !== 0 && !pe) cpu.setCpl(0);
  return serialized(cpu);
}

function writeCr3(cpu: Processor, lo: number, image: number): Outcome {
  const { record } = cpu;
  const keeps = (record.i32(L.CR4) & R.CR4_PCIDE) !== 0;
  const hi = keeps ? image & ~CR3_NO_FLUSH : image;
  // Bits above the physical address size must be zero.
  if (cpu.isLong && (hi & ~cpu.mmu.walker.addressHi) !== 0) cpu.gp();
  const paging = (record.i32(L.CR0) & R.CR0_PG) !== 0;
  if (paging && !cpu.isLong && (record.i32(L.CR4) & R.CR4_PAE) !== 0) loadTopEntries(cpu, lo);
  record.setPair(L.CR3, lo, cpu.isLong ? hi : 0);
  cpu.mmu.switchTables();
  cpu.completed();
  return cpu.resume();
}

/** CR3 as a task switch in hardware loads it. */
export function loadTaskTables(cpu: Processor, cr3: number): void {
  const { record } = cpu;
  if ((record.i32(L.CR0) & R.CR0_PG) === 0) return;
  if ((record.i32(L.CR4) & R.CR4_PAE) !== 0) loadTopEntries(cpu, cr3);
  record.setPair(L.CR3, cr3, 0);
  cpu.mmu.switchTables();
}

function writeCr4(cpu: Processor, value: number): Outcome {
  const { record } = cpu;
  if ((value & ~cr4Defined(cpu)) !== 0) cpu.gp();
  const before = record.i32(L.CR4);
  const changed = before ^ value;
  if (cpu.isLong && (value & R.CR4_PAE) === 0) cpu.gp();
  if (cpu.isLong && (changed & R.CR4_LA57) !== 0) cpu.gp();
  if ((changed & value & R.CR4_PCIDE) !== 0) {
    // Only in long mode, and only from PCID 0.
    if (!cpu.isLong || (record.lo(L.CR3) & 0xfff) !== 0) cpu.gp();
  }
  const paging = (record.i32(L.CR0) & R.CR0_PG) !== 0;
  const pae = (value & R.CR4_PAE) !== 0;
  if (paging && !cpu.isLong && pae && (changed & CR4_PAGING) !== 0) {
    loadTopEntries(cpu, record.lo(L.CR3));
  }
  record.setPair(L.CR4, value, 0);
  if ((changed & CR4_PAGING) !== 0) cpu.mmu.reconfigure();
  if ((changed & R.CR4_DE) !== 0) cpu.breakpointsChanged();
  return serialized(cpu);
}

/** Loads the top entries of legacy PAE tables; #GP(0) if one cannot be. */
function loadTopEntries(cpu: Processor, cr3: number): void {
  if (!loadPdptes(cpu.record, cpu.mmu, cr3)) cpu.gp();
}

/** After a change of control registers: the mode may be another one. */
function serialized(cpu: Processor): Outcome {
  cpu.modeChanged();
  cpu.fpuStateChanged();
  cpu.completed();
  return cpu.resume();
}

/** Places of the control registers that can be read, CR8 apart. */
const CR_FIELDS: readonly (number | undefined)[] = [L.CR0, undefined, L.CR2, L.CR3, L.CR4];

/** MOV from CRn: ARG0 the number → ARG0. */
export function movFromCr(cpu: Processor): Outcome {
  const { record } = cpu;
  const number = record.lo(L.ARG0);
  const field = number === 8 ? L.CR8 : CR_FIELDS[number];
  if (field === undefined) cpu.raise(R.VECTOR_UD);
  cpu.requireCpl0();
  if (number === 8) record.setPair(L.CR8, cpu.services.apic.taskPriority, 0);
  record.copyPair(L.ARG0, field);
  return NEXT;
}

/** CLTS. */
export function clts(cpu: Processor): Outcome {
  cpu.requireCpl0();
  cpu.record.setI32(L.CR0, cpu.record.i32(L.CR0) & ~R.CR0_TS);
  cpu.fpuStateChanged();
  return NEXT;
}

/** LMSW: ARG0 the word. PE can be set but not cleared. */
export function lmsw(cpu: Processor): Outcome {
  cpu.requireCpl0();
  const cr0 = cpu.record.i32(L.CR0);
  const word = cpu.record.lo(L.ARG0);
  return writeCr0(cpu, (cr0 & ~0xe) | (word & 0xf) | (cr0 & R.CR0_PE));
}

/** SMSW → ARG0: CR0, of which the caller stores as much as its operand takes. */
export function smsw(cpu: Processor): Outcome {
  requireNoUmip(cpu);
  cpu.record.copyPair(L.ARG0, L.CR0);
  return NEXT;
}

/** INVLPG: ARG0 the linear address. A non-canonical one does nothing. */
export function invlpg(cpu: Processor): Outcome {
  cpu.requireCpl0();
  cpu.mmu.tlb.flushPage(cpu.record.lo(L.ARG0), cpu.record.hi(L.ARG0));
  return NEXT;
}

/** WBINVD: there is nothing to write back. */
export function wbinvd(cpu: Processor): Outcome {
  cpu.requireCpl0();
  return NEXT;
}

/** INVD. */
export function invd(cpu: Processor): Outcome {
  cpu.requireCpl0();
  return NEXT;
}
