/**
 * Events that an extension may intercept, as bits of INTERCEPTED in the vCPU record.
 */
import { INTERCEPTS, type InterceptName } from '@cloister/core';

const BITS = new Map(INTERCEPTS.map((name, index) => [name, 1 << index]));

export function interceptBit(name: InterceptName): number {
  return BITS.get(name) ?? 0;
}
