/**
 * MOV to and from debug registers.
 *
 * Source: AMD APM vol. 2, 13.1.1; vol. 3, MOV DRn. Breakpoints set there do not trap yet.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR4_DE, VECTOR_DB, VECTOR_UD } from '../cpu/registers.js';
import { NEXT, type Outcome } from './outcome.js';

const DR6 = 6;
const DR7 = 7;
const DR7_GD = 1 << 13;
const DR6_BD = 1 << 13;

/** The register number of DR4 and DR5, which are DR6 and DR7 unless CR4.DE is set (#UD). */
function debugRegister(cpu: Processor): number {
  const { record } = cpu;
  const number = record.lo(L.ARG0) & 15;
  if (number > 7) cpu.raise(VECTOR_UD);
  const alias = number === 4 || number === 5;
  if (alias && (record.i32(L.CR4) & CR4_DE) !== 0) cpu.raise(VECTOR_UD);
  cpu.requireCpl0();
  const dr7 = L.DR + DR7 * 8;
  if ((record.i32(dr7) & DR7_GD) !== 0) {
    // General detect: the fault's handler must be able to touch them.
    record.setI32(dr7, record.i32(dr7) & ~DR7_GD);
    record.setI32(L.DR + DR6 * 8, record.i32(L.DR + DR6 * 8) | DR6_BD);
    cpu.raise(VECTOR_DB);
  }
  return alias ? number + 2 : number;
}

/** MOV to DRn: ARG0 the number, ARG1 the value. */
export function movToDr(cpu: Processor): Outcome {
  const { record } = cpu;
  const number = debugRegister(cpu);
  const lo = record.lo(L.ARG1);
  const hi = cpu.is64 ? record.hi(L.ARG1) : 0;
  const field = L.DR + number * 8;
  if (number < 4) {
    record.setPair(field, lo, hi);
    return NEXT;
  }
  if (hi !== 0) cpu.gp();
  if (number === DR6) record.setPair(field, (lo & 0xe00f) | 0xffff0ff0, 0);
  else record.setPair(field, (lo & 0xffff27ff) | 0x400, 0);
  return NEXT;
}

/** MOV from DRn: ARG0 the number → ARG0. */
export function movFromDr(cpu: Processor): Outcome {
  const number = debugRegister(cpu);
  cpu.record.copyPair(L.ARG0, L.DR + number * 8);
  return NEXT;
}
