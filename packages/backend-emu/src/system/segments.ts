/**
 * Loading segment registers: MOV and POP to them, LLDT, LTR, and the questions of LAR, LSL, VERR
 * and VERW.
 *
 * Source: AMD APM vol. 2, 4.10 (checks by instruction), 4.8.1-4.8.3 (long mode); vol. 3 for each.
 */
import { FLAG_ZF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { ATTR_DB, ATTR_G } from '../cpu/mode.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_GP, VECTOR_NP, VECTOR_SS } from '../cpu/registers.js';
import * as D from './descriptors.js';
import { NEXT, type Outcome } from './outcome.js';

/** Present, S, writable and accessed: real-mode data. */
const REAL_DATA = 0x93;
const V86_DATA = 0xf3;

/** Real and virtual-8086 mode: the base follows from the selector. */
export function loadRealSegment(cpu: Processor, index: number, selector: number): void {
  const { record } = cpu;
  const offset = L.segmentOffset(index);
  record.setPair(offset, selector << 4, 0);
  record.setU16(offset + L.SEG_SELECTOR, selector);
  if (cpu.isV86) {
    record.setI32(offset + L.SEG_LIMIT, 0xffff);
    record.setU16(offset + L.SEG_ATTRIBUTES, V86_DATA);
  } else {
    // The limit and the default size stay as they were ("unreal mode").
    const kept = record.u16(offset + L.SEG_ATTRIBUTES) & (ATTR_G | ATTR_DB);
    record.setU16(offset + L.SEG_ATTRIBUTES, kept | REAL_DATA);
  }
}

/** Empties a data segment register. The base reads as zero (CPUID NullSelectorClearsBase). */
export function loadNullSegment(cpu: Processor, index: number, selector: number): void {
  D.setSegment(cpu, index, selector, 0, 0, 0);
}

/** SS without a descriptor, as long mode has it: only its DPL, the CPL, means something. */
export function loadNullStack(cpu: Processor, cpl: number, selector = cpl): void {
  D.setSegment(cpu, L.SEG.ss, selector, 0, 0xffffffff, (cpl << 5) | 0xc13);
}

/** Loads DS, ES, FS or GS in protected mode; `vector` where a check fails. */
export function loadDataSegment(
  cpu: Processor,
  index: number,
  selector: number,
  vector = VECTOR_GP,
): void {
  if ((selector & 0xfffc) === 0) {
    loadNullSegment(cpu, index, selector);
    return;
  }
  D.readDescriptor(cpu, selector, vector);
  const { hi } = cpu.descriptor;
  const error = D.selectorError(cpu, selector);
  const code = (hi & D.DESC_CODE) !== 0;
  if ((hi & D.DESC_S) === 0 || (code && (hi & D.DESC_READABLE) === 0)) cpu.raise(vector, error);
  const conforming = code && (hi & D.DESC_CONFORMING) !== 0;
  const dpl = D.dplOf(hi);
  if (!conforming && ((selector & 3) > dpl || cpu.cpl > dpl)) cpu.raise(vector, error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  D.cacheSegment(cpu, index, selector);
}

/** Loads SS in protected mode. */
function loadStack(cpu: Processor, selector: number): void {
  if ((selector & 0xfffc) === 0) {
    if (!cpu.is64 || cpu.cpl === 3 || (selector & 3) !== cpu.cpl) cpu.gp();
    loadNullStack(cpu, cpu.cpl, selector);
    return;
  }
  readStackDescriptor(cpu, selector, cpu.cpl, VECTOR_GP);
  D.cacheSegment(cpu, L.SEG.ss, selector);
}

/** Reads and checks the descriptor of a stack for `cpl`; sets its accessed bit. */
export function readStackDescriptor(
  cpu: Processor,
  selector: number,
  cpl: number,
  vector: number,
): void {
  D.readDescriptor(cpu, selector, vector);
  const { hi } = cpu.descriptor;
  const error = D.selectorError(cpu, selector);
  const writable =
    (hi & (D.DESC_S | D.DESC_CODE | D.DESC_WRITABLE)) === (D.DESC_S | D.DESC_WRITABLE);
  if ((selector & 3) !== cpl || D.dplOf(hi) !== cpl || !writable) cpu.raise(vector, error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_SS, error);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
}

/** Loads any segment register but CS, as MOV and POP do. */
export function loadSegment(cpu: Processor, index: number, selector: number): void {
  if (!cpu.isProtected) loadRealSegment(cpu, index, selector);
  else if (index === L.SEG.ss) loadStack(cpu, selector);
  else loadDataSegment(cpu, index, selector);
}

/** What follows MOV and POP: neither interrupt nor trap comes between a load of SS and the next. */
function segmentLoaded(cpu: Processor, index: number): Outcome {
  if (index === L.SEG.ss) {
    cpu.shadow.cast();
    cpu.debug.inhibit();
  }
  // The mode's key may have changed.
  if (!cpu.is64) cpu.modeChanged();
  return NEXT;
}

/** MOV to a segment register: ARG0 its number, ARG1 the selector. */
export function movToSeg(cpu: Processor): Outcome {
  const index = cpu.record.lo(L.ARG0);
  loadSegment(cpu, index, cpu.record.lo(L.ARG1) & 0xffff);
  return segmentLoaded(cpu, index);
}

/** POP to a segment register: ARG0 its number, ARG1 the operand size in bytes. */
export function popSeg(cpu: Processor): Outcome {
  const index = cpu.record.lo(L.ARG0);
  const { stack } = cpu;
  stack.begin(cpu.is64, cpu.cpl);
  const selector = stack.pop(cpu.record.lo(L.ARG1)) & 0xffff;
  // The pointer moves by the old stack's width, and only once nothing can fault any more.
  loadSegment(cpu, index, selector);
  stack.commit();
  return segmentLoaded(cpu, index);
}

/**
 * LDS, LES, LFS, LGS, LSS: ARG0 the segment's number, ARG1 the selector, ARG2 the offset, ARG3 the
 * general register's number and, from bit 8, the operand size in bytes.
 */
export function loadFar(cpu: Processor): Outcome {
  const { record } = cpu;
  const index = record.lo(L.ARG0);
  loadSegment(cpu, index, record.lo(L.ARG1) & 0xffff);
  const register = L.gprOffset(record.lo(L.ARG3) & 15);
  const size = record.lo(L.ARG3) >>> 8;
  if (size === 2) record.setU16(register, record.lo(L.ARG2));
  else record.setPair(register, record.lo(L.ARG2), size === 8 ? record.hi(L.ARG2) : 0);
  if (!cpu.is64) cpu.modeChanged();
  return NEXT;
}

/** LLDT: ARG0 the selector. */
export function lldt(cpu: Processor): Outcome {
  requireProtected(cpu);
  cpu.requireCpl0();
  const selector = cpu.record.lo(L.ARG0) & 0xffff;
  if ((selector & 0xfffc) === 0) {
    D.setSegment(cpu, L.SEG.ldtr, selector, 0, 0, 0);
    return NEXT;
  }
  loadSystem(cpu, L.SEG.ldtr, selector, [D.TYPE_LDT], 0);
  return NEXT;
}

/** LTR: ARG0 the selector. */
export function ltr(cpu: Processor): Outcome {
  requireProtected(cpu);
  cpu.requireCpl0();
  const selector = cpu.record.lo(L.ARG0) & 0xffff;
  if ((selector & 0xfffc) === 0) cpu.gp();
  const types = cpu.isLong ? [D.TYPE_TSS] : [D.TYPE_TSS, D.TYPE_TSS16];
  loadSystem(cpu, L.SEG.tr, selector, types, 1 << 9);
  return NEXT;
}

/** Loads LDTR or TR; `busy` is a type bit to set in memory. */
function loadSystem(
  cpu: Processor,
  index: number,
  selector: number,
  types: readonly number[],
  busy: number,
): void {
  const error = D.selectorError(cpu, selector);
  if ((selector & 4) !== 0) cpu.gp(error);
  D.readDescriptor(cpu, selector);
  const { hi } = cpu.descriptor;
  if (!types.includes(D.typeOf(hi))) cpu.gp(error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  if (cpu.isLong) {
    D.readUpper(cpu, selector);
    if (!cpu.mmu.walker.isCanonicalBase(cpu.descriptor.upper)) cpu.gp(error);
  }
  D.setTypeBits(cpu, busy);
  D.cacheSegment(cpu, index, selector);
  if (cpu.isLong) {
    const offset = L.segmentOffset(index);
    cpu.record.setPair(offset, cpu.record.lo(offset), cpu.descriptor.upper);
  }
}

/** #UD in real and virtual-8086 mode. */
export function requireProtected(cpu: Processor): void {
  if (!cpu.isProtected) cpu.raise(6);
}

/** SLDT → ARG0. */
export function sldt(cpu: Processor): Outcome {
  return storeSelector(cpu, L.SEG.ldtr);
}

/** STR → ARG0. */
export function str(cpu: Processor): Outcome {
  return storeSelector(cpu, L.SEG.tr);
}

function storeSelector(cpu: Processor, index: number): Outcome {
  requireProtected(cpu);
  requireNoUmip(cpu);
  cpu.record.setPair(L.ARG0, cpu.record.segmentSelector(index), 0);
  return NEXT;
}

/** SGDT, SIDT, SLDT, SMSW and STR are #GP(0) above CPL 0 while CR4.UMIP is set. */
export function requireNoUmip(cpu: Processor): void {
  if ((cpu.record.i32(L.CR4) & (1 << 11)) !== 0 && cpu.cpl !== 0) cpu.gp();
}

/** Types whose limit LSL gives: TSS and LDT; with gates, those whose rights LAR gives. */
const LSL_TYPES = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 9) | (1 << 11);
const LAR_TYPES = LSL_TYPES | (1 << 4) | (1 << 5) | (1 << 12);
/** In long mode 16-bit types and task gates are invalid. */
const LONG_TYPES = (1 << 2) | (1 << 9) | (1 << 11) | (1 << 12);

/** Reads the descriptor that a question is about; false where there is none to see. */
function visible(cpu: Processor, selector: number, types: number): boolean {
  if ((selector & 0xfffc) === 0 || !D.findDescriptor(cpu, selector)) return false;
  D.readEntry(cpu);
  const { hi } = cpu.descriptor;
  if ((hi & D.DESC_S) === 0) {
    const known = cpu.isLong ? types & LONG_TYPES : types;
    if (((known >>> D.typeOf(hi)) & 1) === 0) return false;
  } else if ((hi & (D.DESC_CODE | D.DESC_CONFORMING)) === (D.DESC_CODE | D.DESC_CONFORMING)) {
    return true;
  }
  const dpl = D.dplOf(hi);
  return dpl >= cpu.cpl && dpl >= (selector & 3);
}

function setZf(cpu: Processor, on: boolean): Outcome {
  cpu.record.setEflags(on ? FLAG_ZF : 0, FLAG_ZF);
  return NEXT;
}

/**
 * LAR: ARG0 the selector → ARG0 the access rights, ZF. Bits 19:16 are undefined; processors give
 * what the descriptor has there.
 */
export function lar(cpu: Processor): Outcome {
  requireProtected(cpu);
  const found = visible(cpu, cpu.record.lo(L.ARG0) & 0xffff, LAR_TYPES);
  if (found) cpu.record.setPair(L.ARG0, cpu.descriptor.hi & 0x00ffff00, 0);
  return setZf(cpu, found);
}

/** LSL: ARG0 the selector → ARG0 the limit in bytes, ZF. */
export function lsl(cpu: Processor): Outcome {
  requireProtected(cpu);
  const found = visible(cpu, cpu.record.lo(L.ARG0) & 0xffff, LSL_TYPES);
  if (found) cpu.record.setPair(L.ARG0, D.limitOf(cpu.descriptor.lo, cpu.descriptor.hi), 0);
  return setZf(cpu, found);
}

/** VERR: ARG0 the selector → ZF. */
export function verr(cpu: Processor): Outcome {
  requireProtected(cpu);
  const found = visible(cpu, cpu.record.lo(L.ARG0) & 0xffff, 0);
  const { hi } = cpu.descriptor;
  return setZf(cpu, found && ((hi & D.DESC_CODE) === 0 || (hi & D.DESC_READABLE) !== 0));
}

/** VERW: ARG0 the selector → ZF. */
export function verw(cpu: Processor): Outcome {
  requireProtected(cpu);
  const found = visible(cpu, cpu.record.lo(L.ARG0) & 0xffff, 0);
  const { hi } = cpu.descriptor;
  return setZf(cpu, found && (hi & D.DESC_CODE) === 0 && (hi & D.DESC_WRITABLE) !== 0);
}
