/**
 * x87 loads, stores, constants and stack control.
 *
 * Stores leave the bits in ARG0 and ARG1, and 1 in ARG2 if they are to be stored: the description
 * has made sure before that the memory can be written.
 *
 * Source: AMD APM vol. 5, chapter 2.
 */
import * as L from '../cpu/layout.js';
import type { Outcome } from '../system/outcome.js';
import { rounded, toIntegral } from './arithmetic.js';
import {
  cutBits,
  DOUBLE,
  DOWN,
  type Format,
  IE,
  INDEFINITE,
  isSignaling,
  NEAREST,
  OE,
  PE,
  pack32,
  pack64,
  pack80,
  quiet,
  type Real,
  SINGLE,
  TRUNCATE,
  UE,
  UP,
} from './real.js';
import {
  memoryOperand,
  noteDenormals,
  OPERAND,
  operandKind,
  operandRegister,
} from './x87-operand.js';
import { X87 } from './x87-state.js';

/** FLD of memory, FILD, FBLD. */
function load(view: DataView): Outcome {
  const x = new X87(view);
  const kind = operandKind(x);
  if (!x.pushable()) return x.finish();
  let value = memoryOperand(x);
  if (kind === OPERAND.extended) {
    // Any bits are loaded as they are.
    x.top = x.top - 1;
    x.setBits(0, view.getBigUint64(L.ARG1, true), view.getUint16(L.ARG2, true));
    return x.finish();
  }
  if (isSignaling(value)) {
    x.raise(IE);
    value = quiet(value);
  }
  noteDenormals(x, value);
  // An unmasked denormal operand is reported, and loaded nevertheless.
  if (!x.stops(IE)) x.push(value);
  return x.finish();
}

/** FLD ST(i). */
function loadRegister(view: DataView): Outcome {
  const x = new X87(view);
  const index = operandRegister(x);
  if (x.isEmpty(index)) {
    if (x.underflow()) x.push(INDEFINITE);
    return x.finish();
  }
  if (x.pushable()) {
    const [mantissa, signExponent] = x.bits(index);
    x.top = x.top - 1;
    x.setBits(0, mantissa, signExponent);
  }
  return x.finish();
}

/** Hands the bits to the description, pops, and ends. */
function stored(x: X87, low: bigint, high: bigint, pops: boolean): Outcome {
  if (pops) x.pop();
  const outcome = x.finish();
  x.view.setBigUint64(L.ARG0, low, true);
  x.view.setBigUint64(L.ARG1, high, true);
  x.view.setBigUint64(L.ARG2, 1n, true);
  return outcome;
}

function notStored(x: X87): Outcome {
  const outcome = x.finish();
  x.view.setBigUint64(L.ARG2, 0n, true);
  return outcome;
}

/** FST and FSTP to memory of 32 or 64 bits. */
function storeReal(view: DataView, pops: boolean): Outcome {
  const x = new X87(view);
  const single = operandKind(x) === OPERAND.single;
  const format: Format = single ? SINGLE : DOUBLE;
  const bits = (value: Real): bigint => (single ? BigInt(pack32(value)) : pack64(value));
  if (x.isEmpty(0)) {
    return x.underflow() ? stored(x, bits(INDEFINITE), 0n, pops) : notStored(x);
  }
  let value = x.get(0);
  if (value.kind === 'unsupported') {
    x.raise(IE);
    value = INDEFINITE;
  } else if (value.kind === 'nan') {
    if (isSignaling(value)) x.raise(IE);
    value = quiet(value);
  } else {
    value = rounded(value, format, x.rounding);
  }
  if (!x.stops(IE | OE | UE)) return stored(x, bits(value), 0n, pops);
  // Without a result neither inexactness nor its direction is reported.
  if (x.stops(OE | UE)) x.rounding.flags &= ~PE;
  return notStored(x);
}

/** FSTP to memory of 80 bits: as it is. */
function storeExtended(view: DataView): Outcome {
  const x = new X87(view);
  if (x.isEmpty(0)) {
    const { mantissa, signExponent } = pack80(INDEFINITE);
    return x.underflow() ? stored(x, mantissa, BigInt(signExponent), true) : notStored(x);
  }
  const [mantissa, signExponent] = x.bits(0);
  return stored(x, mantissa, BigInt(signExponent), true);
}

/** FSTP in D9: an empty ST(0) is only popped. */
function storeQuietly(view: DataView): Outcome {
  const x = new X87(view);
  if (!x.isEmpty(0)) x.setBits(operandRegister(x), ...x.bits(0));
  x.pop();
  return x.finish();
}

/** FST and FSTP to a register. */
function storeRegister(view: DataView, pops: boolean): Outcome {
  const x = new X87(view);
  const index = operandRegister(x);
  if (x.readable([0], index, pops ? 1 : 0)) {
    x.setBits(index, ...x.bits(0));
    if (pops) x.pop();
  }
  return x.finish();
}

const INTEGER_BITS: Readonly<Record<number, number>> = {
  [OPERAND.int16]: 16,
  [OPERAND.int32]: 32,
  [OPERAND.int64]: 64,
};

/** FIST, FISTP and FISTTP. */
function storeInteger(view: DataView, pops: boolean, truncates: boolean): Outcome {
  const x = new X87(view);
  const limit = 1n << BigInt(INTEGER_BITS[operandKind(x)] - 1);
  const all = limit * 2n - 1n;
  if (x.isEmpty(0)) return x.underflow() ? stored(x, limit, 0n, pops) : notStored(x);
  const value = x.get(0);
  const { rounding } = x;
  if (value.kind === 'zero') return stored(x, 0n, 0n, pops);
  if (value.kind === 'finite') {
    const result = toIntegral(value, truncates ? TRUNCATE : rounding.mode);
    if (result.value >= -limit && result.value < limit) {
      if (result.inexact) rounding.flags |= PE;
      rounding.roundedUp = result.up;
      return stored(x, result.value & all, 0n, pops);
    }
  }
  x.raise(IE);
  return x.stops(IE) ? notStored(x) : stored(x, limit, 0n, pops);
}

const DECIMAL_LIMIT = 10n ** 18n;
const DECIMAL_INDEFINITE = [0xc000000000000000n, 0xffffn] as const;

/** FBSTP. */
function storeDecimal(view: DataView): Outcome {
  const x = new X87(view);
  if (x.isEmpty(0)) return x.underflow() ? stored(x, ...DECIMAL_INDEFINITE, true) : notStored(x);
  const value = x.get(0);
  const sign = value.negative ? 0x8000n : 0n;
  if (value.kind === 'zero') return stored(x, 0n, sign, true);
  if (value.kind === 'finite') {
    const { rounding } = x;
    const { value: whole, inexact, up } = toIntegral(value, rounding.mode);
    const magnitude = whole < 0n ? -whole : whole;
    if (magnitude < DECIMAL_LIMIT) {
      if (inexact) rounding.flags |= PE;
      rounding.roundedUp = up;
      const digits = BigInt(`0x${magnitude.toString(10)}`);
      return stored(x, digits & 0xffffffffffffffffn, (digits >> 64n) | sign, true);
    }
  }
  x.raise(IE);
  return x.stops(IE) ? notStored(x) : stored(x, ...DECIMAL_INDEFINITE, true);
}

/** FXCH: an empty register becomes the indefinite NaN first. */
function exchange(view: DataView): Outcome {
  const x = new X87(view);
  const index = operandRegister(x);
  const empty = [0, index].filter((each) => x.isEmpty(each));
  if (empty.length > 0) {
    if (!x.underflow()) return x.finish();
    for (const each of empty) x.set(each, INDEFINITE);
  }
  const first = x.bits(0);
  x.setBits(0, ...x.bits(index));
  x.setBits(index, ...first);
  return x.finish();
}

/** FCMOVcc: the description says in ARG0 whether to move. */
function conditionalMove(view: DataView): Outcome {
  const x = new X87(view);
  const index = operandRegister(x);
  if (x.readable([0, index], 0) && view.getUint32(L.ARG0, true) !== 0) {
    x.setBits(0, ...x.bits(index));
  }
  x.keepC1();
  return x.finish();
}

/** Constants by RC: a significand with bits to spare, and an exponent of its leading bit. */
const CONSTANTS: Readonly<Record<string, { mantissa: bigint; exponent: number }>> = {
  FLD1: { mantissa: 1n << 127n, exponent: 0 },
  FLDL2T: { mantissa: 0xd49a784bcd1b8afe492bf6ff4dafdb4cn, exponent: 1 },
  FLDL2E: { mantissa: 0xb8aa3b295c17f0bbbe87fed0691d3e89n, exponent: 0 },
  FLDPI: { mantissa: 0xc90fdaa22168c234c4c6628b80dc1cd1n, exponent: 1 },
  FLDLG2: { mantissa: 0x9a209a84fbcff7988f8959ac0b7c9178n, exponent: -2 },
  FLDLN2: { mantissa: 0xb17217f7d1cf79abc9e3b39803f2f6afn, exponent: -1 },
  FLDZ: { mantissa: 0n, exponent: 0 },
};

/** Rounded by RC, with no flag. */
function constant(view: DataView, name: string): Outcome {
  const x = new X87(view);
  if (!x.pushable()) return x.finish();
  const { mantissa, exponent } = CONSTANTS[name];
  x.top = x.top - 1;
  if (mantissa === 0n) {
    x.setBits(0, 0n, 0);
  } else {
    const { mode } = x.rounding;
    const towards = mode === NEAREST || mode === UP ? mode : mode === DOWN ? DOWN : TRUNCATE;
    const cut = cutBits(mantissa, 64, mantissa !== 1n << 127n, false, towards);
    x.setBits(0, cut.mantissa, 16383 + exponent);
  }
  return x.finish();
}

/** FINCSTP and FDECSTP. */
function turn(view: DataView, by: number): Outcome {
  const x = new X87(view);
  x.top = x.top + by;
  return x.finish();
}

/** FFREE and FFREEP. */
function free(view: DataView, pops: boolean): Outcome {
  const x = new X87(view);
  x.setEmpty(operandRegister(x), true);
  if (pops) x.pop();
  return x.finish();
}

export const x87Transfer: Readonly<Record<string, (view: DataView) => Outcome>> = {
  x87FLD: load,
  x87FLDST: loadRegister,
  x87FST: (view) => storeReal(view, false),
  x87FSTP: (view) => storeReal(view, true),
  x87FSTPT: storeExtended,
  x87FSTST: (view) => storeRegister(view, false),
  x87FSTPST: (view) => storeRegister(view, true),
  x87FSTP1: storeQuietly,
  x87FIST: (view) => storeInteger(view, false, false),
  x87FISTP: (view) => storeInteger(view, true, false),
  x87FISTTP: (view) => storeInteger(view, true, true),
  x87FBSTP: storeDecimal,
  x87FXCH: exchange,
  x87FCMOV: conditionalMove,
  x87FINCSTP: (view) => turn(view, 1),
  x87FDECSTP: (view) => turn(view, -1),
  x87FFREE: (view) => free(view, false),
  x87FFREEP: (view) => free(view, true),
  ...Object.fromEntries(
    Object.keys(CONSTANTS).map((name) => [`x87${name}`, (view: DataView) => constant(view, name)]),
  ),
};
