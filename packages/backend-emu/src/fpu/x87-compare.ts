/**
 * x87 comparison and classification.
 *
 * Source: AMD APM vol. 5, chapter 2 (FCOM, FCOMI, FTST, FUCOM, FXAM).
 */
import * as L from '../cpu/layout.js';
import type { Outcome } from '../system/outcome.js';
import { order } from './arithmetic.js';
import { DE, IE, isSignaling } from './real.js';
import {
  memoryOperand,
  noteDenormals,
  OPERAND,
  operandKind,
  operandRegister,
} from './x87-operand.js';
import { X87 } from './x87-state.js';

/** Compares and sets the condition codes. */
function compare(view: DataView, quietly: boolean, pops: number): Outcome {
  const x = new X87(view);
  const isRegister = operandKind(x) === OPERAND.register;
  const register = isRegister ? operandRegister(x) : 0;
  x.setRelation(relate(x, isRegister ? register : -1, quietly));
  if (!x.stops(IE | DE)) for (let i = 0; i < pops; i++) x.pop();
  return x.finish();
}

/** 0 greater, 1 less, 2 equal, 3 unordered: unmasked exceptions do not withhold it. */
function relate(x: X87, register: number, quietly: boolean): number {
  const empty = x.isEmpty(0) || (register >= 0 && x.isEmpty(register));
  if (empty) {
    x.underflow();
    return 3;
  }
  const a = x.get(0);
  const b = register >= 0 ? x.get(register) : memoryOperand(x);
  const unsupported = a.kind === 'unsupported' || b.kind === 'unsupported';
  if (unsupported || a.kind === 'nan' || b.kind === 'nan') {
    if (unsupported || !quietly || isSignaling(a) || isSignaling(b)) x.raise(IE);
    return 3;
  }
  noteDenormals(x, a, b);
  const result = order(a, b);
  return result > 0 ? 0 : result < 0 ? 1 : 2;
}

/** FCOMI and FUCOMI: the relation goes to ARG0 for the description. */
function compareFlags(view: DataView, quietly: boolean, pops: boolean): Outcome {
  const x = new X87(view);
  const relation = relate(x, operandRegister(x), quietly);
  if (pops && !x.stops(IE | DE)) x.pop();
  x.keepC1();
  const outcome = x.finish();
  view.setBigUint64(L.ARG0, BigInt(relation), true);
  return outcome;
}

/** FTST: against zero. */
function test(view: DataView): Outcome {
  view.setBigUint64(L.ARG0, BigInt(OPERAND.int32), true);
  view.setBigUint64(L.ARG1, 0n, true);
  const x = new X87(view);
  x.setRelation(relate(x, -1, false));
  return x.finish();
}

/** FXAM: class of ST(0) in C3, C2, C0, sign in C1. */
function examine(view: DataView): Outcome {
  const x = new X87(view);
  const [mantissa, signExponent] = x.bits(0);
  x.setC1((signExponent & 0x8000) !== 0);
  if (x.isEmpty(0)) {
    x.setCodes(true, false, true);
    return x.finish();
  }
  const { kind, denormal } = x.get(0);
  const c0 = kind === 'nan' || kind === 'infinity';
  const c2 = kind === 'finite' || kind === 'infinity';
  const c3 = kind === 'zero' || denormal;
  x.setCodes(c3, c2 && mantissa !== 0n, c0);
  return x.finish();
}

export const x87Comparison: Readonly<Record<string, (view: DataView) => Outcome>> = {
  x87FCOM: (view) => compare(view, false, 0),
  x87FCOMP: (view) => compare(view, false, 1),
  x87FCOMPP: (view) => compare(view, false, 2),
  x87FUCOM: (view) => compare(view, true, 0),
  x87FUCOMP: (view) => compare(view, true, 1),
  x87FUCOMPP: (view) => compare(view, true, 2),
  x87FCOMI: (view) => compareFlags(view, false, false),
  x87FCOMIP: (view) => compareFlags(view, false, true),
  x87FUCOMI: (view) => compareFlags(view, true, false),
  x87FUCOMIP: (view) => compareFlags(view, true, true),
  x87FTST: test,
  x87FXAM: examine,
};
