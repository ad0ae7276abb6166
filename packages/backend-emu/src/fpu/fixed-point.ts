/**
 * Elementary functions in fixed point of any width: integers that stand for value * 2^bits. Results
 * are off by a few units in the last place.
 *
 * Series: Abramowitz and Stegun, Handbook of Mathematical Functions, 4.1.27, 4.2.1, 4.3.65, 4.4.42.
 */

/** Floor of the square root by Newton's iteration. */
function squareRootOf(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt((value.toString(16).length * 4 + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Sum of x^k/k with odd k, signs alternating (arctangent) or not (its hyperbolic sister). */
function oddSeries(x: bigint, bits: number, alternating: boolean): bigint {
  const shift = BigInt(bits);
  const square = (x * x) >> shift;
  let power = x;
  let sum = x;
  for (let k = 3n; power !== 0n && power !== -1n; k += 2n) {
    power = (power * square) >> shift;
    const term = power / k;
    sum += alternating && (k & 2n) !== 0n ? -term : term;
  }
  return sum;
}

const GUARD = 32;

/** arctan(1/n). */
function arctanOfInverse(n: bigint, bits: number): bigint {
  return oddSeries((1n << BigInt(bits)) / n, bits, true);
}

const known = new Map<string, bigint>();

function remembered(name: string, bits: number, compute: (bits: number) => bigint): bigint {
  const key = `${name}${bits}`;
  let value = known.get(key);
  if (value === undefined) {
    value = compute(bits + GUARD) >> BigInt(GUARD);
    if (known.size > 64) known.clear();
    known.set(key, value);
  }
  return value;
}

/** By Machin's formula. */
export function piOf(bits: number): bigint {
  return remembered('pi', bits, (wide) => {
    return 16n * arctanOfInverse(5n, wide) - 4n * arctanOfInverse(239n, wide);
  });
}

/** ln 2 = 2 artanh(1/3). */
export function ln2Of(bits: number): bigint {
  return remembered('ln2', bits, (wide) => 2n * oddSeries((1n << BigInt(wide)) / 3n, wide, false));
}

/** ln(numerator/denominator), near enough to 1 for the series: between 1/2 and 2. */
export function lnOfRatio(numerator: bigint, denominator: bigint, bits: number): bigint {
  const t = ((numerator - denominator) << BigInt(bits)) / (numerator + denominator);
  return 2n * oddSeries(t, bits, false);
}

/** e^x - 1 for |x| <= 1. */
export function expMinusOne(x: bigint, bits: number): bigint {
  const shift = BigInt(bits);
  let term = x;
  let sum = x;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = ((term * x) >> shift) / k;
    sum += term;
  }
  return sum;
}

/** Sine and cosine for |x| <= 1. */
export function sineOf(x: bigint, bits: number): bigint {
  return alternatingSeries(x, x, 2n, bits);
}

export function cosineOf(x: bigint, bits: number): bigint {
  return alternatingSeries(x, 1n << BigInt(bits), 1n, bits);
}

function alternatingSeries(x: bigint, first: bigint, from: bigint, bits: number): bigint {
  const shift = BigInt(bits);
  const square = (x * x) >> shift;
  let term = first;
  let sum = first;
  for (let k = from; term !== 0n && term !== -1n; k += 2n) {
    term = -(((term * square) >> shift) / (k * (k + 1n)));
    sum += term;
  }
  return sum;
}

/** arctan(x) for 0 <= x <= 1: the angle is halved until the series is short. */
export function arctanOf(x: bigint, bits: number): bigint {
  const one = 1n << BigInt(bits);
  let t = x;
  let halvings = 0n;
  while (t > one >> 4n) {
    const root = squareRootOf((one << BigInt(bits)) + t * t);
    t = (t << BigInt(bits)) / (one + root);
    halvings++;
  }
  return oddSeries(t, bits, true) << halvings;
}
