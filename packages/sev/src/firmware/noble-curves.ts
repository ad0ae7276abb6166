/**
 * The curves by @noble/curves, loaded with this module.
 */
import { p384 } from '@noble/curves/nist.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { Curves } from './curves.js';

export const nobleCurves = (): Curves => ({ p384, secp256k1 });
