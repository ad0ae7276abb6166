/**
 * Real numbers of any precision, as x87 and SSE need them to be exact: unpacked from and packed
 * into the three formats, and rounded with every flag.
 *
 * Sources: IEEE 754-2008; AMD APM vol. 1, sections 4.7 and 6.2 to 6.4 (formats, NaNs, exceptions).
 */

/** Exception flags, at the bits that MXCSR and the x87 status word share. */
export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;

/** Rounding modes, as RC encodes them. */
export const NEAREST = 0;
export const DOWN = 1;
export const UP = 2;
export const TRUNCATE = 3;

export type RealKind = 'zero' | 'finite' | 'infinity' | 'nan' | 'unsupported';

/**
 * A finite value is mantissa * 2^exponent, mantissa > 0. A NaN's mantissa is left-aligned in 64
 * bits: bit 62 tells quiet ones.
 */
export interface Real {
  readonly kind: RealKind;
  readonly negative: boolean;
  readonly exponent: number;
  readonly mantissa: bigint;
  /** It was a denormal of its format. */
  readonly denormal: boolean;
}

/** A floating-point format, or an x87 precision. */
export interface Format {
  /** Bits of the significand, the leading one included. */
  readonly precision: number;
  /** Exponents of the leading bit of normal numbers. */
  readonly minimum: number;
  readonly maximum: number;
}

export const SINGLE: Format = { precision: 24, minimum: -126, maximum: 127 };
export const DOUBLE: Format = { precision: 53, minimum: -1022, maximum: 1023 };
export const EXTENDED: Format = { precision: 64, minimum: -16382, maximum: 16383 };

/** How to round, and what happened. */
export interface Rounding {
  mode: number;
  /** Mask bits at the positions of the flags: 1 means masked. */
  masks: number;
  flags: number;
  /** The last rounding went away from zero (x87 C1). */
  roundedUp: boolean;
  /** Flush tiny results to zero (MXCSR.FZ). */
  flush: boolean;
  /** Exponent change of a result whose overflow or underflow is unmasked; 0: none is delivered. */
  wrap: number;
}

export function newRounding(mode: number, masks: number): Rounding {
  return { mode, masks, flags: 0, roundedUp: false, flush: false, wrap: 0 };
}

export function zeroOf(negative: boolean): Real {
  return { kind: 'zero', negative, exponent: 0, mantissa: 0n, denormal: false };
}

export function infinityOf(negative: boolean): Real {
  return { kind: 'infinity', negative, exponent: 0, mantissa: 0n, denormal: false };
}

export function finite(negative: boolean, mantissa: bigint, exponent: number): Real {
  return { kind: 'finite', negative, exponent, mantissa, denormal: false };
}

export function nanOf(negative: boolean, mantissa: bigint): Real {
  return { kind: 'nan', negative, exponent: 0, mantissa, denormal: false };
}

const QUIET = 1n << 62n;

/** The answer to an invalid operation. */
export const INDEFINITE: Real = nanOf(true, 3n << 62n);

export function isSignaling(a: Real): boolean {
  return a.kind === 'nan' && (a.mantissa & QUIET) === 0n;
}

export function quiet(a: Real): Real {
  return { ...a, mantissa: a.mantissa | QUIET };
}

export function negated(a: Real): Real {
  return { ...a, negative: !a.negative };
}

const scratch = new DataView(new ArrayBuffer(8));

/** Bits up to the highest one set. */
export function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  if (value >> 1000n !== 0n) return 1000 + bitLength(value >> 1000n);
  scratch.setFloat64(0, Number(value));
  const top = (scratch.getUint16(0) >> 4) - 1023;
  // The conversion may have rounded up to the next power of two.
  return value >> BigInt(top) === 0n ? top : top + 1;
}

// Formats ------------------------------------------------------------------------------------

/** From sign, biased exponent and fraction of a format with a hidden bit. */
function unpack(negative: boolean, biased: number, fraction: bigint, format: Format): Real {
  const { precision, minimum, maximum } = format;
  const fractionBits = BigInt(precision - 1);
  if (biased === maximum * 2 + 1) {
    if (fraction === 0n) return infinityOf(negative);
    return nanOf(negative, (1n << 63n) | (fraction << (63n - fractionBits)));
  }
  if (biased === 0) {
    if (fraction === 0n) return zeroOf(negative);
    const exponent = minimum - precision + 1;
    return { kind: 'finite', negative, exponent, mantissa: fraction, denormal: true };
  }
  const exponent = biased - maximum - precision + 1;
  return finite(negative, fraction | (1n << fractionBits), exponent);
}

export function unpack32(bits: number): Real {
  return unpack(bits < 0 || bits >= 2 ** 31, (bits >>> 23) & 0xff, BigInt(bits & 0x7fffff), SINGLE);
}

export function unpack64(bits: bigint): Real {
  const biased = Number((bits >> 52n) & 0x7ffn);
  return unpack(((bits >> 63n) & 1n) !== 0n, biased, bits & 0xfffffffffffffn, DOUBLE);
}

/** From the two words of a double extended. */
export function unpack80(mantissa: bigint, signExponent: number): Real {
  const negative = (signExponent & 0x8000) !== 0;
  const biased = signExponent & 0x7fff;
  const integer = mantissa >> 63n !== 0n;
  if (biased === 0) {
    if (mantissa === 0n) return zeroOf(negative);
    return { kind: 'finite', negative, exponent: -16382 - 63, mantissa, denormal: true };
  }
  if (!integer) return { kind: 'unsupported', negative, exponent: 0, mantissa, denormal: false };
  if (biased === 0x7fff) {
    if (mantissa === 1n << 63n) return infinityOf(negative);
    return nanOf(negative, mantissa);
  }
  return finite(negative, mantissa, biased - 16383 - 63);
}

/** Biased exponent and fraction of a value that fits the format. */
function fields(a: Real, format: Format): { biased: number; fraction: bigint } {
  const { precision, minimum, maximum } = format;
  const fractionBits = BigInt(precision - 1);
  switch (a.kind) {
    case 'zero':
      return { biased: 0, fraction: 0n };
    case 'finite': {
      const length = bitLength(a.mantissa);
      const top = a.exponent + length - 1;
      const biased = top < minimum ? 0 : top + maximum;
      const lowest = Math.max(top, minimum) - precision + 1;
      const shift = BigInt(a.exponent - lowest);
      const mantissa = shift >= 0n ? a.mantissa << shift : a.mantissa >> -shift;
      return { biased, fraction: mantissa & ((1n << fractionBits) - 1n) };
    }
    case 'infinity':
      return { biased: maximum * 2 + 1, fraction: 0n };
    default: {
      const fraction = (a.mantissa >> (63n - fractionBits)) & ((1n << fractionBits) - 1n);
      return { biased: maximum * 2 + 1, fraction };
    }
  }
}

export function pack32(a: Real): number {
  const { biased, fraction } = fields(a, SINGLE);
  return ((a.negative ? 0x80000000 : 0) | (biased << 23) | Number(fraction)) >>> 0;
}

export function pack64(a: Real): bigint {
  const { biased, fraction } = fields(a, DOUBLE);
  return ((a.negative ? 1n : 0n) << 63n) | (BigInt(biased) << 52n) | fraction;
}

/** The mantissa and the sign with the exponent of a double extended. */
export function pack80(a: Real): { mantissa: bigint; signExponent: number } {
  const sign = a.negative ? 0x8000 : 0;
  if (a.kind === 'nan' || a.kind === 'unsupported') {
    return { mantissa: a.mantissa, signExponent: sign | 0x7fff };
  }
  const { biased, fraction } = fields(a, EXTENDED);
  const integer = biased === 0 ? 0n : 1n << 63n;
  // A denormal whose leading bit is the integer bit is the smallest normal number.
  return { mantissa: integer | fraction, signExponent: sign | biased };
}

// Rounding -----------------------------------------------------------------------------------

/** Whether to round the magnitude up, from the remainder below the kept bits. */
function roundsUp(mode: number, negative: boolean, odd: boolean, half: number): boolean {
  // `half`: remainder compared with one half of the last place: -1, 0, 1; -2: none at all.
  if (half === -2) return false;
  if (mode === NEAREST) return half > 0 || (half === 0 && odd);
  if (mode === TRUNCATE) return false;
  return negative === (mode === DOWN);
}

interface Cut {
  mantissa: bigint;
  inexact: boolean;
  up: boolean;
}

/** Drops the low `count` bits of `mantissa`, and what `sticky` stands for, by rounding. */
export function cutBits(
  mantissa: bigint,
  count: number,
  sticky: boolean,
  negative: boolean,
  mode: number,
): Cut {
  if (count <= 0) {
    const half = sticky ? -1 : -2;
    const kept = mantissa << BigInt(-count);
    const up = roundsUp(mode, negative, (kept & 1n) !== 0n, half);
    return { mantissa: up ? kept + 1n : kept, inexact: sticky, up };
  }
  const shift = BigInt(count);
  const kept = mantissa >> shift;
  const rest = mantissa - (kept << shift);
  const middle = 1n << (shift - 1n);
  let half = rest < middle ? -1 : rest > middle ? 1 : sticky ? 1 : 0;
  if (rest === 0n && !sticky) half = -2;
  const up = roundsUp(mode, negative, (kept & 1n) !== 0n, half);
  return { mantissa: up ? kept + 1n : kept, inexact: half !== -2, up };
}

function overflowed(negative: boolean, format: Format, rounding: Rounding): Real {
  rounding.flags |= OE | PE;
  const { mode } = rounding;
  const toInfinity = mode === NEAREST || (mode !== TRUNCATE && negative === (mode === DOWN));
  rounding.roundedUp = toInfinity;
  if (toInfinity) return infinityOf(negative);
  const { precision, maximum } = format;
  return finite(negative, (1n << BigInt(precision)) - 1n, maximum - precision + 1);
}

/**
 * Rounds mantissa * 2^exponent (plus a bit less than one unit if `sticky`) to `format`, setting
 * flags. Tininess is detected after rounding.
 */
export function round(
  negative: boolean,
  mantissa: bigint,
  exponent: number,
  sticky: boolean,
  format: Format,
  rounding: Rounding,
): Real {
  const { precision, minimum, maximum } = format;
  const { mode, masks, wrap } = rounding;
  const count = bitLength(mantissa) - precision;
  const cut = cutBits(mantissa, count, sticky, negative, mode);
  const lowest = exponent + count;
  const top = lowest + bitLength(cut.mantissa) - 1;
  if (top > maximum) {
    if ((masks & OE) !== 0) return overflowed(negative, format, rounding);
    rounding.flags |= OE | (cut.inexact ? PE : 0);
    rounding.roundedUp = cut.up;
    return finite(negative, cut.mantissa, lowest - wrap);
  }
  if (top >= minimum) {
    if (cut.inexact) rounding.flags |= PE;
    rounding.roundedUp = cut.up;
    return finite(negative, cut.mantissa, lowest);
  }
  if ((masks & UE) === 0) {
    rounding.flags |= UE | (cut.inexact ? PE : 0);
    rounding.roundedUp = cut.up;
    return finite(negative, cut.mantissa, lowest + wrap);
  }
  if (rounding.flush) {
    rounding.flags |= UE | PE;
    return zeroOf(negative);
  }
  const quantum = minimum - precision + 1;
  const tiny = cutBits(mantissa, quantum - exponent, sticky, negative, mode);
  if (tiny.inexact) rounding.flags |= UE | PE;
  rounding.roundedUp = tiny.up;
  return tiny.mantissa === 0n ? zeroOf(negative) : finite(negative, tiny.mantissa, quantum);
}
