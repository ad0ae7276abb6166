/**
 * The cheap half of a segment check: what is certainly allowed. `system/segment-check.ts` decides
 * about the rest.
 */
import * as L from '../cpu/layout.js';
import { ATTR_CODE, ATTR_EXPAND_DOWN, ATTR_P, ATTR_S, ATTR_WRITABLE } from '../cpu/mode.js';
import type { Value } from '../wasm/code.js';
import type { ArithmeticEmitter } from './arithmetic-emitter.js';

/**
 * Whether an access of `bytes` (i64) at `offset` (i64) of the segment at `segment` in the record
 * has to be looked at: all but those within the limit of plain writable data.
 */
export function segmentSuspect(
  x: ArithmeticEmitter,
  cpu: Value,
  segment: Value,
  offset: Value,
  bytes: Value,
): Value {
  const place = x.add(cpu, segment);
  const attributes = x.code.load('i32.load16_u', place, L.SEG_ATTRIBUTES);
  const mask = ATTR_P | ATTR_S | ATTR_CODE | ATTR_EXPAND_DOWN | ATTR_WRITABLE;
  const plain = ATTR_P | ATTR_S | ATTR_WRITABLE;
  const unusual = x.ne(x.and(attributes, x.i32(mask)), x.i32(plain));
  const limit = x.code.load('i64.load32_u', place, L.SEG_LIMIT);
  const outside = x.gtU(x.add(offset, x.sub(bytes, x.i64(1))), limit);
  return x.or(unusual, outside);
}
