/**
 * Segment descriptors in emitted code: reading one of the GDT that is as nearly always, and what a
 * segment register keeps of it. `system/descriptors.ts` does the same for every case.
 *
 * Source: AMD APM vol. 2, 4.7 and 4.8.
 */
import * as L from '../../cpu/layout.js';
import type { Label, Value } from '../../wasm/code.js';
import type { ArithmeticEmitter } from '../arithmetic-emitter.js';
import type { MemoryEmitter } from '../memory-emitter.js';

/** Bits of the upper half. */
export const TYPE_SHIFT = 8;
export const ACCESSED = 1 << 8;
export const WRITABLE = 1 << 9;
export const CONFORMING = 1 << 10;
export const CODE = 1 << 11;
export const S = 1 << 12;
export const DPL = 3 << 13;
export const DPL_SHIFT = 13;
export const P = 1 << 15;
export const LONG = 1 << 21;
export const DB = 1 << 22;
const G = 23;
/** Attributes of SS without a descriptor at CPL 0; see `loadNullStack` of `system/segments.ts`. */
const NULL_STACK = 0xc13;

/** The two halves, i32. */
export interface Descriptor {
  readonly lo: Value;
  readonly hi: Value;
}

/** Reads the descriptor of `selector` (i32); goes to `elsewhere` if it is not simply in the GDT. */
export function readDescriptor(x: MemoryEmitter, selector: Value, elsewhere: Label): Descriptor {
  const offset = x.and(selector, x.i32(0xfff8));
  x.code.brIf(x.or(x.and(selector, x.i32(4)), x.eqz(offset)), elsewhere);
  x.code.brIf(x.gtU(x.add(offset, x.i32(7)), x.state32(L.GDTR + 8)), elsewhere);
  const address = x.add(x.state64(L.GDTR), x.widen(offset));
  const host = x.known(address, 8, L.TLB_TAG_READ, elsewhere);
  return { lo: x.code.load('i32.load', host), hi: x.code.load('i32.load', host, 4) };
}

/** Its limit in bytes, i32. */
export function limitOf(x: ArithmeticEmitter, { lo, hi }: Descriptor): Value {
  const limit = x.or(x.and(lo, x.i32(0xffff)), x.and(hi, x.i32(0xf0000)));
  const inPages = x.or(x.shl(limit, x.i32(12)), x.i32(0xfff));
  return x.select(x.and(x.shrU(hi, x.i32(G)), x.i32(1)), inPages, limit);
}

/** Loads the segment register at `segment` in the record. */
export function cacheSegment(
  x: ArithmeticEmitter,
  segment: number,
  selector: Value,
  d: Descriptor,
): void {
  const { lo, hi } = d;
  const bits = (value: Value, mask: number): Value => x.and(value, x.i32(mask | 0));
  const low = x.or(x.shrU(lo, x.i32(16)), x.shl(bits(hi, 0xff), x.i32(16)));
  x.setState64(segment, x.widen(x.or(low, bits(hi, 0xff000000))));
  x.setState32(segment + L.SEG_LIMIT, limitOf(x, d));
  const attributes = x.or(bits(x.shrU(hi, x.i32(8)), 0xff), bits(x.shrU(hi, x.i32(12)), 0xf00));
  x.setState32(segment + L.SEG_SELECTOR, x.or(selector, x.shl(attributes, x.i32(16))));
}

/** Loads SS as long mode has it at CPL 0 without a descriptor. */
export function cacheNullStack(x: ArithmeticEmitter): void {
  const segment = L.segmentOffset(L.SEG.ss);
  x.setState64(segment, x.i64(0));
  x.setState32(segment + L.SEG_LIMIT, x.i32(-1));
  x.setState32(segment + L.SEG_SELECTOR, x.i32(NULL_STACK << 16));
}
