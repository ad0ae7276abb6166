/**
 * JMP, CALL and IRET that switch tasks in hardware.
 *
 * Source: AMD APM vol. 3, JMP (far), CALL (far), IRET; vol. 2, 12.3.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_NP } from '../cpu/registers.js';
import * as D from './descriptors.js';
import { deliverFault } from './exceptions.js';
import { GUEST_FAULT, type Outcome } from './outcome.js';
import { BY_RETURN, enterTask, leaveTask, linkedTask, readTask } from './task-switch.js';

/** Whether the descriptor just read is a TSS or a task gate, where these mean something. */
export function namesTask(cpu: Processor): boolean {
  const type = D.typeOf(cpu.descriptor.hi);
  // Bit 3 tells 32- from 16-bit TSSs, bit 1 busy from available ones.
  return !cpu.isLong && (type === D.TYPE_TASK_GATE || (type & ~0xa) === D.TYPE_TSS16);
}

/** JMP or CALL to the TSS or task gate whose descriptor has been read. */
export function farToTask(cpu: Processor, selector: number, by: number): Outcome {
  const { lo, hi } = cpu.descriptor;
  const error = D.selectorError(cpu, selector);
  const dpl = D.dplOf(hi);
  if (dpl < cpu.cpl || dpl < (selector & 3)) cpu.gp(error);
  if (D.typeOf(hi) !== D.TYPE_TASK_GATE) return switchTask(cpu, selector, by);
  if ((hi & D.DESC_P) === 0) cpu.raise(VECTOR_NP, error);
  return switchTask(cpu, lo >>> 16, by);
}

/** IRET with NT set. */
export function returnToTask(cpu: Processor): Outcome {
  return switchTask(cpu, linkedTask(cpu), BY_RETURN);
}

function switchTask(cpu: Processor, selector: number, by: number): Outcome {
  const task = readTask(cpu, selector, by);
  leaveTask(cpu, task, by, cpu.record.lo(L.NEXT_RIP), cpu.record.eflags());
  try {
    enterTask(cpu, task);
  } catch (fault) {
    if (fault !== GUEST_FAULT) throw fault;
    // The new task's, at its first instruction: the one that switched has ended.
    return deliverFault(cpu);
  }
  return cpu.resume();
}
