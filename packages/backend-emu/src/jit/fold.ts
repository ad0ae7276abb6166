/**
 * Constant folding for the translator: integer instructions of WebAssembly on constants.
 *
 * Source: WebAssembly core specification 2.0, section 4.3.2.
 */

/** Operations on unsigned 64-bit or 32-bit patterns; `bits` is the width. */
type Fold = (a: bigint, b: bigint, bits: number) => bigint | boolean;

const signed = (value: bigint, bits: number): bigint => BigInt.asIntN(bits, value);
const count = (value: bigint, bits: number): bigint => value & BigInt(bits - 1);

const FOLDS: Readonly<Record<string, Fold>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, bits) => a << count(b, bits),
  shr_u: (a, b, bits) => a >> count(b, bits),
  shr_s: (a, b, bits) => signed(a, bits) >> count(b, bits),
  eqz: (a) => a === 0n,
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt_u: (a, b) => a < b,
  le_u: (a, b) => a <= b,
  gt_u: (a, b) => a > b,
  ge_u: (a, b) => a >= b,
  lt_s: (a, b, bits) => signed(a, bits) < signed(b, bits),
  le_s: (a, b, bits) => signed(a, bits) <= signed(b, bits),
  gt_s: (a, b, bits) => signed(a, bits) > signed(b, bits),
  ge_s: (a, b, bits) => signed(a, bits) >= signed(b, bits),
  extend8_s: (a) => BigInt.asIntN(8, a),
  extend16_s: (a) => BigInt.asIntN(16, a),
  extend32_s: (a) => BigInt.asIntN(32, a),
  wrap_i64: (a) => a,
  extend_i32_u: (a) => BigInt.asUintN(32, a),
  extend_i32_s: (a) => BigInt.asIntN(32, a),
};

/** The bit pattern that instruction `name` makes of constants, or null if it is not known. */
export function fold(name: string, a: bigint | number, b: bigint | number): bigint | null {
  const [type, operation] = name.split('.');
  const apply = FOLDS[operation];
  if (apply === undefined || (type !== 'i32' && type !== 'i64')) return null;
  const bits = type === 'i32' && operation !== 'wrap_i64' ? 32 : 64;
  const pattern = (value: bigint | number): bigint => BigInt.asUintN(bits, BigInt(value));
  return BigInt(apply(pattern(a), pattern(b), bits));
}
