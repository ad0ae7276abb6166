/**
 * IRET in every mode.
 *
 * Source: AMD APM vol. 3, IRET; vol. 2, 8.7-8.9; 12.3 for NT, which asks for a task switch.
 */
import * as F from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_NP } from '../cpu/registers.js';
import * as D from './descriptors.js';
import { returnToTask } from './far-task.js';
import type { Outcome } from './outcome.js';
import {
  loadNullSegment,
  loadNullStack,
  loadRealSegment,
  readStackDescriptor,
} from './segments.js';

/** What any IRET may change; IF, IOPL and others depend on the privilege. */
const PLAIN = F.FLAGS_STATUS | F.FLAG_TF | F.FLAG_DF | F.FLAG_NT | F.FLAG_AC | F.FLAG_ID;
/** What an operand size of 16 bits leaves alone. */
const UPPER = F.FLAG_AC | F.FLAG_ID | F.FLAG_VIF | F.FLAG_VIP;

/** IRET: ARG0 the operand size in bytes. */
export function iret(cpu: Processor): Outcome {
  const size = cpu.record.lo(L.ARG0);
  if (cpu.isLong) iretLong(cpu, size);
  else if (cpu.isProtected) {
    if ((cpu.record.i32(L.EFLAGS) & F.FLAG_NT) !== 0) {
      const outcome = returnToTask(cpu);
      unblockNmi(cpu);
      return outcome;
    }
    iretProtected(cpu, size);
  } else iretReal(cpu, size);
  unblockNmi(cpu);
  cpu.modeChanged();
  return cpu.resume();
}

/** One that came meanwhile is taken before the next instruction. */
function unblockNmi(cpu: Processor): void {
  if (cpu.extension.iretUnblocksNmi) cpu.words[L.NMI_BLOCKED >> 2] = 0;
  cpu.updatePending();
}

function iretReal(cpu: Processor, size: number): void {
  const { record, stack } = cpu;
  const v86 = cpu.isV86;
  if (v86 && (record.i32(L.EFLAGS) & F.FLAG_IOPL) !== F.FLAG_IOPL) cpu.gp();
  stack.begin(false, cpu.cpl);
  const ip = stack.pop(size);
  const cs = stack.pop(size) & 0xffff;
  const flags = stack.pop(size);
  if (ip >>> 0 > record.segmentLimit(L.SEG.cs)) cpu.gp();
  stack.commit();
  loadRealSegment(cpu, L.SEG.cs, cs);
  record.setPair(L.RIP, ip, 0);
  const mask = PLAIN | F.FLAG_IF | (v86 ? 0 : F.FLAG_IOPL);
  restoreFlags(cpu, flags, mask, size);
}

/** The flags that IRET may change at privilege `cpl`. */
function flagMask(cpu: Processor, cpl: number): number {
  const iopl = (cpu.record.i32(L.EFLAGS) & F.FLAG_IOPL) >>> F.FLAG_IOPL_SHIFT;
  let mask = PLAIN;
  if (cpl <= iopl) mask |= F.FLAG_IF;
  if (cpl === 0) mask |= F.FLAG_IOPL | F.FLAG_VIF | F.FLAG_VIP;
  return mask;
}

/** Takes the flags of `mask`, and RF, from the image, as far as the operand size reaches. */
function restoreFlags(cpu: Processor, image: number, mask: number, size: number): void {
  cpu.setEflags(image, size === 2 ? mask & ~UPPER : mask);
  if (size !== 2 && (image & F.FLAG_RF) !== 0) cpu.debug.setResumeFlag();
}

/** Reads and checks the code segment to return to; its RPL is the new privilege. */
export function readReturnCode(cpu: Processor, selector: number): void {
  if ((selector & 0xfffc) === 0) cpu.gp();
  const rpl = selector & 3;
  if (rpl < cpu.cpl) cpu.gp(D.selectorError(cpu, selector));
  D.readDescriptor(cpu, selector);
  const { hi } = cpu.descriptor;
  const error = D.selectorError(cpu, selector);
  const code = D.DESC_S | D.DESC_CODE;
  if ((hi & code) !== code) cpu.gp(error);
  const conforming = (hi & D.DESC_CONFORMING) !== 0;
  if (conforming ? D.dplOf(hi) > rpl : D.dplOf(hi) !== rpl) cpu.gp(error);
  if (cpu.isLong && (hi & D.DESC_L) !== 0 && (hi & D.DESC_DB) !== 0) cpu.gp(error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
}

/** After a return to an outer privilege: segments that it may not use become null. */
export function dropInnerSegments(cpu: Processor, cpl: number): void {
  for (const index of [L.SEG.es, L.SEG.ds, L.SEG.fs, L.SEG.gs]) {
    const attributes = cpu.record.segmentAttributes(index);
    // Conforming code may be used at any privilege.
    if ((attributes & 0x1c) === 0x1c) continue;
    if (((attributes >>> 5) & 3) < cpl && (attributes & 0x80) !== 0) {
      loadNullSegment(cpu, index, 0);
    }
  }
}

/** Copy of the descriptor just read, for use after another has been read. */
export interface SavedDescriptor {
  lo: number;
  hi: number;
  atLo: number;
  atHi: number;
}

export function saveDescriptor({ descriptor }: Processor, to: SavedDescriptor): void {
  to.lo = descriptor.lo;
  to.hi = descriptor.hi;
  to.atLo = descriptor.atLo;
  to.atHi = descriptor.atHi;
}

export function restoreDescriptor({ descriptor }: Processor, from: SavedDescriptor): void {
  descriptor.lo = from.lo;
  descriptor.hi = from.hi;
  descriptor.atLo = from.atLo;
  descriptor.atHi = from.atHi;
}

/** Whether the new RIP may be reached in the code segment that `descriptor` holds. */
export function checkTarget(cpu: Processor, lo: number, hi: number): void {
  const { descriptor } = cpu;
  if (cpu.isLong && (descriptor.hi & D.DESC_L) !== 0) {
    if (!cpu.mmu.walker.isCanonical(hi)) cpu.gp();
    return;
  }
  if (lo >>> 0 > D.limitOf(descriptor.lo, descriptor.hi) >>> 0) cpu.gp();
}

/** Pops the outer stack's pointer and segment into `outer`; the segment is read first. */
export function popStack(cpu: Processor, size: number): void {
  const { stack, outer } = cpu;
  outer.selector = stack.peek(size, size) & 0xffff;
  outer.lo = stack.peek(0, size);
  outer.hi = stack.high;
  stack.move(2 * size);
}

function iretLong(cpu: Processor, size: number): void {
  const { record, stack } = cpu;
  if ((record.i32(L.EFLAGS) & F.FLAG_NT) !== 0) cpu.gp();
  const { cpl } = cpu;
  stack.begin(cpu.is64, cpl);
  const flags = stack.peek(2 * size, size);
  const selector = stack.peek(size, size) & 0xffff;
  const ripLo = stack.peek(0, size);
  const ripHi = stack.high;
  stack.move(3 * size);
  const newCpl = selector & 3;
  const outward = newCpl !== cpl;
  // In 64-bit mode the stack pointer is always popped; what is popped, before anything is checked.
  const popsStack = outward || cpu.is64;
  if (popsStack) popStack(cpu, size);
  const { outer, saved } = cpu;
  const { lo: rspLo, hi: rspHi, selector: ss } = outer;
  readReturnCode(cpu, selector);
  checkTarget(cpu, ripLo, ripHi);
  const to64 = (cpu.descriptor.hi & D.DESC_L) !== 0;
  saveDescriptor(cpu, saved);
  if (popsStack) {
    if ((ss & 0xfffc) === 0) {
      if (!to64 || newCpl === 3 || (ss & 3) !== newCpl) cpu.gp();
    } else readStackDescriptor(cpu, ss, newCpl, 13);
  }
  const stackLo = cpu.descriptor.lo;
  const stackHi = cpu.descriptor.hi;
  restoreDescriptor(cpu, saved);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  // Nothing below faults.
  D.cacheSegment(cpu, L.SEG.cs, selector);
  record.setPair(L.RIP, ripLo, to64 ? ripHi : 0);
  if (popsStack) {
    if ((ss & 0xfffc) === 0) loadNullStack(cpu, newCpl, ss);
    else {
      cpu.descriptor.lo = stackLo;
      cpu.descriptor.hi = stackHi;
      D.cacheSegment(cpu, L.SEG.ss, ss);
    }
    setPointer(cpu, rspLo, rspHi, to64);
  } else stack.commit();
  restoreFlags(cpu, flags, flagMask(cpu, cpl), size);
  if (outward) {
    cpu.setCpl(newCpl);
    dropInnerSegments(cpu, newCpl);
  }
}

/** Loads RSP, ESP or SP as wide as the stack just loaded is. */
export function setPointer(cpu: Processor, lo: number, hi: number, wide: boolean): void {
  const { record } = cpu;
  const rsp = L.gprOffset(4);
  const big = (record.segmentAttributes(L.SEG.ss) & 0x400) !== 0;
  if (wide) record.setPair(rsp, lo, hi);
  else if (big) record.setPair(rsp, lo, 0);
  else record.setU16(rsp, lo);
}

function iretProtected(cpu: Processor, size: number): void {
  const { record, stack, cpl } = cpu;
  stack.begin(false, cpl);
  const flags = stack.peek(2 * size, size);
  const selector = stack.peek(size, size) & 0xffff;
  const eip = stack.peek(0, size);
  stack.move(3 * size);
  if (size === 4 && (flags & F.FLAG_VM) !== 0 && cpl === 0) {
    returnToV86(cpu, eip, selector, flags);
    return;
  }
  const newCpl = selector & 3;
  if (newCpl !== cpl) popStack(cpu, size);
  const { outer, saved } = cpu;
  const { lo: esp, selector: ss } = outer;
  readReturnCode(cpu, selector);
  checkTarget(cpu, eip, 0);
  saveDescriptor(cpu, saved);
  if (newCpl !== cpl) {
    if ((ss & 0xfffc) === 0) cpu.gp();
    readStackDescriptor(cpu, ss, newCpl, 13);
  }
  const stackLo = cpu.descriptor.lo;
  const stackHi = cpu.descriptor.hi;
  restoreDescriptor(cpu, saved);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  // Nothing below faults.
  D.cacheSegment(cpu, L.SEG.cs, selector);
  record.setPair(L.RIP, eip, 0);
  if (newCpl !== cpl) {
    cpu.descriptor.lo = stackLo;
    cpu.descriptor.hi = stackHi;
    D.cacheSegment(cpu, L.SEG.ss, ss);
    setPointer(cpu, esp, 0, false);
  } else stack.commit();
  restoreFlags(cpu, flags, flagMask(cpu, cpl), size);
  if (newCpl !== cpl) {
    cpu.setCpl(newCpl);
    dropInnerSegments(cpu, newCpl);
  }
}

/** EIP, CS and EFLAGS have been popped; ESP, SS, ES, DS, FS and GS follow. */
function returnToV86(cpu: Processor, eip: number, cs: number, flags: number): void {
  const { record, stack } = cpu;
  const esp = stack.pop(4);
  const selectors: number[] = [];
  for (let i = 0; i < 5; i++) selectors.push(stack.pop(4) & 0xffff);
  if (eip >>> 0 > 0xffff) cpu.gp();
  restoreFlags(cpu, flags, F.FLAGS_ALL & ~F.FLAG_RF, 4);
  cpu.setCpl(3);
  const [ss, es, ds, fs, gs] = selectors;
  loadRealSegment(cpu, L.SEG.cs, cs);
  loadRealSegment(cpu, L.SEG.ss, ss);
  loadRealSegment(cpu, L.SEG.es, es);
  loadRealSegment(cpu, L.SEG.ds, ds);
  loadRealSegment(cpu, L.SEG.fs, fs);
  loadRealSegment(cpu, L.SEG.gs, gs);
  record.setPair(L.gprOffset(4), esp, 0);
  record.setPair(L.RIP, eip & 0xffff, 0);
}
