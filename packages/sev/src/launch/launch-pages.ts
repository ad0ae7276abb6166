/**
 * A plan's pages as SEV and SEV-ES launch them: whole pages, in the order in which they are
 * measured.
 */
import { type LaunchPlan, VmmError } from '@cloister/core';
import { PAGE_SIZE } from '../measure/launch-chain.js';
import { planPages } from '../measure/plan.js';

export interface LaunchPage {
  readonly name: string;
  readonly gpa: number;
  /** 4096 bytes. */
  readonly bytes: Uint8Array;
}

/** `VmmError('unsupported')` for a page of a type that only SNP has. */
export function* launchPages(plan: LaunchPlan): Generator<LaunchPage> {
  for (const { name, gpa, bytes, type } of planPages(plan.regions)) {
    if (type !== 'normal' && type !== 'zero') {
      throw new VmmError('unsupported', `${name} is a ${type} page, which SEV doesn’t have`);
    }
    yield { name, gpa, bytes: bytes ?? new Uint8Array(PAGE_SIZE) };
  }
}
