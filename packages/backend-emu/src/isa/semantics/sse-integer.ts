/**
 * Integer arithmetic, logic, comparison and shifts on vectors, MMX and XMM alike. AMD APM vol. 4,
 * chapter 2; vol. 5, chapter 2 for MMX.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import {
  byteIndices,
  checkVector,
  enterMmx,
  isMmx,
  lowHalves,
  part,
  setVector,
  splat,
  vector,
  vectorHost,
  vop,
} from '../vector-emitter.js';

type Lanewise = (x: Emitter, a: Value, b: Value) => Value;

/** Destination a, source b; the halves of an MMX operand above its 64 bits are ignored. */
export function binary(name: string, operation: Lanewise, hot = false): void {
  define(name, { hot }, (x) => {
    checkVector(x);
    const b = vector(x, 1);
    setVector(x, 0, operation(x, vector(x, 0), b));
    if (isMmx(x)) enterMmx(x);
  });
}

/** Source only. */
export function unary(name: string, operation: (x: Emitter, a: Value) => Value): void {
  define(name, { access: 'w' }, (x) => {
    checkVector(x);
    setVector(x, 0, operation(x, vector(x, 1)));
    if (isMmx(x)) enterMmx(x);
  });
}

/** Mnemonics that are one SIMD instruction with the operands in order. */
const DIRECT = `
  PADDB i8x16.add PADDW i16x8.add PADDD i32x4.add PADDQ i64x2.add
  PSUBB i8x16.sub PSUBW i16x8.sub PSUBD i32x4.sub PSUBQ i64x2.sub
  PADDSB i8x16.add_sat_s PADDSW i16x8.add_sat_s PADDUSB i8x16.add_sat_u PADDUSW i16x8.add_sat_u
  PSUBSB i8x16.sub_sat_s PSUBSW i16x8.sub_sat_s PSUBUSB i8x16.sub_sat_u PSUBUSW i16x8.sub_sat_u
  PMINUB i8x16.min_u PMAXUB i8x16.max_u PMINSW i16x8.min_s PMAXSW i16x8.max_s
  PMINSB i8x16.min_s PMAXSB i8x16.max_s PMINUW i16x8.min_u PMAXUW i16x8.max_u
  PMINSD i32x4.min_s PMAXSD i32x4.max_s PMINUD i32x4.min_u PMAXUD i32x4.max_u
  PAVGB i8x16.avgr_u PAVGW i16x8.avgr_u
  PCMPEQB i8x16.eq PCMPEQW i16x8.eq PCMPEQD i32x4.eq PCMPEQQ i64x2.eq
  PCMPGTB i8x16.gt_s PCMPGTW i16x8.gt_s PCMPGTD i32x4.gt_s PCMPGTQ i64x2.gt_s
  PMULLW i16x8.mul PMULLD i32x4.mul PMADDWD i32x4.dot_i16x8_s
  PAND v128.and POR v128.or PXOR v128.xor ANDPS v128.and ORPS v128.or XORPS v128.xor`;

const HOT = new Set(['PXOR', 'PAND', 'POR', 'PCMPEQB', 'PMINUB', 'XORPS', 'ANDPS', 'PADDD']);
const words = DIRECT.trim().split(/\s+/);
for (let i = 0; i < words.length; i += 2) {
  binary(words[i], (x, a, b) => vop(x, words[i + 1], a, b), HOT.has(words[i]));
}

/** Not destination and source. */
for (const name of ['PANDN', 'ANDNPS']) binary(name, (x, a, b) => vop(x, 'v128.andnot', b, a));

/** Bytes of the high (or any) part of lanes in two vectors, gathered. */
function highWords(x: Emitter, low: Value, high: Value): Value {
  const lanes = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31];
  return x.code.shuffle(low, high, lanes);
}

for (const [name, sign] of [
  ['PMULHW', 's'],
  ['PMULHUW', 'u'],
] as const) {
  binary(name, (x, a, b) =>
    highWords(
      x,
      vop(x, `i32x4.extmul_low_i16x8_${sign}`, a, b),
      vop(x, `i32x4.extmul_high_i16x8_${sign}`, a, b),
    ),
  );
}

/** Products of the even doublewords. */
for (const [name, sign] of [
  ['PMULUDQ', 'u'],
  ['PMULDQ', 's'],
] as const) {
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
  binary(name, (x, a, b) =>
    vop(
      x,
      `i64x2.extmul_low_i32x4_${sign}`,
      x.code.shuffle(a, a, even),
      x.code.shuffle(b, b, even),
    ),
  );
}

/** Sum of absolute differences of bytes, per 64 bits. */
binary('PSADBW', (x, a, b) => {
  const difference = vop(
    x,
    'v128.or',
    vop(x, 'i8x16.sub_sat_u', a, b),
    vop(x, 'i8x16.sub_sat_u', b, a),
  );
  const words = vop(x, 'i16x8.extadd_pairwise_i8x16_u', difference);
  const pairs = vop(x, 'i32x4.extadd_pairwise_i16x8_u', words);
  const sum = vop(x, 'i64x2.add', pairs, vop(x, 'i64x2.shr_u', pairs, x.i32(32)));
  return vop(x, 'v128.and', sum, splat(x, 64, 0xffffn));
});

/** Narrowing with saturation: destination first. */
for (const [name, operation] of [
  ['PACKSSWB', 'i8x16.narrow_i16x8_s'],
  ['PACKUSWB', 'i8x16.narrow_i16x8_u'],
  ['PACKSSDW', 'i16x8.narrow_i32x4_s'],
  ['PACKUSDW', 'i16x8.narrow_i32x4_u'],
] as const) {
  binary(name, (x, a, b) => {
    if (!isMmx(x)) return vop(x, operation, a, b);
    const both = lowHalves(x, a, b);
    return vop(x, operation, both, both);
  });
}

/** Interleaving of elements of `bytes` bytes from the half that begins at byte `from`. */
function interleave(x: Emitter, a: Value, b: Value, bytes: number, from: number): Value {
  const lanes: number[] = [];
  for (let at = from; at < from + 8; at += bytes) {
    for (const base of [0, 16]) {
      for (let byte = 0; byte < bytes; byte++) lanes.push(base + at + byte);
    }
  }
  return x.code.shuffle(a, b, lanes);
}

const UNPACK = [
  ['BW', 1],
  ['WD', 2],
  ['DQ', 4],
  ['QDQ', 8],
] as const;
for (const [suffix, bytes] of UNPACK) {
  binary(`PUNPCKL${suffix}`, (x, a, b) => interleave(x, a, b, bytes, 0));
  binary(`PUNPCKH${suffix}`, (x, a, b) => {
    if (!isMmx(x)) return interleave(x, a, b, bytes, 8);
    const all = interleave(x, a, b, bytes, 0);
    return vop(x, 'i64x2.splat', x.code.lane('i64x2.extract_lane', 1, all));
  });
}
for (const [name, bytes, from] of [
  ['UNPCKLPS', 4, 0],
  ['UNPCKHPS', 4, 8],
  ['UNPCKLPD', 8, 0],
  ['UNPCKHPD', 8, 8],
] as const) {
  binary(name, (x, a, b) => interleave(x, a, b, bytes, from));
}

/** The count of a shift: an immediate, or the low 64 bits of the source; cut to `limit`. */
function shiftCount(x: Emitter, limit: number): Value {
  const count = x.kindOf(1) === 'i' ? x.immediate(1, false) : part(x, 1, 'i64.load');
  return x.wrap(x.select(x.gtU(count, x.i64(limit)), x.i64(limit), count));
}

/** Logical shifts by more than the width give 0. */
for (const [suffix, bits] of [
  ['W', 16],
  ['D', 32],
  ['Q', 64],
] as const) {
  const shape = `i${bits}x${128 / bits}`;
  for (const [name, operation] of [
    [`PSLL${suffix}`, 'shl'],
    [`PSRL${suffix}`, 'shr_u'],
  ]) {
    define(name, {}, (x) => {
      checkVector(x);
      const count = shiftCount(x, bits);
      const shifted = vop(x, `${shape}.${operation}`, vector(x, 0), count);
      const over = x.eq(count, x.i32(bits));
      setVector(x, 0, x.select(over, x.code.v128(0n, 0n), shifted));
      if (isMmx(x)) enterMmx(x);
    });
  }
  if (bits === 64) continue;
  define(`PSRA${suffix}`, {}, (x) => {
    checkVector(x);
    const count = shiftCount(x, bits - 1);
    setVector(x, 0, vop(x, `${shape}.shr_s`, vector(x, 0), count));
    if (isMmx(x)) enterMmx(x);
  });
}

/** Shifts of the whole register by bytes. */
for (const [name, left] of [
  ['PSLLDQ', true],
  ['PSRLDQ', false],
] as const) {
  define(name, {}, (x) => {
    checkVector(x);
    const count = shiftCount(x, 16);
    const indices = byteIndices(x, left ? x.negate(count) : count);
    setVector(x, 0, vop(x, 'i8x16.swizzle', vector(x, 0), indices));
  });
}

/** A word of a vector to a general register, and back. */
define('PEXTRW', { access: 'w' }, (x) => {
  checkVector(x);
  const lanes = isMmx(x) ? 3 : 7;
  const offset = x.shl(x.and(x.wrap(x.immediate(2)), x.i32(lanes)), x.i32(1));
  x.setOperand(0, x.code.load('i64.load16_u', x.add(x.registerAddress(1), offset)));
  if (isMmx(x)) enterMmx(x);
});
define('PINSRW', {}, (x) => {
  checkVector(x);
  const lanes = isMmx(x) ? 3 : 7;
  const value = x.operandU(1);
  const offset = x.shl(x.and(x.wrap(x.immediate(2)), x.i32(lanes)), x.i32(1));
  x.code.store('i64.store16', x.add(x.registerAddress(0), offset), value);
  if (isMmx(x)) {
    x.code.store('i32.store16', x.registerAddress(0), x.i32(0xffff), 8);
    enterMmx(x);
  }
});

/** Four elements of `bytes` bytes chosen by the immediate, two bits each, from `host`. */
export function chosen(x: Emitter, host: Value, bytes: number, from = 0): Value[] {
  const immediate = x.wrap(x.immediate(2));
  const scale = x.i32(Math.log2(bytes));
  const name = bytes === 2 ? 'i32.load16_u' : 'i32.load';
  return [0, 2, 4, 6].map((bit) => {
    const lane = x.and(x.shrU(immediate, x.i32(bit)), x.i32(3));
    return x.code.load(name, x.add(host, x.shl(lane, scale)), from);
  });
}

define('PSHUFD', { access: 'w', hot: true }, (x) => {
  checkVector(x);
  const lanes = chosen(x, vectorHost(x, 1), 4);
  lanes.forEach((lane, index) => {
    x.code.store('i32.store', x.registerAddress(0), lane, index * 4);
  });
});

/** Words of one half are shuffled, the other half is copied. */
for (const [name, from] of [
  ['PSHUFLW', 0],
  ['PSHUFHW', 8],
] as const) {
  define(name, { access: 'w' }, (x) => {
    checkVector(x);
    const host = vectorHost(x, 1);
    const lanes = chosen(x, host, 2, from);
    const other = x.code.load('i64.load', host, 8 - from);
    x.code.store('i64.store', x.registerAddress(0), other, 8 - from);
    lanes.forEach((lane, index) => {
      x.code.store('i32.store16', x.registerAddress(0), lane, from + index * 2);
    });
  });
}
define('PSHUFW', { access: 'w' }, (x) => {
  checkVector(x);
  chosen(x, vectorHost(x, 1), 2).forEach((lane, index) => {
    x.code.store('i32.store16', x.registerAddress(0), lane, index * 2);
  });
  x.code.store('i32.store16', x.registerAddress(0), x.i32(0xffff), 8);
  enterMmx(x);
});

define('SHUFPS', {}, (x) => {
  checkVector(x);
  const source = vectorHost(x, 1);
  const [c, d] = chosen(x, source, 4).slice(2);
  const [a, b] = chosen(x, x.registerAddress(0), 4);
  [a, b, c, d].forEach((lane, index) => {
    x.code.store('i32.store', x.registerAddress(0), lane, index * 4);
  });
});
define('SHUFPD', {}, (x) => {
  checkVector(x);
  const immediate = x.wrap(x.immediate(2));
  const half = (host: Value, bit: number): Value => {
    const lane = x.and(x.shrU(immediate, x.i32(bit)), x.i32(1));
    return x.code.load('i64.load', x.add(host, x.shl(lane, x.i32(3))));
  };
  const high = half(vectorHost(x, 1), 1);
  const low = half(x.registerAddress(0), 0);
  x.code.store('i64.store', x.registerAddress(0), low);
  x.code.store('i64.store', x.registerAddress(0), high, 8);
});
