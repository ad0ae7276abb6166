/**
 * System functions of the floating-point instructions, by the names that descriptions use. They work
 * on the vCPU record alone.
 */
import type { Outcome } from '../system/outcome.js';
import { vectorSlow } from './vector-slow.js';

/** `view` begins at the vCPU record. */
export type FpuFunction = (view: DataView) => Outcome;

export const fpuFunctions: Readonly<Record<string, FpuFunction>> = {
  fpuVector: vectorSlow,
};
