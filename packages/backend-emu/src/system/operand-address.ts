/**
 * The address of an instruction's memory operand, where a system function checks it by itself:
 * #SS for a non-canonical one on the stack, else #GP. AMD APM vol. 2, 8.2.12.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_GP, VECTOR_SS } from '../cpu/registers.js';
import * as R from '../isa/op-record.js';

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

/** Faults unless the operand's address, in ARG0, is canonical. */
export function requireCanonical(cpu: Processor): void {
  if (!cpu.is64 || cpu.mmu.walker.isCanonical(cpu.record.hi(L.ARG0))) return;
  cpu.raise(isOnStack(cpu) ? VECTOR_SS : VECTOR_GP, 0);
}
