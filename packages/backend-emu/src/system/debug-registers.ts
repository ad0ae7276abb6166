/**
 * MOV to and from debug registers.
 *
 * Source: AMD APM vol. 2, 13.1.1; vol. 3, MOV DRn.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR4_DE, VECTOR_DB, VECTOR_UD } from '../cpu/registers.js';
import { LEAVE, NEXT, type Outcome } from './outcome.js';

export const DR6 = L.DR + 6 * 8;
export const DR7 = L.DR + 7 * 8;
/** Causes in DR6 besides the four breakpoints. */
export const DR6_BREAKPOINTS = 15;
export const DR6_BD = 1 << 13;
export const DR6_BT = 1 << 15;
export const DR7_GD = 1 << 13;
/** L0 to L3, LE. */
const DR7_LOCAL = 0x155;

/** The register number of DR4 and DR5, which are DR6 and DR7 unless CR4.DE is set (#UD). */
function debugRegister(cpu: Processor): number {
  const { record } = cpu;
  const number = record.lo(L.ARG0) & 15;
  if (number > 7) cpu.raise(VECTOR_UD);
  const alias = number === 4 || number === 5;
  if (alias && (record.i32(L.CR4) & CR4_DE) !== 0) cpu.raise(VECTOR_UD);
  cpu.requireCpl0();
  if ((record.i32(DR7) & DR7_GD) !== 0) {
    noteCauses(cpu, DR6_BD);
    cpu.raise(VECTOR_DB);
  }
  return alias ? number + 2 : number;
}

/**
 * Enters causes in DR6: those of breakpoints are replaced, the others added to. Debug registers
 * are accessible in the handler.
 */
export function noteCauses({ record }: Processor, causes: number): void {
  record.setI32(DR6, (record.i32(DR6) & ~DR6_BREAKPOINTS) | causes);
  record.setI32(DR7, record.i32(DR7) & ~DR7_GD);
}

/** A task switch disarms what was set for the task only. */
export function endLocalBreakpoints(cpu: Processor): void {
  const { record } = cpu;
  if ((record.i32(DR7) & DR7_LOCAL) === 0) return;
  record.setI32(DR7, record.i32(DR7) & ~DR7_LOCAL);
  cpu.breakpointsChanged();
}

/** MOV to DRn: ARG0 the number, ARG1 the value. */
export function movToDr(cpu: Processor): Outcome {
  const { record } = cpu;
  const number = debugRegister(cpu);
  const lo = record.lo(L.ARG1);
  const hi = cpu.is64 ? record.hi(L.ARG1) : 0;
  const field = L.DR + number * 8;
  if (number < 4) record.setPair(field, lo, hi);
  else if (hi !== 0) cpu.gp();
  else if (number === 6) record.setPair(field, (lo & 0xe00f) | 0xffff0ff0, 0);
  else record.setPair(field, (lo & 0xffff27ff) | 0x400, 0);
  if (number === 6 || !cpu.breakpointsChanged()) return NEXT;
  // The run goes on where breakpoints are looked for.
  cpu.completed();
  return LEAVE;
}

/** MOV from DRn: ARG0 the number → ARG0. */
export function movFromDr(cpu: Processor): Outcome {
  const number = debugRegister(cpu);
  cpu.record.copyPair(L.ARG0, L.DR + number * 8);
  return NEXT;
}
