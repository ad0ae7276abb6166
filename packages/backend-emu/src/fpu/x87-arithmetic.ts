/**
 * x87 arithmetic: addition to square root, remainders, scaling.
 *
 * Source: AMD APM vol. 5, chapter 2; exceptions of special operands: vol. 1, tables 6-12 and 6-13.
 */
import type { Outcome } from '../system/outcome.js';
import {
  add,
  divide,
  fromInteger,
  multiply,
  rounded,
  squareRoot,
  toIntegral,
} from './arithmetic.js';
import {
  bitLength,
  DE,
  EXTENDED,
  type Format,
  finite,
  IE,
  INDEFINITE,
  infinityOf,
  negated,
  OE,
  PE,
  type Real,
  type Rounding,
  round,
  TRUNCATE,
  UE,
  ZE,
  zeroOf,
} from './real.js';
import {
  memoryOperand,
  nanOf2,
  noteDenormals,
  OPERAND,
  operandKind,
  operandRegister,
} from './x87-operand.js';
import { X87 } from './x87-state.js';

type Binary = (a: Real, b: Real, format: Format, rounding: Rounding) => Real;

const subtract: Binary = (a, b, format, rounding) => add(a, negated(b), format, rounding);
const reversed =
  (operation: Binary): Binary =>
  (a, b, format, rounding) =>
    operation(b, a, format, rounding);

const OPERATIONS: Readonly<Record<string, Binary>> = {
  ADD: add,
  MUL: multiply,
  SUB: subtract,
  SUBR: reversed(subtract),
  DIV: divide,
  DIVR: reversed(divide),
};

/** The result of an operation on reals, or null if an unmasked exception withholds it. */
function compute(x: X87, operation: Binary, a: Real, b: Real, format: Format): Real | null {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') {
    x.raise(IE);
    return x.stops(IE) ? null : INDEFINITE;
  }
  const nan = nanOf2(a, b, x);
  if (nan !== null) return x.stops(IE) ? null : nan;
  const { rounding } = x;
  const result = operation(a, b, format, rounding);
  if ((rounding.flags & (IE | ZE)) === 0) noteDenormals(x, a, b);
  if (!x.stops(IE | DE | ZE)) return result;
  // Nothing was computed: what rounding found is not reported.
  rounding.flags &= IE | DE | ZE;
  return null;
}

/** ST(0) and an operand; the result goes to ST(0), or to the operand with `to`. */
function binary(view: DataView, operation: Binary, to: boolean, pops: boolean): Outcome {
  const x = new X87(view);
  const isRegister = operandKind(x) === OPERAND.register;
  const register = isRegister ? operandRegister(x) : 0;
  const target = to ? register : 0;
  const read = isRegister ? [0, register] : [0];
  if (x.readable(read, target, pops ? 1 : 0)) {
    const other = isRegister ? x.get(register) : memoryOperand(x);
    const [a, b] = to ? [other, x.get(0)] : [x.get(0), other];
    const result = compute(x, operation, a, b, x.format);
    if (result !== null) {
      x.set(target, result);
      if (pops) x.pop();
    }
  }
  return x.finish();
}

/** An operation on ST(0) alone, rounded to the precision in force. */
function unary(view: DataView, operation: (a: Real, x: X87) => Real, format?: Format): Outcome {
  const x = new X87(view);
  if (x.readable([0], 0)) {
    const a = x.get(0);
    const wrapped: Binary = (value) => operation(value, x);
    const result = compute(x, wrapped, a, a, format ?? x.format);
    if (result !== null) x.set(0, result);
  }
  return x.finish();
}

function integral(a: Real, x: X87): Real {
  if (a.kind !== 'finite' || a.exponent >= 0) return a;
  const { rounding } = x;
  const { value, inexact, up } = toIntegral(a, rounding.mode);
  if (inexact) rounding.flags |= PE;
  rounding.roundedUp = up;
  if (value === 0n) return zeroOf(a.negative);
  return finite(a.negative, value < 0n ? -value : value, 0);
}

/** FSCALE: ST(0) times two to the integral part of ST(1). */
const scale: Binary = (a, b, _format, rounding) => {
  if (b.kind === 'infinity') {
    const bad = b.negative ? a.kind === 'infinity' : a.kind === 'zero';
    if (bad) {
      rounding.flags |= IE;
      return INDEFINITE;
    }
    return b.negative ? zeroOf(a.negative) : infinityOf(a.negative);
  }
  if (a.kind !== 'finite' || b.kind === 'zero') return a;
  const { value } = toIntegral(b, TRUNCATE);
  const large = b.exponent + bitLength(b.mantissa) > 17;
  const by = large ? (b.negative ? -0x20000 : 0x20000) : Number(value);
  // What even a changed exponent cannot hold becomes infinite or zero.
  const top = a.exponent + bitLength(a.mantissa) - 1 + by;
  if (top > EXTENDED.maximum + rounding.wrap && (rounding.masks & OE) === 0) {
    rounding.flags |= OE | PE;
    rounding.roundedUp = true;
    return infinityOf(a.negative);
  }
  if (top < EXTENDED.minimum - rounding.wrap && (rounding.masks & UE) === 0) {
    rounding.flags |= UE | PE;
    return zeroOf(a.negative);
  }
  return round(a.negative, a.mantissa, a.exponent + by, false, EXTENDED, rounding);
};

/** FXTRACT: the exponent replaces ST(0), the significand is pushed. */
function extract(view: DataView): Outcome {
  const x = new X87(view);
  if (x.isEmpty(0)) {
    if (x.underflow()) {
      x.set(0, INDEFINITE);
      x.push(INDEFINITE);
    }
    return x.finish();
  }
  if (!x.isEmpty(7)) {
    if (x.pushable()) throw new Error('the stack is full');
    if (x.stops(IE)) return x.finish();
    x.set(1, INDEFINITE);
    return x.finish();
  }
  const a = x.get(0);
  const exponentOf: Binary = (value, _b, _format, rounding) => {
    if (value.kind === 'infinity') return infinityOf(false);
    if (value.kind === 'zero') {
      rounding.flags |= ZE;
      return infinityOf(true);
    }
    return fromInteger(BigInt(value.exponent + bitLength(value.mantissa) - 1));
  };
  const exponent = compute(x, exponentOf, a, a, EXTENDED);
  if (exponent === null) return x.finish();
  x.set(0, exponent);
  if (a.kind === 'finite') {
    x.push(finite(a.negative, a.mantissa, 1 - bitLength(a.mantissa)));
  } else {
    x.push(exponent.kind === 'nan' ? exponent : a);
  }
  return x.finish();
}

/**
 * FPREM and FPREM1: the remainder of ST(0) by ST(1), in steps that lower the exponent by less than
 * 64; C2 says that it is not done. C0, C3 and C1 are the quotient's low bits.
 */
function remainder(view: DataView, nearest: boolean): Outcome {
  const x = new X87(view);
  x.setC2(false);
  if (!x.readable([0, 1], 0)) return x.finish();
  const a = x.get(0);
  const b = x.get(1);
  let quotient = -1n;
  const step: Binary = (dividend, divisor, _format, rounding) => {
    if (dividend.kind === 'infinity' || divisor.kind === 'zero') {
      rounding.flags |= IE;
      return INDEFINITE;
    }
    if (dividend.kind === 'zero' || divisor.kind === 'infinity') {
      quotient = 0n;
      return rounded(dividend, EXTENDED, rounding);
    }
    const top = (r: Real): number => r.exponent + bitLength(r.mantissa);
    const distance = top(dividend) - top(divisor);
    if (distance >= 64) return partial(dividend, divisor, distance, rounding);
    const lowest = Math.min(dividend.exponent, divisor.exponent);
    const n = dividend.mantissa << BigInt(dividend.exponent - lowest);
    const d = divisor.mantissa << BigInt(divisor.exponent - lowest);
    quotient = n / d;
    let rest = n - quotient * d;
    const twice = rest * 2n;
    let { negative } = dividend;
    if (nearest && (twice > d || (twice === d && (quotient & 1n) !== 0n))) {
      quotient++;
      rest = d - rest;
      negative = !negative;
    }
    if (rest === 0n) return zeroOf(dividend.negative);
    return round(negative, rest, lowest, false, EXTENDED, rounding);
  };
  const result = compute(x, step, a, b, EXTENDED);
  if (result === null) return x.finish();
  x.set(0, result);
  const bit = (n: bigint): boolean => quotient >= 0n && ((quotient >> n) & 1n) !== 0n;
  if (quotient >= 0n) {
    x.setCodes(bit(1n), false, bit(2n));
    x.setC1(bit(0n));
  } else if (a.kind === 'finite' && b.kind === 'finite') {
    x.setCodes(false, true, false);
  }
  return x.finish();
}

/** A multiple of the divisor by a power of two is taken off. */
function partial(a: Real, b: Real, distance: number, rounding: Rounding): Real {
  // 32 to 63, congruent to the distance: what remains is a multiple of 32 steps.
  const by = 32 + (distance % 32);
  const lowest = Math.min(a.exponent, b.exponent + distance - by);
  const n = a.mantissa << BigInt(a.exponent - lowest);
  const d = b.mantissa << BigInt(b.exponent + distance - by - lowest);
  const rest = n % d;
  if (rest === 0n) return zeroOf(a.negative);
  return round(a.negative, rest, lowest, false, EXTENDED, rounding);
}

function sign(view: DataView, change: (signExponent: number) => number): Outcome {
  const x = new X87(view);
  if (x.readable([0], 0)) {
    const [mantissa, signExponent] = x.bits(0);
    x.setBits(0, mantissa, change(signExponent));
  }
  return x.finish();
}

type Named = Readonly<Record<string, (view: DataView) => Outcome>>;

function arithmeticFunctions(): Named {
  const result: Record<string, (view: DataView) => Outcome> = {};
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    result[`x87F${name}`] = (view) => binary(view, operation, false, false);
    result[`x87F${name}TO`] = (view) => binary(view, operation, true, false);
    result[`x87F${name}P`] = (view) => binary(view, operation, true, true);
  }
  return result;
}

export const x87Arithmetic: Named = {
  ...arithmeticFunctions(),
  x87FSQRT: (view) => unary(view, (a, x) => squareRoot(a, x.format, x.rounding)),
  x87FRNDINT: (view) => unary(view, integral),
  x87FSCALE: (view) => {
    const x = new X87(view);
    if (x.readable([0, 1], 0)) {
      const result = compute(x, scale, x.get(0), x.get(1), EXTENDED);
      if (result !== null) x.set(0, result);
    }
    return x.finish();
  },
  x87FPREM: (view) => remainder(view, false),
  x87FPREM1: (view) => remainder(view, true),
  x87FXTRACT: extract,
  x87FCHS: (view) => sign(view, (bits) => bits ^ 0x8000),
  x87FABS: (view) => sign(view, (bits) => bits & 0x7fff),
};

export { compute as computeX87 };
