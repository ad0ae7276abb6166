/**
 * Segments of 16-bit code with limits where the code and its data lie, so that every form meets
 * them: also such that grow down, are read-only, or have 32-bit offsets.
 */
import { KIND, type OracleSegment } from './oracle.js';
import type { RandomSource } from './random.js';
import { type Bits, CODE_AT, DATA_AT, DATA_SIZE } from './user-state.js';

export const WHOLE: OracleSegment = { limit: 0xffff, kind: 0 };
/** The instruction itself, and the INT3 behind it, always lie within. */
const LEAST_CODE = CODE_AT + 32;

/** Code, stack and data. Other code may only be led to them. */
export function randomSegments(random: RandomSource, bits: Bits): readonly OracleSegment[] {
  if (bits !== 16) return [WHOLE, WHOLE, WHOLE];
  return [randomCode(random), randomData(random, 0), randomData(random, KIND.readOnly)];
}

function randomCode(random: RandomSource): OracleSegment {
  return random.once(4) ? { limit: LEAST_CODE + random.below(512), kind: 0 } : WHOLE;
}

/** `kind`: what else the segment may be. */
function randomData(random: RandomSource, kind: number): OracleSegment {
  if (!random.once(3)) return WHOLE;
  const limit = DATA_AT - 32 + random.below(DATA_SIZE + 64);
  const kinds = KIND.expandDown | KIND.big | kind;
  return { limit, kind: random.u32() & kinds };
}
