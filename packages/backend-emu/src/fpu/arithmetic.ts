/**
 * Exact arithmetic on reals that are not NaN: the operations that x87 and SSE share. Callers deal
 * with NaNs and with denormal operands first.
 *
 * Source: IEEE 754-2008, section 5.4; AMD APM vol. 1, table 6-6 and section 4.9 for invalid cases.
 */
import {
  bitLength,
  cutBits,
  DOWN,
  type Format,
  finite,
  IE,
  INDEFINITE,
  infinityOf,
  type Real,
  type Rounding,
  round,
  ZE,
  zeroOf,
} from './real.js';

function invalid(rounding: Rounding): Real {
  rounding.flags |= IE;
  return INDEFINITE;
}

/** Rounds a finite or special value to `format`. */
export function rounded(a: Real, format: Format, rounding: Rounding): Real {
  if (a.kind !== 'finite') return a;
  return round(a.negative, a.mantissa, a.exponent, false, format, rounding);
}

/** Operands further apart than this are told from each other by a sticky bit. */
const FAR = 200;

export function add(a: Real, b: Real, format: Format, rounding: Rounding): Real {
  if (a.kind === 'infinity' || b.kind === 'infinity') {
    if (a.kind === b.kind && a.negative !== b.negative) return invalid(rounding);
    return a.kind === 'infinity' ? a : b;
  }
  if (a.kind === 'zero' && b.kind === 'zero') {
    if (a.negative === b.negative) return zeroOf(a.negative);
    return zeroOf(rounding.mode === DOWN);
  }
  if (a.kind === 'zero') return rounded(b, format, rounding);
  if (b.kind === 'zero') return rounded(a, format, rounding);
  const topA = a.exponent + bitLength(a.mantissa);
  const topB = b.exponent + bitLength(b.mantissa);
  if (Math.abs(topA - topB) > FAR) return addFar(a, b, topA > topB, format, rounding);
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.mantissa << BigInt(a.exponent - exponent);
  const right = b.mantissa << BigInt(b.exponent - exponent);
  const sum = (a.negative ? -left : left) + (b.negative ? -right : right);
  if (sum === 0n) return zeroOf(rounding.mode === DOWN);
  return round(sum < 0n, sum < 0n ? -sum : sum, exponent, false, format, rounding);
}

/** The smaller operand only decides the rounding. */
function addFar(a: Real, b: Real, aLarger: boolean, format: Format, rounding: Rounding): Real {
  const large = aLarger ? a : b;
  const small = aLarger ? b : a;
  const shift = BigInt(FAR - bitLength(large.mantissa));
  let mantissa = large.mantissa << shift;
  // Less by a little is: one unit less, and a sticky remainder.
  if (large.negative !== small.negative) mantissa -= 1n;
  return round(large.negative, mantissa, large.exponent - Number(shift), true, format, rounding);
}

export function multiply(a: Real, b: Real, format: Format, rounding: Rounding): Real {
  const negative = a.negative !== b.negative;
  if (a.kind === 'infinity' || b.kind === 'infinity') {
    if (a.kind === 'zero' || b.kind === 'zero') return invalid(rounding);
    return infinityOf(negative);
  }
  if (a.kind === 'zero' || b.kind === 'zero') return zeroOf(negative);
  const exponent = a.exponent + b.exponent;
  return round(negative, a.mantissa * b.mantissa, exponent, false, format, rounding);
}

export function divide(a: Real, b: Real, format: Format, rounding: Rounding): Real {
  const negative = a.negative !== b.negative;
  if (a.kind === 'infinity') {
    return b.kind === 'infinity' ? invalid(rounding) : infinityOf(negative);
  }
  if (b.kind === 'infinity') return zeroOf(negative);
  if (b.kind === 'zero') {
    if (a.kind === 'zero') return invalid(rounding);
    rounding.flags |= ZE;
    return infinityOf(negative);
  }
  if (a.kind === 'zero') return zeroOf(negative);
  const wanted = format.precision + 3 + bitLength(b.mantissa) - bitLength(a.mantissa);
  const shift = Math.max(0, wanted);
  const dividend = a.mantissa << BigInt(shift);
  const quotient = dividend / b.mantissa;
  const sticky = quotient * b.mantissa !== dividend;
  return round(negative, quotient, a.exponent - shift - b.exponent, sticky, format, rounding);
}

/** Floor of the square root. */
function integerRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

export function squareRoot(a: Real, format: Format, rounding: Rounding): Real {
  if (a.kind === 'zero') return a;
  if (a.negative) return invalid(rounding);
  if (a.kind === 'infinity') return a;
  let shift = Math.max(0, 2 * (format.precision + 3) - bitLength(a.mantissa));
  if (((a.exponent - shift) & 1) !== 0) shift++;
  const radicand = a.mantissa << BigInt(shift);
  const root = integerRoot(radicand);
  const sticky = root * root !== radicand;
  return round(false, root, (a.exponent - shift) / 2, sticky, format, rounding);
}

/** Order of two reals that are not NaN: -1, 0 or 1. */
export function order(a: Real, b: Real): number {
  const sign = (r: Real): number => (r.kind === 'zero' ? 0 : r.negative ? -1 : 1);
  if (sign(a) !== sign(b)) return sign(a) < sign(b) ? -1 : 1;
  if (sign(a) === 0) return 0;
  const larger = sign(a);
  if (a.kind === 'infinity' || b.kind === 'infinity') {
    if (a.kind === b.kind) return 0;
    return a.kind === 'infinity' ? larger : -larger;
  }
  const topA = a.exponent + bitLength(a.mantissa);
  const topB = b.exponent + bitLength(b.mantissa);
  if (topA !== topB) return topA > topB ? larger : -larger;
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.mantissa << BigInt(a.exponent - exponent);
  const right = b.mantissa << BigInt(b.exponent - exponent);
  if (left === right) return 0;
  return left > right ? larger : -larger;
}

/** The integral value of a finite real, by `mode`. */
export function toIntegral(
  a: Real,
  mode: number,
): { value: bigint; inexact: boolean; up: boolean } {
  if (a.kind === 'zero') return { value: 0n, inexact: false, up: false };
  // Anything below one half of a unit rounds alike.
  const tiny = a.exponent + bitLength(a.mantissa) < -2;
  const mantissa = tiny ? 1n : a.mantissa;
  const exponent = tiny ? -3 : a.exponent;
  if (exponent > 100) return { value: 1n << 200n, inexact: false, up: false };
  const cut = cutBits(mantissa, -exponent, false, a.negative, mode);
  const value = a.negative ? -cut.mantissa : cut.mantissa;
  return { value, inexact: cut.inexact, up: cut.up };
}

/** An integer as a real. */
export function fromInteger(value: bigint): Real {
  if (value === 0n) return zeroOf(false);
  return finite(value < 0n, value < 0n ? -value : value, 0);
}
