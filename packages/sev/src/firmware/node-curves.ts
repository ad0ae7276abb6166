/**
 * The curves by @noble/curves in Node, which can load a module at the moment that it is needed.
 */
import { createRequire } from 'node:module';
import { VmmError } from '@cloister/core';
import type { Curves } from './curves.js';

const require = createRequire(import.meta.url);

export function nodeCurves(): Curves {
  try {
    const { p384 } = require('@noble/curves/nist.js') as Pick<Curves, 'p384'>;
    const { secp256k1 } = require('@noble/curves/secp256k1.js') as Pick<Curves, 'secp256k1'>;
    return { p384, secp256k1 };
  } catch (cause) {
    throw new VmmError('unsupported', '@noble/curves cannot be loaded', {
      cause,
      remedy: 'install it beside @cloister/sev; leave it out of a bundle',
    });
  }
}
