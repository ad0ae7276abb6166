/**
 * System functions of the floating-point instructions, by the names that descriptions use. They
 * work on the vCPU record alone.
 */
import type { Outcome } from '../system/outcome.js';
import { aesFunctions } from './aes.js';
import { crc32 } from './crc32.js';
import { shaFunctions } from './sha.js';
import { stringIndex, stringMask } from './string-compare.js';
import { vectorSlow } from './vector-slow.js';
import { x87Arithmetic } from './x87-arithmetic.js';
import { x87Comparison } from './x87-compare.js';
import { x87Environment } from './x87-environment.js';
import { x87Transcendental } from './x87-transcendental.js';
import { x87Transfer } from './x87-transfer.js';

/** `view` begins at the vCPU record. */
export type FpuFunction = (view: DataView) => Outcome;

export const fpuFunctions: Readonly<Record<string, FpuFunction>> = {
  fpuVector: vectorSlow,
  fpuStringIndex: stringIndex,
  fpuStringMask: stringMask,
  crc32,
  ...aesFunctions,
  ...shaFunctions,
  ...x87Arithmetic,
  ...x87Comparison,
  ...x87Environment,
  ...x87Transcendental,
  ...x87Transfer,
};
