/**
 * Instructions on IF and the image of RFLAGS, and software interrupts.
 *
 * Source: AMD APM vol. 3, CLI, STI, PUSHF, POPF, INT, INTO, INT3, ICEBP; vol. 2, 8.8 (virtual-8086
 * mode). Virtual interrupts (CR4.VME, CR4.PVI) are absent, as CPUID says.
 */
import * as F from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_BP, VECTOR_DB, VECTOR_OF } from '../cpu/registers.js';
import { DR7, DR7_GD } from './debug-registers.js';
import { deliverExternal, deliverSoftware } from './exceptions.js';
import { LEAVE, NEXT, type Outcome } from './outcome.js';

function iopl(cpu: Processor): number {
  return (cpu.record.i32(L.EFLAGS) & F.FLAG_IOPL) >>> F.FLAG_IOPL_SHIFT;
}

/** #GP(0) in protected and virtual-8086 mode above IOPL. Real mode has CPL 0. */
function requireIopl(cpu: Processor): void {
  if (cpu.cpl > iopl(cpu)) cpu.gp();
}

/** CLI. */
export function cli(cpu: Processor): Outcome {
  requireIopl(cpu);
  cpu.setEflags(0, F.FLAG_IF);
  return NEXT;
}

/** STI: interrupts are taken after the next instruction, if IF was clear. */
export function sti(cpu: Processor): Outcome {
  requireIopl(cpu);
  const was = cpu.record.i32(L.EFLAGS) & F.FLAG_IF;
  cpu.setEflags(F.FLAG_IF, F.FLAG_IF);
  if (was === 0) cpu.shadow.cast();
  if (cpu.record.i32(L.INTERRUPT_PENDING) === 0) return NEXT;
  cpu.completed();
  return LEAVE;
}

/** PUSHF → ARG0: the image to push, RF and VM clear. */
export function pushf(cpu: Processor): Outcome {
  if (cpu.isV86 && iopl(cpu) !== 3) cpu.gp();
  cpu.record.setPair(L.ARG0, cpu.record.eflags() & ~(F.FLAG_RF | F.FLAG_VM), 0);
  return NEXT;
}

/** POPF: ARG0 the image, ARG1 the operand size in bytes. */
export function popf(cpu: Processor): Outcome {
  const { record } = cpu;
  if (cpu.isV86 && iopl(cpu) !== 3) cpu.gp();
  let mask = F.FLAGS_STATUS | F.FLAG_TF | F.FLAG_DF | F.FLAG_NT | F.FLAG_AC | F.FLAG_ID;
  if (cpu.cpl <= iopl(cpu)) mask |= F.FLAG_IF;
  if (cpu.cpl === 0) mask |= F.FLAG_IOPL;
  if (record.lo(L.ARG1) === 2) mask &= 0xffff;
  cpu.setEflags(record.lo(L.ARG0), mask);
  cpu.completed();
  return cpu.resume();
}

/** INT n: ARG0 the vector. */
export function int(cpu: Processor): Outcome {
  if (cpu.isV86 && iopl(cpu) !== 3) cpu.gp();
  return deliverSoftware(cpu, cpu.record.lo(L.ARG0) & 0xff);
}

/** INT3. */
export function int3(cpu: Processor): Outcome {
  return deliverSoftware(cpu, VECTOR_BP);
}

/** INTO: the overflow trap if OF is set. */
export function into(cpu: Processor): Outcome {
  if ((cpu.record.eflags() & F.FLAG_OF) === 0) return NEXT;
  return deliverSoftware(cpu, VECTOR_OF);
}

/** ICEBP: a debug trap without a cause in DR6 and without a check of the gate's DPL. */
export function icebp(cpu: Processor): Outcome {
  cpu.completed();
  cpu.debug.untraced = true;
  cpu.record.setI32(DR7, cpu.record.i32(DR7) & ~DR7_GD);
  return deliverExternal(cpu, VECTOR_DB);
}
