/**
 * The plain loader: puts a launch plan into the memory of an unprotected VM.
 *
 * Types that only secure firmware can fill (VMSA, secrets, CPUID pages) are refused.
 */
import { VmmError } from '../interfaces/error.js';
import type { LaunchPlan } from '../interfaces/launch-plan.js';
import type { GuestMemory } from '../interfaces/memory.js';
import { hex, sizeText } from './placement.js';

/** Writes every region in order; nothing is written when one of them lies outside of memory. */
export function loadPlan(plan: LaunchPlan, memory: GuestMemory): void {
  for (const { name, gpa, bytes, type } of plan.regions) {
    if (type !== 'normal' && type !== 'zero' && type !== 'unmeasured') {
      throw new VmmError(
        'unsupported',
        `${name} is a ${type} page, which no plain loader can fill`,
        {
          remedy: 'use a memory-encryption plugin that launches such pages',
        },
      );
    }
    if (!memory.covers(gpa, bytes.length)) {
      throw new VmmError(
        'invalid-config',
        `${name} (${sizeText(bytes.length)} at ${hex(gpa)}) is not backed by guest memory`,
        { remedy: 'give the VM more memory' },
      );
    }
  }
  for (const { gpa, bytes, type } of plan.regions) {
    if (bytes.length === 0) continue;
    if (type === 'zero') memory.fill(gpa, bytes.length, 0);
    else memory.write(gpa, bytes);
  }
}
