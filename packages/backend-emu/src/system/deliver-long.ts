/**
 * Delivery through 64-bit gates in long mode.
 *
 * Source: AMD APM vol. 2, 8.9 (long-mode interrupts), 12.2.5 (TSS), 4.8.4 (gates).
 */
import { FLAG_IF, FLAG_NT, FLAG_TF, FLAG_VM } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_GP, VECTOR_NP, VECTOR_SS, VECTOR_TS } from '../cpu/registers.js';
import { IMPLICIT } from '../mmu/mmu.js';
import * as D from './descriptors.js';
import { EVENT_SOFTWARE, savedFlags } from './event.js';
import { loadNullStack } from './segments.js';

const RSP = L.gprOffset(4);

export function deliverLong(
  cpu: Processor,
  vector: number,
  error: number,
  event: number,
  ripLo: number,
  ripHi: number,
): void {
  const { record, words, memory, descriptor } = cpu;
  const gateError = vector * 8 + 2 + cpu.ext;
  const offset = vector * 16;
  if (offset + 15 > words[(L.IDTR + 8) >> 2] >>> 0) cpu.gp(gateError);
  const idtLo = (words[L.IDTR >> 2] + offset) | 0;
  const idtHi = words[(L.IDTR + 4) >> 2] + (idtLo >>> 0 < offset ? 1 : 0);
  const gate0 = memory.read64(idtLo, idtHi, IMPLICIT);
  const gate1 = memory.high;
  const upperLo = (idtLo + 8) | 0;
  const targetHi = memory.read32(upperLo, upperLo >>> 0 < 8 ? idtHi + 1 : idtHi, IMPLICIT);
  const type = D.typeOf(gate1);
  if (type !== D.TYPE_INTERRUPT && type !== D.TYPE_TRAP) cpu.gp(gateError);
  const { cpl } = cpu;
  if (event === EVENT_SOFTWARE && D.dplOf(gate1) < cpl) cpu.gp(gateError);
  if ((gate1 & D.DESC_P) === 0) cpu.raise(VECTOR_NP, gateError);
  const selector = gate0 >>> 16;
  if ((selector & 0xfffc) === 0) cpu.gp(cpu.ext);
  D.readDescriptor(cpu, selector);
  const csError = D.selectorError(cpu, selector);
  const csHi = descriptor.hi;
  const code = D.DESC_S | D.DESC_CODE;
  if ((csHi & code) !== code || D.dplOf(csHi) > cpl) cpu.gp(csError);
  if ((csHi & D.DESC_L) === 0 || (csHi & D.DESC_DB) !== 0) cpu.gp(csError);
  if ((csHi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, csError);
  const targetLo = (gate0 & 0xffff) | (gate1 & 0xffff0000);
  if (!cpu.mmu.walker.isCanonical(targetHi)) cpu.gp(cpu.ext);

  const newCpl = (csHi & D.DESC_CONFORMING) !== 0 ? cpl : D.dplOf(csHi);
  const ist = gate1 & 7;
  let rspLo = words[RSP >> 2];
  let rspHi = words[(RSP >> 2) + 1];
  if (ist !== 0) {
    rspLo = readTssPointer(cpu, 0x1c + ist * 8);
    rspHi = memory.high;
  } else if (newCpl !== cpl) {
    rspLo = readTssPointer(cpu, 4 + newCpl * 8);
    rspHi = memory.high;
  }
  const flags = savedFlags(cpu, event);
  pushFrame(cpu, rspLo & ~15, rspHi, newCpl, flags, error, ripLo, ripHi);

  // Nothing below faults.
  D.setTypeBits(cpu, D.DESC_ACCESSED);
  record.setPair(RSP, cpu.stack.lo, cpu.stack.hi);
  D.cacheSegment(cpu, L.SEG.cs, (selector & 0xfffc) | newCpl);
  if (newCpl !== cpl) {
    loadNullStack(cpu, newCpl);
    cpu.setCpl(newCpl);
  }
  const cleared = FLAG_TF | FLAG_NT | FLAG_VM;
  cpu.debug.clearResumeFlag();
  cpu.setEflags(0, type === D.TYPE_INTERRUPT ? cleared | FLAG_IF : cleared);
  record.setPair(L.RIP, targetLo, targetHi);
  cpu.modeChanged();
}

/** Writes the frame below `topLo`/`topHi`; the new stack pointer is in `cpu.stack`. */
function pushFrame(
  cpu: Processor,
  topLo: number,
  topHi: number,
  cpl: number,
  flags: number,
  error: number,
  ripLo: number,
  ripHi: number,
): void {
  const { record, words, stack, mmu } = cpu;
  const size = error === -1 ? 40 : 48;
  const lo = (topLo - size) | 0;
  const hi = lo >>> 0 > topLo >>> 0 ? (topHi - 1) | 0 : topHi;
  const ss = record.segmentSelector(L.SEG.ss);
  const cs = record.segmentSelector(L.SEG.cs);
  const { view } = mmu.physical;
  mmu.canonicalVector = VECTOR_SS;
  // In one page of memory, as nearly always: one translation.
  if ((lo & 0xfff) + size <= 4096 && !mmu.breakpoints.data) {
    const host = mmu.translate(lo, hi, 1, cpl);
    if (host >= 0) {
      let at = host;
      if (error !== -1) {
        view.setInt32(at, error, true);
        view.setInt32(at + 4, 0, true);
        at += 8;
      }
      view.setInt32(at, ripLo, true);
      view.setInt32(at + 4, ripHi, true);
      view.setInt32(at + 8, cs, true);
      view.setInt32(at + 12, 0, true);
      view.setInt32(at + 16, flags, true);
      view.setInt32(at + 20, 0, true);
      view.setInt32(at + 24, words[RSP >> 2], true);
      view.setInt32(at + 28, words[(RSP >> 2) + 1], true);
      view.setInt32(at + 32, ss, true);
      view.setInt32(at + 36, 0, true);
      mmu.physical.noteWrite(host, size);
      mmu.canonicalVector = VECTOR_GP;
      stack.lo = lo;
      stack.hi = hi;
      return;
    }
  }
  stack.beginAt(topLo, topHi, 0, 0, 0, true, cpl, 0);
  stack.push(8, ss, 0);
  stack.push(8, record.lo(RSP), record.hi(RSP));
  stack.push(8, flags, 0);
  stack.push(8, cs, 0);
  stack.push(8, ripLo, ripHi);
  if (error !== -1) stack.push(8, error, 0);
}

/** Reads a stack pointer of the TSS: the low half; the high half is in `memory.high`. */
export function readTssPointer(cpu: Processor, offset: number): number {
  const { record, memory } = cpu;
  const tr = L.segmentOffset(L.SEG.tr);
  if (offset + 7 > record.segmentLimit(L.SEG.tr)) {
    cpu.raise(VECTOR_TS, D.selectorError(cpu, record.segmentSelector(L.SEG.tr)));
  }
  const base = record.lo(tr);
  const lo = (base + offset) | 0;
  const hi = record.hi(tr) + (lo >>> 0 < base >>> 0 ? 1 : 0);
  return memory.read64(lo, hi, IMPLICIT);
}
