/**
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS.
 *
 * Source: AMD APM vol. 2, 6.1; vol. 3 for each. AMD's rules: SYSENTER and SYSEXIT are #UD in long
 * mode; SYSRET does not check that RIP is canonical (the next fetch does).
 * SYSRET changes the selector of SS only. While TF is set, SYSCALL and SYSRET trap by TF as they
 * leave it, so that a kernel that masks TF is not stepped into.
 */
import { FLAG_IF, FLAG_RF, FLAG_VM, FLAGS_ALL } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { EFER_SCE, VECTOR_UD } from '../cpu/registers.js';
import { setSegment } from './descriptors.js';
import { NEXT, type Outcome, REDISPATCH } from './outcome.js';

const RCX = L.gprOffset(1);
const RSP = L.gprOffset(4);
const R11 = L.gprOffset(11);
const FLAT = 0xffffffff;
/** Attributes in VMCB form. */
const CODE64 = 0xa9b;
const CODE32 = 0xc9b;
const DATA = 0xc93;
const DPL3 = 3 << 5;

/** SYSCALL. */
export function syscall(cpu: Processor): Outcome {
  const { record } = cpu;
  if ((record.i32(L.EFER) & EFER_SCE) === 0) cpu.raise(VECTOR_UD);
  const selector = record.hi(L.STAR) & 0xffff;
  if (cpu.isLong) {
    const target = cpu.is64 ? L.LSTAR : L.CSTAR;
    record.copyPair(RCX, L.NEXT_RIP);
    record.setPair(R11, record.eflags() & ~FLAG_RF, 0);
    record.copyPair(L.RIP, target);
    setSegment(cpu, L.SEG.cs, selector & 0xfffc, 0, FLAT, CODE64);
    setSegment(cpu, L.SEG.ss, ((selector & 0xfffc) + 8) & 0xffff, 0, FLAT, DATA);
    cpu.setCpl(0);
    cpu.setEflags(0, (record.i32(L.SFMASK) & FLAGS_ALL) | FLAG_RF);
  } else {
    record.setPair(RCX, record.lo(L.NEXT_RIP), 0);
    record.setPair(L.RIP, record.lo(L.STAR), 0);
    setSegment(cpu, L.SEG.cs, selector & 0xfffc, 0, FLAT, CODE32);
    setSegment(cpu, L.SEG.ss, ((selector & 0xfffc) + 8) & 0xffff, 0, FLAT, DATA);
    cpu.setCpl(0);
    cpu.setEflags(0, FLAG_IF | FLAG_RF | FLAG_VM);
  }
  cpu.debug.traceByNewFlags();
  cpu.modeChanged();
  return cpu.resume();
}

/** SYSRET: ARG0 the operand size in bytes; 8 returns to 64-bit mode. */
export function sysret(cpu: Processor): Outcome {
  const { record } = cpu;
  if ((record.i32(L.EFER) & EFER_SCE) === 0) cpu.raise(VECTOR_UD);
  if (!cpu.isProtected) cpu.gp();
  cpu.requireCpl0();
  const selector = record.hi(L.STAR) >>> 16;
  const to64 = cpu.is64 && record.lo(L.ARG0) === 8;
  const long = cpu.is64;
  const code = ((to64 ? selector + 16 : selector) | 3) & 0xffff;
  setSegment(cpu, L.SEG.cs, code, 0, FLAT, (to64 ? CODE64 : CODE32) | DPL3);
  const ss = L.segmentOffset(L.SEG.ss);
  record.setU16(ss + L.SEG_SELECTOR, ((selector + 8) | 3) & 0xffff);
  if (to64) record.copyPair(L.RIP, RCX);
  else record.setPair(L.RIP, record.lo(RCX), 0);
  cpu.setCpl(3);
  if (long) cpu.setEflags(record.lo(R11), FLAGS_ALL & ~(FLAG_RF | FLAG_VM));
  else cpu.setEflags(FLAG_IF, FLAG_IF);
  cpu.debug.traceByNewFlags();
  cpu.modeChanged();
  return cpu.resume();
}

/** SYSENTER: #UD in long mode, as AMD has it. */
export function sysenter(cpu: Processor): Outcome {
  const { record } = cpu;
  if (cpu.isLong) cpu.raise(VECTOR_UD);
  const selector = record.lo(L.SYSENTER_CS) & 0xfffc;
  if (!cpu.isProtected || selector === 0) cpu.gp();
  setSegment(cpu, L.SEG.cs, selector, 0, FLAT, CODE32);
  setSegment(cpu, L.SEG.ss, (selector + 8) & 0xffff, 0, FLAT, DATA);
  cpu.setCpl(0);
  cpu.setEflags(0, FLAG_IF | FLAG_RF | FLAG_VM);
  record.setPair(RSP, record.lo(L.SYSENTER_ESP), 0);
  record.setPair(L.RIP, record.lo(L.SYSENTER_EIP), 0);
  cpu.modeChanged();
  return REDISPATCH;
}

/** SYSEXIT: #UD in long mode, as AMD has it. */
export function sysexit(cpu: Processor): Outcome {
  const { record } = cpu;
  if (cpu.isLong) cpu.raise(VECTOR_UD);
  const selector = record.lo(L.SYSENTER_CS) & 0xfffc;
  if (!cpu.isProtected || cpu.cpl !== 0 || selector === 0) cpu.gp();
  setSegment(cpu, L.SEG.cs, ((selector + 16) | 3) & 0xffff, 0, FLAT, CODE32 | DPL3);
  setSegment(cpu, L.SEG.ss, ((selector + 24) | 3) & 0xffff, 0, FLAT, DATA | DPL3);
  cpu.setCpl(3);
  record.setPair(L.RIP, record.lo(L.gprOffset(2)), 0);
  record.setPair(RSP, record.lo(RCX), 0);
  cpu.modeChanged();
  return REDISPATCH;
}

/** A base that four levels cannot reach, in ARG0: #GP(0) unless the processor knows five. */
export function wideBase(cpu: Processor): Outcome {
  if (!cpu.mmu.walker.isCanonicalBase(cpu.record.hi(L.ARG0))) cpu.gp();
  return NEXT;
}

/** SWAPGS. */
export function swapgs(cpu: Processor): Outcome {
  if (!cpu.is64) cpu.raise(VECTOR_UD);
  cpu.requireCpl0();
  const { record } = cpu;
  const base = L.segmentOffset(L.SEG.gs);
  const lo = record.lo(base);
  const hi = record.hi(base);
  record.copyPair(base, L.KERNEL_GS_BASE);
  record.setPair(L.KERNEL_GS_BASE, lo, hi);
  return NEXT;
}
