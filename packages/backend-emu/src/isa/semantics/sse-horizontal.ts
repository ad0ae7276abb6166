/**
 * SSSE3, MMX and XMM alike: horizontal sums, signs, products, byte shuffles. AMD APM vol. 4,
 * chapter 2.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import {
  byteIndices,
  checkVector,
  enterMmx,
  isMmx,
  lowHalves,
  setVector,
  splat,
  vector,
  vop,
} from '../vector-emitter.js';
import { binary, unary } from './sse-integer.js';

/** Lanes 0, 2, 4 … (or 1, 3, 5 …) of two vectors; of two MMX operands in the low half. */
function alternate(x: Emitter, a: Value, b: Value, bytes: number, odd: number): Value {
  const mmx = isMmx(x);
  const first = mmx ? lowHalves(x, a, b) : a;
  const lanes: number[] = [];
  for (let at = odd * bytes; at < 32; at += 2 * bytes) {
    for (let byte = 0; byte < bytes; byte++) lanes.push(at + byte);
  }
  return x.code.shuffle(first, mmx ? first : b, lanes);
}

for (const [name, bytes, operation] of [
  ['PHADDW', 2, 'i16x8.add'],
  ['PHADDD', 4, 'i32x4.add'],
  ['PHADDSW', 2, 'i16x8.add_sat_s'],
  ['PHSUBW', 2, 'i16x8.sub'],
  ['PHSUBD', 4, 'i32x4.sub'],
  ['PHSUBSW', 2, 'i16x8.sub_sat_s'],
] as const) {
  binary(name, (x, a, b) =>
    vop(x, operation, alternate(x, a, b, bytes, 0), alternate(x, a, b, bytes, 1)),
  );
}

for (const [suffix, shape] of [
  ['B', 'i8x16'],
  ['W', 'i16x8'],
  ['D', 'i32x4'],
] as const) {
  unary(`PABS${suffix}`, (x, a) => vop(x, `${shape}.abs`, a));
  /** The destination times the sign of the source. */
  binary(`PSIGN${suffix}`, (x, a, b) => {
    const none = x.code.v128(0n, 0n);
    const negative = vop(x, `${shape}.gt_s`, none, b);
    const signed = vop(x, 'v128.bitselect', vop(x, `${shape}.neg`, a), a, negative);
    return vop(x, 'v128.andnot', signed, vop(x, `${shape}.eq`, b, none));
  });
}

/** Rounded high half of the doubled product; only (-1) * (-1) differs from the saturating one. */
binary('PMULHRSW', (x, a, b) => {
  const least = splat(x, 16, 0x8000n);
  const both = vop(x, 'v128.and', vop(x, 'i16x8.eq', a, least), vop(x, 'i16x8.eq', b, least));
  return vop(x, 'v128.xor', vop(x, 'i16x8.q15mulr_sat_s', a, b), both);
});

/** Unsigned bytes of the destination times signed ones of the source, summed in pairs. */
binary('PMADDUBSW', (x, a, b) => {
  const eight = x.i32(8);
  const even = vop(
    x,
    'i16x8.mul',
    vop(x, 'v128.and', a, splat(x, 16, 0xffn)),
    vop(x, 'i16x8.shr_s', vop(x, 'i16x8.shl', b, eight), eight),
  );
  const odd = vop(x, 'i16x8.mul', vop(x, 'i16x8.shr_u', a, eight), vop(x, 'i16x8.shr_s', b, eight));
  return vop(x, 'i16x8.add_sat_s', even, odd);
});

/** Bytes of the destination by the indices in the source; negative ones give 0. */
binary('PSHUFB', (x, a, b) => {
  const indices = vop(x, 'v128.and', b, splat(x, 8, isMmx(x) ? 0x87n : 0x8fn));
  return vop(x, 'i8x16.swizzle', a, indices);
});

/** Destination above source, shifted right by bytes. */
define('PALIGNR', {}, (x) => {
  checkVector(x);
  const b = vector(x, 1);
  const a = vector(x, 0);
  const wide = x.wrap(x.immediate(2, false));
  const count = x.select(x.gtU(wide, x.i32(32)), x.i32(32), wide);
  if (isMmx(x)) {
    const both = lowHalves(x, b, a);
    setVector(x, 0, vop(x, 'i8x16.swizzle', both, byteIndices(x, count)));
    enterMmx(x);
    return;
  }
  const low = vop(x, 'i8x16.swizzle', b, byteIndices(x, count));
  const high = vop(x, 'i8x16.swizzle', a, byteIndices(x, x.sub(count, x.i32(16))));
  setVector(x, 0, vop(x, 'v128.or', low, high));
});
