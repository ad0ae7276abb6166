/**
 * x87 transcendentals, correctly rounded but for ties nearer than 2^-100: processors promise less
 * than one unit in the last place and differ from one another.
 *
 * Angles are reduced by a pi of 66 bits, as processors do: near its multiples sines are off by as
 * much as that pi is (Intel SDM vol. 1, section 8.3.8).
 *
 * Source: AMD APM vol. 5, chapter 2 (F2XM1, FCOS, FPATAN, FPTAN, FSIN, FSINCOS, FYL2X, FYL2XP1).
 */
import type { Outcome } from '../system/outcome.js';
import { multiply } from './arithmetic.js';
import { arctanOf, cosineOf, expMinusOne, ln2Of, lnOfRatio, piOf, sineOf } from './fixed-point.js';
import {
  bitLength,
  EXTENDED,
  finite,
  IE,
  INDEFINITE,
  infinityOf,
  negated,
  PE,
  type Real,
  type Rounding,
  round,
  ZE,
  zeroOf,
} from './real.js';
import { computeX87 } from './x87-arithmetic.js';
import { X87 } from './x87-state.js';

/** Significant bits of intermediate results. */
const WIDTH = 224;
const ONE = finite(false, 1n, 0);
/** Below this exponent sin x is x and cos x is 1 but for the last place. */
const TINY = -40;

function topOf(a: Real): number {
  return a.exponent + bitLength(a.mantissa) - 1;
}

function invalid(rounding: Rounding): Real {
  rounding.flags |= IE;
  return INDEFINITE;
}

/** A signed fixed-point number as a rounded real; it is never exact. */
function fromFixed(value: bigint, bits: number, rounding: Rounding): Real {
  const negative = value < 0n;
  return round(negative, negative ? -value : value, -bits, true, EXTENDED, rounding);
}

/** Where nothing is defined processors give the argument, as if it had been rounded. */
function unchanged(a: Real, rounding: Rounding): Real {
  rounding.flags |= PE;
  return a;
}

/** A value a little (`less` or more) off `a`. */
function near(a: Real, less: boolean, rounding: Rounding): Real {
  const mantissa = (a.mantissa << 80n) - (less ? 1n : 0n);
  return round(a.negative, mantissa, a.exponent - 80, true, EXTENDED, rounding);
}

/** A finite real in fixed point, cut off. */
function toFixed(a: Real, bits: number): bigint {
  const shift = BigInt(a.exponent + bits);
  const magnitude = shift >= 0n ? a.mantissa << shift : a.mantissa >> -shift;
  return a.negative ? -magnitude : magnitude;
}

// Circular functions -------------------------------------------------------------------------

/** Pi of 66 bits, times 2^66. */
const SHORT_PI = 0xc90fdaa22168c234cn;

/** Quadrant and rest of a finite angle below 2^63: angle = quadrant * pi/2 + rest. */
function reduce(a: Real): { quadrant: number; rest: bigint; bits: number } {
  const bits = WIDTH + 96 + Math.max(0, -topOf(a));
  const angle = toFixed(a, bits);
  const half = SHORT_PI << BigInt(bits - 67);
  const doubled = 2n * angle + half;
  const period = 2n * half;
  let count = doubled / period;
  if (doubled < 0n && count * period !== doubled) count--;
  const rest = angle - count * half;
  return { quadrant: Number(((count % 4n) + 4n) % 4n), rest, bits };
}

function circular(a: Real, quarter: number, rounding: Rounding): Real {
  if (a.kind === 'infinity') return invalid(rounding);
  if (a.kind === 'zero') return quarter === 0 ? a : ONE;
  if (topOf(a) < TINY) return near(quarter === 0 ? a : ONE, true, rounding);
  const { quadrant, rest, bits } = reduce(a);
  const turned = (quadrant + quarter) % 4;
  const value = turned % 2 === 0 ? sineOf(rest, bits) : cosineOf(rest, bits);
  return fromFixed(turned >= 2 ? -value : value, bits, rounding);
}

function tangent(a: Real, rounding: Rounding): Real {
  if (a.kind === 'infinity') return invalid(rounding);
  if (a.kind === 'zero') return a;
  if (topOf(a) < TINY) return near(a, false, rounding);
  const { quadrant, rest, bits } = reduce(a);
  const sine = sineOf(rest, bits);
  const cosine = cosineOf(rest, bits);
  const odd = quadrant % 2 === 1;
  const value = odd ? (-cosine << BigInt(bits)) / sine : (sine << BigInt(bits)) / cosine;
  return fromFixed(value, bits, rounding);
}

/** FSIN, FCOS, FPTAN, FSINCOS: too large an angle is left alone, and C2 says so. */
function angular(
  view: DataView,
  first: (a: Real, rounding: Rounding) => Real,
  second: ((a: Real, rounding: Rounding) => Real) | null,
): Outcome {
  const x = new X87(view);
  x.setC2(false);
  if (x.isEmpty(0)) {
    if (x.underflow()) {
      x.set(0, INDEFINITE);
      if (second !== null) x.push(INDEFINITE);
    }
    return x.finish();
  }
  const a = x.get(0);
  if (second !== null && !x.isEmpty(7)) {
    x.pushable();
    if (!x.stops(IE)) x.set(1, INDEFINITE);
    return x.finish();
  }
  if (a.kind === 'finite' && topOf(a) >= 63) {
    x.setC2(true);
    return x.finish();
  }
  const result = computeX87(x, (value, _b, _f, r) => first(value, r), a, a, EXTENDED);
  if (result === null) return x.finish();
  x.set(0, result);
  if (second !== null) {
    const special = result.kind === 'nan';
    x.push(special ? result : second(a, x.rounding));
  }
  return x.finish();
}

/** FPATAN: the angle of the point (b, a) = (ST(0), ST(1)). */
function angle(a: Real, b: Real, rounding: Rounding): Real {
  const signed = (value: Real): Real => (a.negative ? negated(value) : value);
  const constant = (numerator: bigint, shift: number): Real => {
    const bits = WIDTH;
    const value = numerator * piOf(bits);
    return round(a.negative, value, -bits - shift, true, EXTENDED, rounding);
  };
  if (a.kind === 'infinity') {
    if (b.kind !== 'infinity') return constant(1n, 1);
    return b.negative ? constant(3n, 2) : constant(1n, 2);
  }
  if (a.kind === 'zero' || b.kind === 'infinity') {
    return b.negative ? constant(1n, 0) : signed(zeroOf(false));
  }
  if (b.kind === 'zero') return constant(1n, 1);
  const distance = topOf(a) - topOf(b);
  if (distance > 120) return constant(1n, 1);
  if (distance < -120) {
    if (b.negative) return constant(1n, 0);
    const quotient = (a.mantissa << 320n) / b.mantissa - 1n;
    return round(a.negative, quotient, a.exponent - b.exponent - 320, true, EXTENDED, rounding);
  }
  const bits = WIDTH + 128;
  const lowest = Math.min(a.exponent, b.exponent);
  const y = a.mantissa << BigInt(a.exponent - lowest);
  const x = b.mantissa << BigInt(b.exponent - lowest);
  const steep = y > x;
  const ratio = ((steep ? x : y) << BigInt(bits)) / (steep ? y : x);
  let value = arctanOf(ratio, bits);
  if (steep) value = (piOf(bits) >> 1n) - value;
  if (b.negative) value = piOf(bits) - value;
  return round(a.negative, value, -bits, true, EXTENDED, rounding);
}

// Exponential and logarithm ------------------------------------------------------------------

/** 2^a - 1, for |a| <= 1; other arguments are undefined and give themselves. */
function powerMinusOne(a: Real, rounding: Rounding): Real {
  if (a.kind === 'infinity') return a.negative ? { ...ONE, negative: true } : a;
  if (a.kind === 'zero') return a;
  const top = topOf(a);
  const isPower = (a.mantissa & (a.mantissa - 1n)) === 0n;
  if (top === 0 && isPower) return a.negative ? finite(true, 1n, -1) : ONE;
  if (top >= 0) return unchanged(a, rounding);
  const bits = WIDTH - top;
  const scaled = (toFixed(a, bits) * ln2Of(bits)) >> BigInt(bits);
  return fromFixed(expMinusOne(scaled, bits), bits, rounding);
}

/** b * log2(numerator/denominator * 2^exponent), all positive but b. */
function scaledLogarithm(
  b: Real,
  numerator: bigint,
  denominator: bigint,
  exponent: number,
  bits: number,
  rounding: Rounding,
): Real {
  const fraction = (lnOfRatio(numerator, denominator, bits) << BigInt(bits)) / ln2Of(bits);
  const logarithm = (BigInt(exponent) << BigInt(bits)) + fraction;
  const negative = logarithm < 0n !== b.negative;
  const magnitude = logarithm < 0n ? -logarithm : logarithm;
  return round(negative, magnitude * b.mantissa, b.exponent - bits, true, EXTENDED, rounding);
}

/** FYL2X: b * log2(a). */
function yLogarithm(a: Real, b: Real, rounding: Rounding): Real {
  if (a.kind === 'zero') {
    if (b.kind === 'zero') return invalid(rounding);
    if (b.kind === 'finite') rounding.flags |= ZE;
    return infinityOf(!b.negative);
  }
  if (a.negative) return invalid(rounding);
  if (a.kind === 'infinity') {
    return b.kind === 'zero' ? invalid(rounding) : infinityOf(b.negative);
  }
  const length = bitLength(a.mantissa);
  const exponent = a.exponent + length - 1;
  if (a.mantissa === 1n << BigInt(length - 1)) {
    const whole =
      exponent === 0 ? zeroOf(false) : finite(exponent < 0, BigInt(Math.abs(exponent)), 0);
    return multiply(whole, b, EXTENDED, rounding);
  }
  if (b.kind === 'infinity') return infinityOf(b.negative !== exponent < 0);
  if (b.kind === 'zero') return zeroOf(b.negative !== exponent < 0);
  // The significand between 0.7 and 1.4: near 1 there is no cancellation.
  const unit = 1n << BigInt(length - 1);
  const large = a.mantissa * 5n > unit * 7n;
  const denominator = large ? unit * 2n : unit;
  const whole = exponent + (large ? 1 : 0);
  return scaledLogarithm(b, a.mantissa, denominator, whole, WIDTH + 64, rounding);
}

/** FYL2XP1: b * log2(1 + a). */
function yLogarithmPlusOne(a: Real, b: Real, rounding: Rounding): Real {
  if (a.kind === 'infinity') {
    if (a.negative || b.kind === 'zero') return invalid(rounding);
    return infinityOf(b.negative);
  }
  if (a.kind === 'zero') {
    if (b.kind === 'infinity') return invalid(rounding);
    return zeroOf(a.negative !== b.negative);
  }
  const top = topOf(a);
  if (b.kind === 'zero') return zeroOf(a.negative !== b.negative);
  if (b.kind === 'infinity') return infinityOf(a.negative !== b.negative);
  if (a.negative && top >= 0) return unchanged(a, rounding);
  const denominator = 1n << BigInt(Math.max(0, -a.exponent));
  const scaled = a.mantissa << BigInt(Math.max(0, a.exponent));
  const numerator = denominator + (a.negative ? -scaled : scaled);
  const bits = WIDTH + 64 + Math.max(0, -top);
  if (top >= 0) {
    // Outside of what is defined: the ratio is brought near 1.
    const exponent = bitLength(numerator) - bitLength(denominator);
    const by = BigInt(exponent);
    return scaledLogarithm(b, numerator, denominator << by, exponent, bits, rounding);
  }
  return scaledLogarithm(b, numerator, denominator, 0, bits, rounding);
}

/** Functions of ST(0) and ST(1) into ST(1), then a pop. */
function popping(
  view: DataView,
  operation: (a: Real, b: Real, rounding: Rounding) => Real,
): Outcome {
  const x = new X87(view);
  if (x.readable([0, 1], 1, 1)) {
    const result = computeX87(x, (a, b, _f, r) => operation(a, b, r), x.get(0), x.get(1), EXTENDED);
    if (result !== null) {
      x.set(1, result);
      x.pop();
    }
  }
  return x.finish();
}

export const x87Transcendental: Readonly<Record<string, (view: DataView) => Outcome>> = {
  x87FSIN: (view) => angular(view, (a, r) => circular(a, 0, r), null),
  x87FCOS: (view) => angular(view, (a, r) => circular(a, 1, r), null),
  x87FSINCOS: (view) =>
    angular(
      view,
      (a, r) => circular(a, 0, r),
      (a, r) => circular(a, 1, r),
    ),
  x87FPTAN: (view) => angular(view, tangent, () => ONE),
  x87FPATAN: (view) => popping(view, (b, a, r) => angle(a, b, r)),
  x87F2XM1: (view) => {
    const x = new X87(view);
    if (x.readable([0], 0)) {
      const a = x.get(0);
      const result = computeX87(x, (value, _b, _f, r) => powerMinusOne(value, r), a, a, EXTENDED);
      if (result !== null) x.set(0, result);
    }
    return x.finish();
  },
  x87FYL2X: (view) => popping(view, yLogarithm),
  x87FYL2XP1: (view) => popping(view, yLogarithmPlusOne),
};
