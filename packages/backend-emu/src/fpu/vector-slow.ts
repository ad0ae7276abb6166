/**
 * SSE floating point where the emitted code does not decide alone: NaNs, denormals, rounding modes
 * other than to nearest, flags that are not set yet, unmasked exceptions. One lane at a time.
 *
 * Sources: AMD APM vol. 1, sections 4.7 (NaN results: table 4-5), 4.9 to 4.12; vol. 4 for the
 * single instructions.
 */
import * as L from '../cpu/layout.js';
import type { Outcome } from '../system/outcome.js';
import {
  add,
  divide,
  fromInteger,
  multiply,
  order,
  rounded,
  squareRoot,
  toIntegral,
} from './arithmetic.js';
import {
  DE,
  DOUBLE,
  type Format,
  finite,
  IE,
  isSignaling,
  negated,
  PE,
  quiet,
  type Real,
  type Rounding,
  SINGLE,
  TRUNCATE,
  ZE,
  zeroOf,
} from './real.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE, VectorOperation } from './vector-operation.js';

/** Operations by number, as ARG0 names them. */
export const SLOW_OPERATIONS = [
  'ADD', 'SUB', 'MUL', 'DIV', 'SQRT', 'MIN', 'MAX', 'ADDSUB', 'CMP', 'COMI', 'UCOMI', 'ROUND',
  'FLOAT_TO_FLOAT', 'TO_INT32', 'TO_INT64', 'FROM_INT32', 'FROM_INT64', 'DP',
] as const; // biome-ignore format: one word each
export type SlowOperation = (typeof SLOW_OPERATIONS)[number];

/** The NaN that two operands give, or null; only one signals. */
function nanResult(a: Real, b: Real, rounding: Rounding): Real | null {
  if (a.kind !== 'nan' && b.kind !== 'nan') return null;
  if (isSignaling(a) || isSignaling(b)) rounding.flags |= IE;
  return quiet(a.kind === 'nan' ? a : b);
}

function noteDenormals(a: Real, b: Real, rounding: Rounding): void {
  if (a.denormal || b.denormal) rounding.flags |= DE;
}

type Binary = (a: Real, b: Real, format: Format, rounding: Rounding) => Real;
const subtract: Binary = (a, b, format, rounding) => add(a, negated(b), format, rounding);
const BINARY: Readonly<Record<string, Binary>> = {
  ADD: add,
  SUB: subtract,
  MUL: multiply,
  DIV: divide,
};

/** One lane of an arithmetic operation. */
function compute(operation: Binary, a: Real, b: Real, format: Format, rounding: Rounding): Real {
  const nan = nanResult(a, b, rounding);
  if (nan !== null) return nan;
  const result = operation(a, b, format, rounding);
  // An invalid operation or a division by zero comes before the denormal operand.
  if ((rounding.flags & (IE | ZE)) === 0) noteDenormals(a, b, rounding);
  return result;
}

function root(b: Real, format: Format, rounding: Rounding): Real {
  const nan = nanResult(b, b, rounding);
  if (nan !== null) return nan;
  const result = squareRoot(b, format, rounding);
  if ((rounding.flags & IE) === 0) noteDenormals(b, b, rounding);
  return result;
}

/** MIN and MAX give the source for NaNs and for equal operands. */
function extreme(a: Real, b: Real, wanted: number, rounding: Rounding): Real {
  if (a.kind === 'nan' || b.kind === 'nan') {
    rounding.flags |= IE;
    return b;
  }
  noteDenormals(a, b, rounding);
  return order(a, b) === wanted ? a : b;
}

/** 0 greater, 1 less, 2 equal, 3 unordered. */
function relation(a: Real, b: Real, quietly: boolean, rounding: Rounding): number {
  if (a.kind === 'nan' || b.kind === 'nan') {
    if (!quietly || isSignaling(a) || isSignaling(b)) rounding.flags |= IE;
    return 3;
  }
  noteDenormals(a, b, rounding);
  const result = order(a, b);
  return result > 0 ? 0 : result < 0 ? 1 : 2;
}

/** Whether relation `r` satisfies CMPxx's predicate: EQ, LT, LE, UNORD, and their opposites. */
function satisfies(r: number, predicate: number): boolean {
  const positive = [r === 2, r === 1, r === 1 || r === 2, r === 3][predicate & 3];
  return positive !== predicate >= 4;
}

/** Conversion to a signed integer of `bits`: anything outside gives the smallest. */
function toInteger(a: Real, bits: number, mode: number, rounding: Rounding): bigint {
  const limit = 1n << BigInt(bits - 1);
  if (a.kind === 'zero') return 0n;
  if (a.kind === 'finite') {
    const { value, inexact } = toIntegral(a, mode);
    if (value >= -limit && value < limit) {
      if (inexact) rounding.flags |= PE;
      return value;
    }
  }
  rounding.flags |= IE;
  return -limit;
}

/** ROUNDxx: bit 3 of the immediate hides inexactness, bit 2 takes MXCSR's mode. */
function roundToIntegral(a: Real, immediate: number, rounding: Rounding): Real {
  if (a.kind === 'nan') return nanResult(a, a, rounding) as Real;
  if (a.kind !== 'finite' || a.exponent >= 0) return a;
  const mode = (immediate & 4) !== 0 ? rounding.mode : immediate & 3;
  const { value, inexact } = toIntegral(a, mode);
  if (inexact && (immediate & 8) === 0) rounding.flags |= PE;
  if (value === 0n) return zeroOf(a.negative);
  return finite(a.negative, value < 0n ? -value : value, 0);
}

/**
 * Dot product by masks in the immediate: rounded products, then sums of neighbours, then sums of
 * those, every step with its own flags. All lanes have one order of operands, which NaNs show; see
 * `isa/vendor-differences.ts`.
 */
function dotProduct(v: VectorOperation, lanes: number, immediate: number): void {
  const { format, rounding } = v;
  const take = (index: number): Real => {
    if (((immediate >> (4 + index)) & 1) === 0) return zeroOf(false);
    const a = v.lane(SLOW_DESTINATION, index);
    const product = compute(multiply, a, v.lane(SLOW_SOURCE, index), format, rounding);
    v.collect();
    return product;
  };
  const sums = (values: readonly Real[], order: (i: number) => [number, number]): Real[] =>
    values.map((_, i) => {
      const [first, second] = order(i).map((each) => v.asOperand(values[each]));
      const sum = compute(add, first, second, format, rounding);
      v.collect();
      return sum;
    });
  let values = Array.from({ length: lanes }, (_, index) => take(index));
  if (v.endStep()) values = sums(values, (i) => [i & ~1, i | 1]);
  if (v.endStep() && lanes === 4) values = sums(values, () => [0, 2]);
  v.endStep();
  for (let i = 0; i < lanes; i++) {
    v.store(i, ((immediate >> i) & 1) !== 0 ? values[i] : zeroOf(false));
  }
}

/** One lane of everything that has as many results as operands. */
function lane(v: VectorOperation, name: SlowOperation, index: number, immediate: number): void {
  const { format, rounding } = v;
  const a = v.lane(SLOW_DESTINATION, index);
  const b = v.lane(SLOW_SOURCE, index);
  switch (name) {
    case 'SQRT':
      v.store(index, root(b, format, rounding));
      break;
    case 'MIN':
      v.store(index, extreme(a, b, -1, rounding));
      break;
    case 'MAX':
      v.store(index, extreme(a, b, 1, rounding));
      break;
    case 'ROUND':
      v.store(index, roundToIntegral(b, immediate, rounding));
      break;
    case 'CMP': {
      const quietly = (immediate & 3) === 0 || (immediate & 3) === 3;
      const yes = satisfies(relation(a, b, quietly, rounding), immediate & 7);
      const { view } = v;
      if (format === DOUBLE) view.setBigInt64(SLOW_RESULT + index * 8, yes ? -1n : 0n, true);
      else view.setInt32(SLOW_RESULT + index * 4, yes ? -1 : 0, true);
      break;
    }
    default: {
      const chosen = name === 'ADDSUB' ? (index & 1 ? 'ADD' : 'SUB') : name;
      v.store(index, compute(BINARY[chosen], a, b, format, rounding));
    }
  }
  v.collect();
}

/** Conversions; `immediate` 1 truncates. */
function convert(v: VectorOperation, name: SlowOperation, index: number, immediate: number): void {
  const { view, format, rounding } = v;
  const double = format === DOUBLE;
  switch (name) {
    case 'FLOAT_TO_FLOAT': {
      const b = v.lane(SLOW_SOURCE, index);
      const other = double ? SINGLE : DOUBLE;
      const nan = nanResult(b, b, rounding);
      if (nan === null) noteDenormals(b, b, rounding);
      v.store(index, nan ?? rounded(b, other, rounding), !double);
      break;
    }
    case 'TO_INT32': {
      const mode = immediate === 1 ? TRUNCATE : rounding.mode;
      const value = toInteger(v.lane(SLOW_SOURCE, index), 32, mode, rounding);
      view.setInt32(SLOW_RESULT + index * 4, Number(value), true);
      break;
    }
    case 'TO_INT64': {
      const mode = immediate === 1 ? TRUNCATE : rounding.mode;
      const value = toInteger(v.lane(SLOW_SOURCE, index), 64, mode, rounding);
      view.setBigInt64(SLOW_RESULT + index * 8, value, true);
      break;
    }
    default: {
      const wide = name === 'FROM_INT64';
      const value = wide
        ? view.getBigInt64(SLOW_SOURCE + index * 8, true)
        : BigInt(view.getInt32(SLOW_SOURCE + index * 4, true));
      v.store(index, rounded(fromInteger(value), format, rounding));
    }
  }
  v.collect();
}

const CONVERSIONS = new Set<SlowOperation>([
  'FLOAT_TO_FLOAT', 'TO_INT32', 'TO_INT64', 'FROM_INT32', 'FROM_INT64',
]); // biome-ignore format: one word each

/**
 * One SSE instruction: ARG0 operation, ARG1 1 for doubles (the source's format in conversions from
 * floats, the result's in those from integers), ARG2 lanes, ARG3 immediate.
 */
export function vectorSlow(view: DataView): Outcome {
  const name = SLOW_OPERATIONS[view.getUint32(L.ARG0, true)];
  const v = new VectorOperation(view, view.getUint32(L.ARG1, true) !== 0);
  const lanes = view.getUint32(L.ARG2, true);
  const immediate = view.getUint32(L.ARG3, true);
  view.setBigUint64(SLOW_RESULT, 0n, true);
  view.setBigUint64(SLOW_RESULT + 8, 0n, true);
  if (name === 'DP') {
    dotProduct(v, lanes, immediate);
    return v.finish();
  }
  if (name === 'COMI' || name === 'UCOMI') {
    const a = v.lane(SLOW_DESTINATION, 0);
    const r = relation(a, v.lane(SLOW_SOURCE, 0), name === 'UCOMI', v.rounding);
    view.setUint32(SLOW_RESULT, r, true);
    v.collect();
    return v.finish();
  }
  const step = CONVERSIONS.has(name) ? convert : lane;
  for (let index = 0; index < lanes; index++) step(v, name, index, immediate);
  return v.finish();
}
