/**
 * Kinds of events that are delivered through the IDT, and what follows from the kind.
 *
 * Source: AMD APM vol. 2, 8.2 (classes), 3.1.6 (RFLAGS.RF), 8.4.1 (EXT).
 */
import { FLAG_RF } from '../cpu/flags.js';
import type { Processor } from '../cpu/processor.js';

/** A fault: the instruction will be restarted. */
export const EVENT_FAULT = 0;
/** A trap, or an interrupt from outside: nothing will be restarted. */
export const EVENT_EXTERNAL = 1;
/** INT n, INT3, INTO: the gate's DPL is checked and EXT is 0. */
export const EVENT_SOFTWARE = 2;

/** RFLAGS as the event saves them. */
export function savedFlags(cpu: Processor, event: number): number {
  const flags = cpu.record.eflags();
  if (event === EVENT_FAULT) return flags | FLAG_RF;
  return event === EVENT_EXTERNAL ? flags | cpu.debug.resumeFlag : flags;
}
