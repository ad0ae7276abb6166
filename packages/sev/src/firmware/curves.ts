/**
 * Elliptic curves as the secure processor uses them. They are loaded when a key is first asked for:
 * most guests are launched without one.
 */
import { VmmError } from '@cloister/core';
import type { p384 } from '@noble/curves/nist.js';
import type { secp256k1 } from '@noble/curves/secp256k1.js';

export interface Curves {
  readonly p384: typeof p384;
  readonly secp256k1: typeof secp256k1;
}

let load: (() => Curves) | null = null;
let loaded: Curves | null = null;

export function curves(): Curves {
  if (load === null) {
    throw new VmmError('internal', 'no entry point of @cloister/sev has been loaded');
  }
  loaded ??= load();
  return loaded;
}

/** Says how to load them, unless it has been said. */
export function offerCurves(loader: () => Curves): void {
  load ??= loader;
}
