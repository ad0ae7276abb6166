/**
 * Constant folding for the translator: integer instructions of WebAssembly on constants.
 *
 * Constants of 32 bits, signed, are numbers, and most operations on them give another; the others
 * go by bigints.
 *
 * Source: WebAssembly core specification 2.0, section 4.3.2.
 */

/** Operations on unsigned 64-bit or 32-bit patterns; `bits` is the width. */
type Fold = (a: bigint, b: bigint, bits: number) => bigint | boolean;
/** The same on numbers of 32 bits, signed, where that is exact. */
type Quick = (a: number, b: number) => number;

interface Operation {
  readonly fold: Fold;
  readonly quick?: Quick;
  readonly bits: 32 | 64;
  /** The result is an i32. */
  readonly narrow: boolean;
}

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

const QUICK: Readonly<Record<string, Quick>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  eqz: (a) => Number(a === 0),
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  extend32_s: (a) => a,
  wrap_i64: (a) => a,
  extend_i32_u: (a) => a >>> 0,
  extend_i32_s: (a) => a,
};

const OPERATIONS = new Map<string, Operation>();
for (const [name, fold] of Object.entries(FOLDS)) {
  const quick = QUICK[name];
  const known = { fold, ...(quick === undefined ? {} : { quick }) };
  const compares = /^(eqz|eq|ne|[lg][te]_[su])$/.test(name);
  OPERATIONS.set(`i64.${name}`, { ...known, bits: 64, narrow: compares });
  OPERATIONS.set(`i32.${name}`, { ...known, bits: name === 'wrap_i64' ? 64 : 32, narrow: true });
}

export interface Folded {
  /** Whether it is an i32, else an i64. */
  readonly narrow: boolean;
  /** The bit pattern, or a number with the same low bits. */
  readonly value: bigint | number;
}

/** What instruction `name` makes of constants, or null if it is not known. */
export function fold(name: string, a: bigint | number, b: bigint | number): Folded | null {
  const operation = OPERATIONS.get(name);
  if (operation === undefined) return null;
  const { quick, bits, narrow } = operation;
  if (quick !== undefined && typeof a === 'number' && typeof b === 'number') {
    return { narrow, value: quick(a, b) };
  }
  const pattern = (value: bigint | number): bigint => BigInt.asUintN(bits, BigInt(value));
  return { narrow, value: BigInt(operation.fold(pattern(a), pattern(b), bits)) };
}
