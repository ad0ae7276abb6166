/**
 * Operands of x87 instructions as descriptions hand them over: ARG0 says what it is, ARG1 and ARG2
 * hold the stack register's number or the bits from memory.
 */
import * as L from '../cpu/layout.js';
import { fromInteger } from './arithmetic.js';
import { DE, IE, isSignaling, quiet, type Real, unpack32, unpack64, unpack80 } from './real.js';
import type { X87 } from './x87-state.js';

/** Kinds of operand. */
export const OPERAND = {
  register: 0, single: 1, double: 2, extended: 3, int16: 4, int32: 5, int64: 6, bcd: 7,
} as const; // biome-ignore format: one line

export function operandKind(x: X87): number {
  return x.view.getUint32(L.ARG0, true);
}

/** Number of the stack register. */
export function operandRegister(x: X87): number {
  return x.view.getUint32(L.ARG1, true) & 7;
}

const DECIMAL_DIGITS = 18;

function fromDecimal(low: bigint, high: bigint): Real {
  let value = 0n;
  const all = low | ((high & 0xffn) << 64n);
  for (let i = DECIMAL_DIGITS - 1; i >= 0; i--) {
    value = value * 10n + ((all >> BigInt(i * 4)) & 15n);
  }
  return { ...fromInteger(value), negative: (high & 0x8000n) !== 0n };
}

/** A memory operand's value, as it is in memory. */
export function memoryOperand(x: X87): Real {
  const { view } = x;
  switch (operandKind(x)) {
    case OPERAND.single:
      return unpack32(view.getUint32(L.ARG1, true));
    case OPERAND.double:
      return unpack64(view.getBigUint64(L.ARG1, true));
    case OPERAND.extended:
      return unpack80(view.getBigUint64(L.ARG1, true), view.getUint16(L.ARG2, true));
    case OPERAND.bcd:
      return fromDecimal(view.getBigUint64(L.ARG1, true), view.getBigUint64(L.ARG2, true));
    case OPERAND.int16:
      return fromInteger(BigInt(view.getInt16(L.ARG1, true)));
    case OPERAND.int32:
      return fromInteger(BigInt(view.getInt32(L.ARG1, true)));
    default:
      return fromInteger(view.getBigInt64(L.ARG1, true));
  }
}

/**
 * The NaN that an operation gives for operands of which one may be NaN, or null. The quiet one of a
 * signaling and a quiet one; of two alike the larger significand, then the positive one.
 */
export function nanOf2(a: Real, b: Real, x: X87): Real | null {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') return null;
  if (a.kind !== 'nan' && b.kind !== 'nan') return null;
  const signalingA = isSignaling(a);
  const signalingB = isSignaling(b);
  if (signalingA || signalingB) x.raise(IE);
  if (b.kind !== 'nan') return quiet(a);
  if (a.kind !== 'nan') return quiet(b);
  if (signalingA !== signalingB) return signalingA ? b : a;
  if (a.mantissa !== b.mantissa) return quiet(a.mantissa > b.mantissa ? a : b);
  return quiet(a.negative ? b : a);
}

export function noteDenormals(x: X87, ...values: readonly Real[]): void {
  if (values.some(({ denormal }) => denormal)) x.raise(DE);
}
