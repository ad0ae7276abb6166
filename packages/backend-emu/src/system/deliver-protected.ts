/**
 * Delivery through 16- and 32-bit gates of legacy protected mode, also out of virtual-8086 mode.
 *
 * Source: AMD APM vol. 2, 8.7 (protected mode), 8.8 (virtual-8086 mode), 12.2.2 (TSS).
 */
import { FLAG_IF, FLAG_NT, FLAG_TF, FLAG_VM } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_NP, VECTOR_TS } from '../cpu/registers.js';
import { IMPLICIT } from '../mmu/mmu.js';
import * as D from './descriptors.js';
import { EVENT_SOFTWARE, savedFlags } from './event.js';
import { loadNullSegment, readStackDescriptor } from './segments.js';
import { BY_CALL, enterTask, leaveTask, readTask } from './task-switch.js';

const RSP = L.gprOffset(4);
const DATA_SEGMENTS = [L.SEG.gs, L.SEG.fs, L.SEG.ds, L.SEG.es] as const;

export function deliverProtected(
  cpu: Processor,
  vector: number,
  error: number,
  event: number,
  eip: number,
): void {
  const { record, memory, descriptor, stack, cpl } = cpu;
  const v86 = cpu.isV86;
  const gateError = vector * 8 + 2 + cpu.ext;
  const offset = vector * 8;
  if (offset + 7 > record.u32(L.IDTR + 8)) cpu.gp(gateError);
  const gate0 = memory.read64((record.lo(L.IDTR) + offset) | 0, 0, IMPLICIT);
  const gate1 = memory.high;
  const type = D.typeOf(gate1);
  const wide = type === D.TYPE_INTERRUPT || type === D.TYPE_TRAP;
  const narrow = type === D.TYPE_INTERRUPT16 || type === D.TYPE_TRAP16;
  if (!wide && !narrow && type !== D.TYPE_TASK_GATE) cpu.gp(gateError);
  if (event === EVENT_SOFTWARE && D.dplOf(gate1) < cpl) cpu.gp(gateError);
  if ((gate1 & D.DESC_P) === 0) cpu.raise(VECTOR_NP, gateError);
  const selector = gate0 >>> 16;
  if (type === D.TYPE_TASK_GATE) {
    deliverToTask(cpu, selector, error, event, eip);
    return;
  }
  if ((selector & 0xfffc) === 0) cpu.gp(cpu.ext);
  D.readDescriptor(cpu, selector);
  const csError = D.selectorError(cpu, selector);
  const csLo = descriptor.lo;
  const csHi = descriptor.hi;
  const { atLo, atHi } = descriptor;
  const code = D.DESC_S | D.DESC_CODE;
  if ((csHi & code) !== code || D.dplOf(csHi) > cpl) cpu.gp(csError);
  if ((csHi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, csError);
  const newCpl = (csHi & D.DESC_CONFORMING) !== 0 ? cpl : D.dplOf(csHi);
  if (v86 && newCpl !== 0) cpu.gp(csError);

  const size = wide ? 4 : 2;
  const flags = savedFlags(cpu, event);
  const inward = newCpl !== cpl;
  let ssSelector = 0;
  let ssLo = 0;
  let ssHi = 0;
  if (inward) {
    ssSelector = newStackOf(cpu, newCpl);
    ssLo = descriptor.lo;
    ssHi = descriptor.hi;
    if (v86) {
      for (const index of DATA_SEGMENTS) stack.push(size, record.segmentSelector(index), 0);
    }
    stack.push(size, record.segmentSelector(L.SEG.ss), 0);
    stack.push(size, record.lo(RSP), 0);
  } else {
    stack.begin(false, cpl);
  }
  stack.push(size, flags, 0);
  stack.push(size, record.segmentSelector(L.SEG.cs), 0);
  stack.push(size, eip, 0);
  if (error !== -1) stack.push(size, error, 0);
  const target = wide ? (gate0 & 0xffff) | (gate1 & 0xffff0000) : gate0 & 0xffff;
  if (target >>> 0 > D.limitOf(csLo, csHi) >>> 0) cpu.gp(cpu.ext);

  descriptor.lo = csLo;
  descriptor.hi = csHi;
  descriptor.atLo = atLo;
  descriptor.atHi = atHi;
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  // Nothing below faults.
  D.cacheSegment(cpu, L.SEG.cs, (selector & 0xfffc) | newCpl);
  if (inward) {
    descriptor.lo = ssLo;
    descriptor.hi = ssHi;
    D.cacheSegment(cpu, L.SEG.ss, ssSelector);
    if (v86) for (const index of DATA_SEGMENTS) loadNullSegment(cpu, index, 0);
    cpu.setCpl(newCpl);
  }
  stack.commit();
  const interrupt = type === D.TYPE_INTERRUPT || type === D.TYPE_INTERRUPT16;
  cpu.debug.clearResumeFlag();
  const cleared = FLAG_TF | FLAG_NT | FLAG_VM;
  cpu.setEflags(0, interrupt ? cleared | FLAG_IF : cleared);
  record.setPair(L.RIP, target, 0);
  cpu.modeChanged();
}

/** A task gate: the event's handler is a task of its own. */
function deliverToTask(
  cpu: Processor,
  selector: number,
  error: number,
  event: number,
  eip: number,
): void {
  const task = readTask(cpu, selector, BY_CALL);
  leaveTask(cpu, task, BY_CALL, eip, savedFlags(cpu, event));
  enterTask(cpu, task, error);
}

/**
 * Begins `cpu.stack` on the inner stack for `cpl` that the TSS names, checked; its descriptor is in
 * `cpu.descriptor`. Returns its selector.
 */
export function newStackOf(cpu: Processor, cpl: number): number {
  const { record, memory, descriptor, stack } = cpu;
  const tr = L.segmentOffset(L.SEG.tr);
  const trSelector = record.segmentSelector(L.SEG.tr);
  const type = record.segmentAttributes(L.SEG.tr) & 15;
  const wide = type === D.TYPE_TSS_BUSY || type === D.TYPE_TSS;
  const offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
  if (offset + (wide ? 7 : 3) > record.segmentLimit(L.SEG.tr)) {
    cpu.raise(VECTOR_TS, D.selectorError(cpu, trSelector));
  }
  const base = record.lo(tr);
  let esp: number;
  let selector: number;
  if (wide) {
    esp = memory.read32((base + offset) | 0, 0, IMPLICIT);
    selector = memory.read16((base + offset + 4) | 0, 0, IMPLICIT);
  } else {
    esp = memory.read16((base + offset) | 0, 0, IMPLICIT);
    selector = memory.read16((base + offset + 2) | 0, 0, IMPLICIT);
  }
  if ((selector & 0xfffc) === 0) cpu.raise(VECTOR_TS, cpu.ext);
  readStackDescriptor(cpu, selector, cpl, VECTOR_TS);
  stack.beginAt(
    esp,
    0,
    D.baseOf(descriptor.lo, descriptor.hi),
    D.limitOf(descriptor.lo, descriptor.hi) >>> 0,
    D.attributesOf(descriptor.hi),
    false,
    cpl,
    D.selectorError(cpu, selector),
  );
  return selector;
}
