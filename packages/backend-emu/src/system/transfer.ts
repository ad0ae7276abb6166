/**
 * Far JMP, CALL and RET, direct and through call gates.
 *
 * Source: AMD APM vol. 3, JMP (far), CALL (far), RET (far); vol. 2, 4.8.2 and 4.8.4 (gates).
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_NP } from '../cpu/registers.js';
import { readTssPointer } from './deliver-long.js';
import { newStackOf } from './deliver-protected.js';
import * as D from './descriptors.js';
import { farToTask, namesTask } from './far-task.js';
import {
  checkTarget,
  dropInnerSegments,
  popStack,
  readReturnCode,
  restoreDescriptor,
  saveDescriptor,
  setPointer,
} from './iret.js';
import type { Outcome } from './outcome.js';
import { loadNullStack, loadRealSegment, readStackDescriptor } from './segments.js';
import { BY_CALL, BY_JUMP } from './task-switch.js';

const CODE = D.DESC_S | D.DESC_CODE;

/** A far pointer's offset, cut to the operand size. */
function offsetLo(cpu: Processor): number {
  const lo = cpu.record.lo(L.ARG1);
  return cpu.record.lo(L.ARG2) === 2 ? lo & 0xffff : lo;
}

function offsetHi(cpu: Processor): number {
  return cpu.record.lo(L.ARG2) === 8 ? cpu.record.hi(L.ARG1) : 0;
}

/** Goes to CS:RIP; CS's descriptor has been checked and is in `descriptor`. */
function enter(cpu: Processor, selector: number, lo: number, hi: number): Outcome {
  const to64 = cpu.isLong && (cpu.descriptor.hi & D.DESC_L) !== 0;
  D.cacheSegment(cpu, L.SEG.cs, selector);
  cpu.record.setPair(L.RIP, lo, to64 ? hi : 0);
  cpu.modeChanged();
  return cpu.resume();
}

/** Real and virtual-8086 mode. */
function enterReal(cpu: Processor, selector: number, ip: number): Outcome {
  loadRealSegment(cpu, L.SEG.cs, selector);
  cpu.record.setPair(L.RIP, ip, 0);
  cpu.modeChanged();
  return cpu.resume();
}

/** Checks the code segment of a direct transfer: same privilege, or conforming. */
function checkDirect(cpu: Processor, selector: number): void {
  const { hi } = cpu.descriptor;
  const error = D.selectorError(cpu, selector);
  const dpl = D.dplOf(hi);
  if ((hi & D.DESC_CONFORMING) !== 0) {
    if (dpl > cpu.cpl) cpu.gp(error);
  } else if ((selector & 3) > cpu.cpl || dpl !== cpu.cpl) cpu.gp(error);
  if (cpu.isLong && (hi & D.DESC_L) !== 0 && (hi & D.DESC_DB) !== 0) cpu.gp(error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
}

/** JMP far: ARG0 the selector, ARG1 the offset, ARG2 the operand size in bytes. */
export function jmpFar(cpu: Processor): Outcome {
  const selector = cpu.record.lo(L.ARG0) & 0xffff;
  const lo = offsetLo(cpu);
  if (!cpu.isProtected) {
    if (lo >>> 0 > cpu.record.segmentLimit(L.SEG.cs)) cpu.gp();
    return enterReal(cpu, selector, lo);
  }
  if ((selector & 0xfffc) === 0) cpu.gp();
  D.readDescriptor(cpu, selector);
  if ((cpu.descriptor.hi & CODE) === CODE) {
    checkDirect(cpu, selector);
    checkTarget(cpu, lo, offsetHi(cpu));
    D.setTypeBits(cpu, D.DESC_ACCESSED);
    return enter(cpu, (selector & 0xfffc) | cpu.cpl, lo, offsetHi(cpu));
  }
  if (namesTask(cpu)) return farToTask(cpu, selector, BY_JUMP);
  const gate = readGate(cpu, selector);
  const { hi } = cpu.descriptor;
  const error = D.selectorError(cpu, gate.selector);
  const conforming = (hi & D.DESC_CONFORMING) !== 0;
  const dpl = D.dplOf(hi);
  if (conforming ? dpl > cpu.cpl : dpl !== cpu.cpl) cpu.gp(error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  checkTarget(cpu, gate.lo, gate.hi);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  return enter(cpu, (gate.selector & 0xfffc) | cpu.cpl, gate.lo, gate.hi);
}

interface CallGate {
  readonly selector: number;
  readonly lo: number;
  readonly hi: number;
  /** Parameters to copy to an inner stack. */
  readonly count: number;
  /** Bytes of what a call pushes: 2, 4 or 8. */
  readonly size: number;
}

/** Reads the call gate in `descriptor`, then the code segment it names, unchecked but for type. */
function readGate(cpu: Processor, selector: number): CallGate {
  const { descriptor } = cpu;
  const error = D.selectorError(cpu, selector);
  const { lo, hi } = descriptor;
  const type = D.typeOf(hi);
  const long = cpu.isLong;
  if (type !== D.TYPE_CALL && (long || type !== D.TYPE_CALL16)) cpu.gp(error);
  const dpl = D.dplOf(hi);
  if (dpl < cpu.cpl || dpl < (selector & 3)) cpu.gp(error);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  let upper = 0;
  if (long) {
    D.readUpper(cpu, selector);
    upper = descriptor.upper;
  }
  const wide = type === D.TYPE_CALL;
  const target = lo >>> 16;
  const gate: CallGate = {
    selector: target,
    lo: wide ? (lo & 0xffff) | (hi & 0xffff0000) : lo & 0xffff,
    hi: upper,
    count: long ? 0 : hi & 31,
    size: long ? 8 : wide ? 4 : 2,
  };
  if ((target & 0xfffc) === 0) cpu.gp();
  D.readDescriptor(cpu, target);
  const code = descriptor.hi;
  const targetError = D.selectorError(cpu, target);
  if ((code & CODE) !== CODE || D.dplOf(code) > cpu.cpl) cpu.gp(targetError);
  const is64 = (code & D.DESC_L) !== 0 && (code & D.DESC_DB) === 0;
  if (long && !is64) cpu.gp(targetError);
  return gate;
}

/** CALL far: ARG0 the selector, ARG1 the offset, ARG2 the operand size in bytes. */
export function callFar(cpu: Processor): Outcome {
  const { record, stack } = cpu;
  const selector = record.lo(L.ARG0) & 0xffff;
  const size = record.lo(L.ARG2);
  const lo = offsetLo(cpu);
  stack.begin(cpu.is64, cpu.cpl);
  if (!cpu.isProtected) {
    if (lo >>> 0 > record.segmentLimit(L.SEG.cs)) cpu.gp();
    pushReturn(cpu, size);
    stack.commit();
    return enterReal(cpu, selector, lo);
  }
  if ((selector & 0xfffc) === 0) cpu.gp();
  D.readDescriptor(cpu, selector);
  if ((cpu.descriptor.hi & CODE) !== CODE) {
    if (namesTask(cpu)) return farToTask(cpu, selector, BY_CALL);
    return callGate(cpu, selector);
  }
  checkDirect(cpu, selector);
  // The return address is written before the target is looked at.
  pushReturn(cpu, size);
  checkTarget(cpu, lo, offsetHi(cpu));
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  stack.commit();
  return enter(cpu, (selector & 0xfffc) | cpu.cpl, lo, offsetHi(cpu));
}

function pushReturn(cpu: Processor, size: number): void {
  const { record, stack } = cpu;
  stack.push(size, record.segmentSelector(L.SEG.cs), 0);
  stack.push(size, record.lo(L.NEXT_RIP), record.hi(L.NEXT_RIP));
}

function callGate(cpu: Processor, selector: number): Outcome {
  const { stack, descriptor, saved } = cpu;
  const gate = readGate(cpu, selector);
  const code = descriptor.hi;
  if ((code & D.DESC_P) === 0) cpu.raise(VECTOR_NP, D.selectorError(cpu, gate.selector));
  const newCpl = (code & D.DESC_CONFORMING) !== 0 ? cpu.cpl : D.dplOf(code);
  checkTarget(cpu, gate.lo, gate.hi);
  saveDescriptor(cpu, saved);
  if (newCpl === cpu.cpl) {
    stack.begin(cpu.is64 || gate.size === 8, cpu.cpl);
    pushReturn(cpu, gate.size);
    D.setTypeBits(cpu, D.DESC_ACCESSED);
    stack.commit();
    return enter(cpu, (gate.selector & 0xfffc) | newCpl, gate.lo, gate.hi);
  }
  if (cpu.isLong) callInnerLong(cpu, newCpl);
  else callInner(cpu, gate, newCpl);
  cpu.setCpl(newCpl);
  restoreDescriptor(cpu, saved);
  return enter(cpu, (gate.selector & 0xfffc) | newCpl, gate.lo, gate.hi);
}

/** A call to an inner privilege in legacy mode: parameters are copied to the new stack. */
function callInner(cpu: Processor, gate: CallGate, newCpl: number): void {
  const { record, stack, descriptor, saved } = cpu;
  const oldSs = record.segmentSelector(L.SEG.ss);
  const oldEsp = record.lo(L.gprOffset(4));
  stack.begin(false, cpu.cpl);
  const parameters: number[] = [];
  for (let i = 0; i < gate.count; i++) parameters.push(stack.pop(gate.size));
  const selector = newStackOf(cpu, newCpl);
  const { lo, hi } = descriptor;
  stack.push(gate.size, oldSs, 0);
  stack.push(gate.size, oldEsp, 0);
  for (const parameter of parameters.reverse()) stack.push(gate.size, parameter, 0);
  pushReturn(cpu, gate.size);
  restoreDescriptor(cpu, saved);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  saveDescriptor(cpu, saved);
  descriptor.lo = lo;
  descriptor.hi = hi;
  D.cacheSegment(cpu, L.SEG.ss, selector);
  stack.commit();
}

function callInnerLong(cpu: Processor, newCpl: number): void {
  const { record, stack, saved } = cpu;
  const rspLo = readTssPointer(cpu, 4 + newCpl * 8);
  const rspHi = cpu.memory.high;
  stack.beginAt(rspLo, rspHi, 0, 0, 0, true, newCpl, 0);
  stack.push(8, record.segmentSelector(L.SEG.ss), 0);
  stack.push(8, record.lo(L.gprOffset(4)), cpu.is64 ? record.hi(L.gprOffset(4)) : 0);
  pushReturn(cpu, 8);
  restoreDescriptor(cpu, saved);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  saveDescriptor(cpu, saved);
  loadNullStack(cpu, newCpl);
  stack.commit();
}

/** RET far: ARG0 the bytes to release, ARG1 the operand size in bytes. */
export function retFar(cpu: Processor): Outcome {
  const { record, stack } = cpu;
  const release = record.lo(L.ARG0) & 0xffff;
  const size = record.lo(L.ARG1);
  stack.begin(cpu.is64, cpu.cpl);
  const selector = stack.peek(size, size) & 0xffff;
  const lo = stack.peek(0, size);
  const hi = stack.high;
  stack.move(2 * size);
  if (!cpu.isProtected) {
    if (lo >>> 0 > record.segmentLimit(L.SEG.cs)) cpu.gp();
    stack.move(release);
    stack.commit();
    return enterReal(cpu, selector, lo);
  }
  stack.move(release);
  if ((selector & 3) !== cpu.cpl) popStack(cpu, size);
  readReturnCode(cpu, selector);
  checkTarget(cpu, lo, hi);
  if ((selector & 3) !== cpu.cpl) return retOuter(cpu, selector, lo, hi, release);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  stack.commit();
  return enter(cpu, selector, lo, hi);
}

function retOuter(
  cpu: Processor,
  selector: number,
  lo: number,
  hi: number,
  release: number,
): Outcome {
  const { descriptor, outer, saved } = cpu;
  const newCpl = selector & 3;
  const to64 = cpu.isLong && (descriptor.hi & D.DESC_L) !== 0;
  saveDescriptor(cpu, saved);
  const { lo: rspLo, hi: rspHi, selector: ss } = outer;
  const noStack = (ss & 0xfffc) === 0;
  if (noStack && (!to64 || newCpl === 3 || (ss & 3) !== newCpl)) cpu.gp();
  if (!noStack) readStackDescriptor(cpu, ss, newCpl, 13);
  const stackLo = descriptor.lo;
  const stackHi = descriptor.hi;
  restoreDescriptor(cpu, saved);
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  saveDescriptor(cpu, saved);
  // Nothing below faults.
  if (noStack) loadNullStack(cpu, newCpl, ss);
  else {
    descriptor.lo = stackLo;
    descriptor.hi = stackHi;
    D.cacheSegment(cpu, L.SEG.ss, ss);
  }
  const releasedLo = (rspLo + release) | 0;
  const carry = releasedLo >>> 0 < release ? 1 : 0;
  setPointer(cpu, releasedLo, to64 ? (rspHi + carry) | 0 : 0, to64);
  cpu.setCpl(newCpl);
  dropInnerSegments(cpu, newCpl);
  restoreDescriptor(cpu, saved);
  return enter(cpu, selector, lo, hi);
}
