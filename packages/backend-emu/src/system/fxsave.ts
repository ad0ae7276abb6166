/**
 * FXSAVE and FXRSTOR: the 512-byte image of x87, MMX and SSE state.
 *
 * Source: AMD APM vol. 2, 11.4.4; vol. 3, FXSAVE, FXRSTOR.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR0_EM, CR0_TS, VECTOR_AC, VECTOR_GP, VECTOR_NM, VECTOR_SS } from '../cpu/registers.js';
import * as R from '../isa/op-record.js';
import * as I from './fpu-image.js';
import { NEXT, type Outcome } from './outcome.js';

const RSP = L.gprOffset(4);
const RBP = L.gprOffset(5);

/** Whether the operand is on the stack: RSP or RBP is its base. */
function isOnStack(cpu: Processor): boolean {
  const { view } = cpu.physical;
  const op = cpu.record.i32(L.CUR_OP);
  const base = view.getUint16(op + R.OP_BASE, true);
  const overridden = (view.getUint8(op + R.OP_EA) & R.EA_SEGMENT) !== 0;
  return (base === RSP || base === RBP) && !overridden;
}

/**
 * What comes first: #NM, then the canonical address, then the alignment: #AC where that is asked for
 * and the address is no multiple of 4, else #GP. Found on processors; APM vol. 3, FXSAVE, lists both.
 */
function begin(cpu: Processor): void {
  const { record, mmu } = cpu;
  if ((record.i32(L.CR0) & (CR0_EM | CR0_TS)) !== 0) cpu.raise(VECTOR_NM);
  if (cpu.is64 && !mmu.walker.isCanonical(record.hi(L.ARG0))) {
    cpu.raise(isOnStack(cpu) ? VECTOR_SS : VECTOR_GP, 0);
  }
  if ((record.lo(L.ARG0) & 15) === 0) return;
  if ((record.lo(L.ARG0) & 3) !== 0 && cpu.cpl === 3 && mmu.aligned) cpu.raise(VECTOR_AC, 0);
  cpu.gp();
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
