/**
 * Segment descriptors in emitted code: reading one of the GDT that is as nearly always, and what a
 * segment register keeps of it. `system/descriptors.ts` does the same for every case.
 *
 * Source: AMD APM vol. 2, 4.7 and 4.8.
 */
import * as L from '../../cpu/layout.js';
import type { Emitter, Label, Value } from '../emitter.js';

/** Bits of the upper half. */
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

/** The two halves, i32. */
export interface Descriptor {
  readonly lo: Value;
  readonly hi: Value;
}

/** Reads the descriptor of `selector` (i32); goes to `elsewhere` if it is not simply in the GDT. */
export function readDescriptor(x: Emitter, selector: Value, elsewhere: Label): Descriptor {
  const offset = x.and(selector, x.i32(0xfff8));
  x.code.brIf(x.or(x.and(selector, x.i32(4)), x.eqz(offset)), elsewhere);
  x.code.brIf(x.gtU(x.add(offset, x.i32(7)), x.state32(L.GDTR + 8)), elsewhere);
  const address = x.add(x.state64(L.GDTR), x.widen(offset));
  const host = x.known(address, 8, L.TLB_TAG_READ, elsewhere);
  return { lo: x.code.load('i32.load', host), hi: x.code.load('i32.load', host, 4) };
}

/** Loads the segment register at `segment` in the record. */
export function cacheSegment(x: Emitter, segment: number, selector: Value, d: Descriptor): void {
  const { lo, hi } = d;
  const bits = (value: Value, mask: number): Value => x.and(value, x.i32(mask | 0));
  const low = x.or(x.shrU(lo, x.i32(16)), x.shl(bits(hi, 0xff), x.i32(16)));
  x.setState64(segment, x.widen(x.or(low, bits(hi, 0xff000000))));
  const limit = x.or(bits(lo, 0xffff), bits(hi, 0xf0000));
  const inPages = x.or(x.shl(limit, x.i32(12)), x.i32(0xfff));
  const granular = bits(x.shrU(hi, x.i32(G)), 1);
  x.setState32(segment + L.SEG_LIMIT, x.select(granular, inPages, limit));
  const attributes = x.or(bits(x.shrU(hi, x.i32(8)), 0xff), bits(x.shrU(hi, x.i32(12)), 0xf00));
  x.setState32(segment + L.SEG_SELECTOR, x.or(selector, x.shl(attributes, x.i32(16))));
}
