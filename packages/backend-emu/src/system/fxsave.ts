/**
 * FXSAVE and FXRSTOR: the 512-byte image of x87, MMX and SSE state.
 *
 * Source: AMD APM vol. 2, 11.4.4; vol. 3, FXSAVE, FXRSTOR.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR0_EM, CR0_TS, VECTOR_AC, VECTOR_NM } from '../cpu/registers.js';
import * as I from './fpu-image.js';
import { requireCanonical } from './operand-address.js';
import { NEXT, type Outcome } from './outcome.js';

/**
 * What comes first: #NM, then the canonical address, then the alignment: #AC where that is asked
 * for and the address is no multiple of 4, else #GP. APM vol. 3, FXSAVE, lists both; which of them
 * was found on processors.
 */
function begin(cpu: Processor): void {
  const { record, mmu } = cpu;
  if ((record.i32(L.CR0) & (CR0_EM | CR0_TS)) !== 0) cpu.raise(VECTOR_NM);
  requireCanonical(cpu);
  if ((record.lo(L.ARG0) & 15) === 0) return;
  if ((record.lo(L.ARG0) & 3) !== 0 && cpu.cpl === 3 && mmu.aligned) cpu.raise(VECTOR_AC, 0);
  cpu.gp();
}

/** What comes before the rest of the segment's limit; ARG0 the linear address. */
export function fxsaveOrder(cpu: Processor): Outcome {
  begin(cpu);
  return NEXT;
}

/** FXSAVE: ARG0 the linear address, ARG1 1 with REX.W. */
export function fxsave(cpu: Processor): Outcome {
  begin(cpu);
  const { record, memory } = cpu;
  const lo = record.lo(L.ARG0);
  const hi = record.hi(L.ARG0);
  const length = I.XMM_AT + I.vectorBytes(cpu);
  I.storeX87(cpu, record.lo(L.ARG1) !== 0);
  I.storeMxcsr(cpu);
  I.storeVectors(cpu);
  const last = length - 16;
  memory.probeWrite(lo, hi, 16, cpu.cpl);
  memory.probeWrite((lo + last) | 0, I.highHalf(cpu, lo, hi, last), 16, cpu.cpl);
  I.writeImage(cpu, lo, hi, 0, length);
  return NEXT;
}

/** FXRSTOR: ARG0 the linear address, ARG1 1 with REX.W. */
export function fxrstor(cpu: Processor): Outcome {
  begin(cpu);
  const { record } = cpu;
  I.readImage(cpu, record.lo(L.ARG0), record.hi(L.ARG0), 0, I.XMM_AT + I.vectorBytes(cpu));
  if (!I.mxcsrIsGood()) cpu.gp();
  I.loadX87(cpu, record.lo(L.ARG1) !== 0);
  I.loadMxcsr(cpu);
  I.loadVectors(cpu);
  return NEXT;
}
