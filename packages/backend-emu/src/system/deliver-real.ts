/**
 * Delivery through the interrupt vector table of real mode.
 *
 * Source: AMD APM vol. 2, 8.6 and 8.10. Error codes are not pushed.
 */
import { FLAG_AC, FLAG_IF, FLAG_TF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { IMPLICIT } from '../mmu/mmu.js';
import { loadRealSegment } from './segments.js';

export function deliverReal(cpu: Processor, vector: number, ripLo: number): void {
  const { record, stack } = cpu;
  const offset = vector * 4;
  if (offset + 3 > record.u32(L.IDTR + 8)) cpu.gp(vector * 8 + 2 + cpu.ext);
  const pointer = cpu.memory.read32((record.lo(L.IDTR) + offset) | 0, 0, IMPLICIT);
  stack.begin(false, 0);
  stack.push(2, record.eflags(), 0);
  stack.push(2, record.segmentSelector(L.SEG.cs), 0);
  stack.push(2, ripLo, 0);
  stack.commit();
  cpu.debug.clearResumeFlag();
  cpu.setEflags(0, FLAG_IF | FLAG_TF | FLAG_AC);
  loadRealSegment(cpu, L.SEG.cs, pointer >>> 16);
  record.setPair(L.RIP, pointer & 0xffff, 0);
  cpu.modeChanged();
}
