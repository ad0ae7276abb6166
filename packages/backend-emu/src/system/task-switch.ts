/**
 * Task switches in hardware: what JMP, CALL, IRET, interrupts and exceptions do with a TSS.
 *
 * Source: AMD APM vol. 2, 12.2 (TSS), 12.3 (task switches), 8.2.10 (#TS). Until `leaveTask` a fault
 * belongs to the old task and changes nothing; from then on to the new one, at its first
 * instruction. Registers of which a 16-bit TSS has 16 bits are zero above them, FS and GS null.
 */
import * as F from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR0_TS, VECTOR_GP, VECTOR_NP, VECTOR_TS } from '../cpu/registers.js';
import { IMPLICIT } from '../mmu/mmu.js';
import { loadTaskTables } from './control.js';
import { DR6_BT, endLocalBreakpoints } from './debug-registers.js';
import * as D from './descriptors.js';
import { loadDataSegment, loadRealSegment, readStackDescriptor } from './segments.js';

/** JMP: the old task ends. */
export const BY_JUMP = 0;
/** CALL, interrupts, exceptions: the old task is linked to and stays busy. */
export const BY_CALL = 1;
/** IRET with NT: back to the task in the link; the old one ends. */
export const BY_RETURN = 2;

/** Offsets in a TSS; general registers and selectors stand in the order of their encoding. */
interface TssLayout {
  readonly bytes: 2 | 4;
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly gpr: number;
  readonly selectors: number;
  /** ES, CS, SS, DS and, with 32 bits, FS, GS. */
  readonly selectorCount: number;
  readonly ldt: number;
  readonly trap: number;
  /** Least limit. */
  readonly limit: number;
}

const TSS32: TssLayout = {
  bytes: 4, cr3: 0x1c, ip: 0x20, flags: 0x24, gpr: 0x28, selectors: 0x48, selectorCount: 6,
  ldt: 0x60, trap: 0x64, limit: 0x67,
}; // biome-ignore format: table
const TSS16: TssLayout = {
  bytes: 2, cr3: -1, ip: 0x0e, flags: 0x10, gpr: 0x12, selectors: 0x22, selectorCount: 4,
  ldt: 0x2a, trap: -1, limit: 0x2b,
}; // biome-ignore format: table

const BUSY = 1 << 9;
const { es, cs, ss, ds, fs, gs } = L.SEG;
const TR = L.segmentOffset(L.SEG.tr);

/** A task to be entered, read from its TSS. */
export interface Task {
  readonly selector: number;
  readonly layout: TssLayout;
  readonly descriptor: { lo: number; hi: number; atLo: number; atHi: number };
  readonly cr3: number;
  readonly eip: number;
  readonly eflags: number;
  readonly gpr: readonly number[];
  readonly selectors: readonly number[];
  readonly ldt: number;
  /** The debug trap bit. */
  readonly traps: boolean;
}

/** Reads the task of a TSS. Faults: #GP (IRET: #TS), #NP, #TS with the selector. */
export function readTask(cpu: Processor, selector: number, by: number): Task {
  const { descriptor, memory } = cpu;
  const vector = by === BY_RETURN ? VECTOR_TS : VECTOR_GP;
  const error = D.selectorError(cpu, selector);
  if ((selector & 4) !== 0 || (selector & 0xfffc) === 0) cpu.raise(vector, error);
  D.readDescriptor(cpu, selector, vector);
  const { lo, hi, atLo, atHi } = descriptor;
  const type = D.typeOf(hi);
  const busy = by === BY_RETURN ? 2 : 0;
  if (type !== (D.TYPE_TSS | busy) && type !== (D.TYPE_TSS16 | busy)) cpu.raise(vector, error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  const layout = layoutOf(type);
  if (D.limitOf(lo, hi) >>> 0 < layout.limit) cpu.raise(VECTOR_TS, error);
  const base = D.baseOf(lo, hi);
  const half = (offset: number) => memory.read16((base + offset) | 0, 0, IMPLICIT);
  const word = (offset: number) =>
    layout.bytes === 4 ? memory.read32((base + offset) | 0, 0, IMPLICIT) : half(offset);
  const words = (offset: number, count: number, read: (offset: number) => number) =>
    Array.from({ length: count }, (_, index) => read(offset + index * layout.bytes));
  if (by === BY_CALL) memory.probeWrite(base, 0, 2, IMPLICIT);
  if (by !== BY_RETURN) D.probeType(cpu);
  return {
    selector,
    layout,
    descriptor: { lo, hi, atLo, atHi },
    cr3: layout.cr3 < 0 ? 0 : word(layout.cr3),
    eip: word(layout.ip),
    eflags: word(layout.flags),
    gpr: words(layout.gpr, 8, word),
    selectors: words(layout.selectors, layout.selectorCount, half),
    ldt: half(layout.ldt),
    traps: layout.trap >= 0 && (half(layout.trap) & 1) !== 0,
  };
}

function layoutOf(type: number): TssLayout {
  return (type & 8) !== 0 ? TSS32 : TSS16;
}

/** The task in the link of the current TSS. */
export function linkedTask(cpu: Processor): number {
  return cpu.memory.read16(cpu.record.lo(TR), 0, IMPLICIT);
}

/**
 * Saves the current task, to go on at `eip`, and loads the registers of `task`; its segments are
 * not yet usable. Faults before anything changes only.
 */
export function leaveTask(
  cpu: Processor,
  task: Task,
  by: number,
  eip: number,
  eflags: number,
): void {
  const { record } = cpu;
  saveTask(cpu, by, eip, by === BY_RETURN ? eflags & ~F.FLAG_NT : eflags);
  // Nothing below faults until the new task has its registers.
  if (by === BY_CALL) {
    const base = D.baseOf(task.descriptor.lo, task.descriptor.hi);
    cpu.memory.write16(base, 0, record.segmentSelector(L.SEG.tr), IMPLICIT);
  }
  Object.assign(cpu.descriptor, task.descriptor);
  if (by !== BY_RETURN) D.setTypeBits(cpu, BUSY);
  D.cacheSegment(cpu, L.SEG.tr, task.selector);
  record.setPair(L.CR0, record.lo(L.CR0) | CR0_TS, 0);
  cpu.fpuStateChanged();
  endLocalBreakpoints(cpu);
  loadRegisters(cpu, task, by);
}

/** Checks that the state can be saved and the busy bit cleared, then does both. */
function saveTask(cpu: Processor, by: number, eip: number, eflags: number): void {
  const { record, memory } = cpu;
  const layout = layoutOf(record.segmentAttributes(L.SEG.tr) & 15);
  const old = record.segmentSelector(L.SEG.tr);
  if (record.segmentLimit(L.SEG.tr) < layout.limit) cpu.raise(VECTOR_TS, D.selectorError(cpu, old));
  const base = record.lo(TR);
  const at = (offset: number) => (base + offset) | 0;
  const end = layout.selectors + layout.selectorCount * layout.bytes;
  memory.probeWrite(at(layout.ip), 0, end - layout.ip, IMPLICIT);
  if (by !== BY_CALL && D.findDescriptor(cpu, old & 0xfff8)) {
    D.readEntry(cpu);
    D.clearTypeBits(cpu, BUSY);
  }
  const put = (offset: number, value: number) =>
    layout.bytes === 4
      ? memory.write32(at(offset), 0, value, IMPLICIT)
      : memory.write16(at(offset), 0, value, IMPLICIT);
  put(layout.ip, eip);
  put(layout.flags, eflags);
  for (let i = 0; i < 8; i++) put(layout.gpr + i * layout.bytes, record.lo(L.gprOffset(i)));
  for (let i = 0; i < layout.selectorCount; i++) {
    const offset = at(layout.selectors + i * layout.bytes);
    memory.write16(offset, 0, record.segmentSelector(i), IMPLICIT);
  }
}

function loadRegisters(cpu: Processor, task: Task, by: number): void {
  const { record } = cpu;
  const { selectors, eip } = task;
  task.gpr.forEach((value, index) => {
    record.setPair(L.gprOffset(index), value, 0);
  });
  record.setPair(L.RIP, eip, 0);
  const image = by === BY_CALL ? task.eflags | F.FLAG_NT : task.eflags;
  cpu.setEflags(image, F.FLAGS_ALL & ~F.FLAG_RF);
  if ((image & F.FLAG_RF) !== 0) cpu.debug.setResumeFlag();
  else cpu.debug.clearResumeFlag();
  cpu.debug.untraced = true;
  for (let index = 0; index < 6; index++) {
    D.setSegment(cpu, index, selectors[index] ?? 0, 0, 0, 0);
  }
  D.setSegment(cpu, L.SEG.ldtr, task.ldt, 0, 0, 0);
  cpu.setCpl(cpu.isV86 ? 3 : selectors[cs] & 3);
}

/**
 * Loads what the new task's selectors name, in the order LDTR, CS, SS, DS, ES, FS, GS. Faults with
 * #TS, #NP, #SS or #GP, in the new task. `errorCode` is pushed on its stack, -1: none.
 */
export function enterTask(cpu: Processor, task: Task, errorCode = -1): void {
  try {
    if (task.layout === TSS32) loadTaskTables(cpu, task.cr3);
    loadLocalTable(cpu, task.ldt);
    if (cpu.isV86) loadSegmentsV86(cpu, task);
    else loadSegments(cpu, task);
    if (task.traps) cpu.debug.pend(DR6_BT);
    if (errorCode !== -1) {
      cpu.stack.begin(false, cpu.cpl);
      cpu.stack.push(task.layout.bytes, errorCode, 0);
      cpu.stack.commit();
    }
    if (task.eip >>> 0 > cpu.record.segmentLimit(cs)) cpu.gp(cpu.ext);
  } finally {
    cpu.modeChanged();
  }
}

function loadLocalTable(cpu: Processor, selector: number): void {
  if ((selector & 0xfffc) === 0) return;
  const error = D.selectorError(cpu, selector);
  if ((selector & 4) !== 0) cpu.raise(VECTOR_TS, error);
  D.readDescriptor(cpu, selector, VECTOR_TS);
  const { hi } = cpu.descriptor;
  if (D.typeOf(hi) !== D.TYPE_LDT || (hi & D.DESC_P) === 0) cpu.raise(VECTOR_TS, error);
  D.cacheSegment(cpu, L.SEG.ldtr, selector);
}

function loadSegmentsV86(cpu: Processor, { selectors }: Task): void {
  for (const index of [cs, ss, ds, es, fs, gs]) loadRealSegment(cpu, index, selectors[index] ?? 0);
}

function loadSegments(cpu: Processor, { selectors }: Task): void {
  loadCode(cpu, selectors[cs]);
  const stack = selectors[ss];
  if ((stack & 0xfffc) === 0) cpu.raise(VECTOR_TS, cpu.ext);
  readStackDescriptor(cpu, stack, cpu.cpl, VECTOR_TS);
  D.cacheSegment(cpu, ss, stack);
  for (const index of [ds, es, fs, gs]) {
    loadDataSegment(cpu, index, selectors[index] ?? 0, VECTOR_TS);
  }
}

function loadCode(cpu: Processor, selector: number): void {
  const error = D.selectorError(cpu, selector);
  if ((selector & 0xfffc) === 0) cpu.raise(VECTOR_TS, cpu.ext);
  D.readDescriptor(cpu, selector, VECTOR_TS);
  const { hi } = cpu.descriptor;
  const code = D.DESC_S | D.DESC_CODE;
  if ((hi & code) !== code) cpu.raise(VECTOR_TS, error);
  const dpl = D.dplOf(hi);
  const rpl = selector & 3;
  const allowed = (hi & D.DESC_CONFORMING) !== 0 ? dpl <= rpl : dpl === rpl;
  if (!allowed) cpu.raise(VECTOR_TS, error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  D.cacheSegment(cpu, cs, selector);
}
