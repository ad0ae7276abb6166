/**
 * Floating-point arithmetic and comparison. AMD APM vol. 4, chapter 2.
 */
import { SLOW_RESULT } from '../../fpu/vector-operation.js';
import type { SlowOperation } from '../../fpu/vector-slow.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import { decide, Lanes, slowLanes } from '../float-emitter.js';
import { checkSse, setPart, setVector, splat, vop } from '../vector-emitter.js';

/** Suffix, double, packed. */
const SHAPES = [
  ['PS', false, true],
  ['PD', true, true],
  ['SS', false, false],
  ['SD', true, false],
] as const;

const HOT = new Set(['ADDSD', 'SUBSD', 'MULSD', 'DIVSD', 'ADDPD', 'MULPD', 'UCOMISD', 'COMISD']);

function setLanes(lanes: Lanes, value: Value): void {
  if (lanes.packed) setVector(lanes.x, 0, value);
  else setPart(lanes.x, 0, lanes.store, value);
}

interface Arithmetic {
  readonly operation: SlowOperation;
  readonly result: (lanes: Lanes, a: Value, b: Value) => Value;
  /** Mask: a result of zero is exact. */
  readonly zero: (lanes: Lanes, a: Value, b: Value, result: Value) => Value;
  readonly inexact: (lanes: Lanes, a: Value, b: Value, result: Value) => Value;
}

const sum = (lanes: Lanes, a: Value, b: Value, result: Value): Value =>
  lanes.op('ne', lanes.sumError(a, b, result), lanes.constant(0));

const ADD: Arithmetic = {
  operation: 'ADD',
  result: (lanes, a, b) => lanes.op('add', a, b),
  zero: (lanes, _a, _b, result) => lanes.isZero(result),
  inexact: sum,
};
const SUB: Arithmetic = {
  operation: 'SUB',
  result: (lanes, a, b) => lanes.op('sub', a, b),
  zero: (lanes, _a, _b, result) => lanes.isZero(result),
  inexact: (lanes, a, b, result) => sum(lanes, a, lanes.op('neg', b), result),
};
const MUL: Arithmetic = {
  operation: 'MUL',
  result: (lanes, a, b) => lanes.op('mul', a, b),
  zero: (lanes, a, b, result) =>
    lanes.and(lanes.isZero(result), lanes.or(lanes.isZero(a), lanes.isZero(b))),
  inexact: (lanes, a, b, result) => lanes.isNotProduct(a, b, result),
};
const DIV: Arithmetic = {
  operation: 'DIV',
  result: (lanes, a, b) => lanes.op('div', a, b),
  zero: (lanes, a, _b, result) => lanes.and(lanes.isZero(result), lanes.isZero(a)),
  inexact: (lanes, a, b, result) => lanes.isNotProduct(result, b, a),
};

/** An operation on lanes, its result not yet stored. */
function arithmetic(lanes: Lanes, how: Arithmetic, a: Value, b: Value): Value {
  const { x } = lanes;
  const result = x.variable(how.result(lanes, a, b));
  const known = lanes.or(lanes.normal(result), how.zero(lanes, a, b, result));
  const fine = lanes.all(lanes.and(known, lanes.and(lanes.benign(a), lanes.benign(b))));
  const trusted = (): Value =>
    lanes.all(lanes.and(lanes.moderate(result), lanes.and(lanes.moderate(a), lanes.moderate(b))));
  const inexact = (): Value => lanes.any(how.inexact(lanes, a, b, result));
  decide(x, { fine, trusted, inexact }, () => {
    x.set(result, slowLanes(lanes, how.operation, a, b));
  });
  return result;
}

for (const [suffix, double, packed] of SHAPES) {
  for (const [name, how] of [
    ['ADD', ADD],
    ['SUB', SUB],
    ['MUL', MUL],
    ['DIV', DIV],
  ] as const) {
    define(`${name}${suffix}`, { hot: HOT.has(`${name}${suffix}`) }, (x) => {
      checkSse(x);
      const lanes = new Lanes(x, double, packed);
      const b = lanes.operand(1);
      setLanes(lanes, arithmetic(lanes, how, lanes.operandAt(0), b));
    });
  }
}

for (const [suffix, double, packed] of SHAPES) {
  define(`SQRT${suffix}`, {}, (x) => {
    checkSse(x);
    const lanes = new Lanes(x, double, packed);
    const b = lanes.operand(1);
    const result = x.variable(lanes.op('sqrt', b));
    const known = lanes.or(lanes.normal(result), lanes.isZero(b));
    const fine = lanes.all(lanes.and(known, lanes.benign(b)));
    const trusted = (): Value => lanes.all(lanes.moderate(b));
    const inexact = (): Value => lanes.any(lanes.isNotProduct(result, result, b));
    decide(x, { fine, trusted, inexact }, () => {
      x.set(result, slowLanes(lanes, 'SQRT', null, b));
    });
    setLanes(lanes, result);
  });
}

/** MIN and MAX take the source for NaNs and equal operands; they never round. */
for (const [suffix, double, packed] of SHAPES) {
  for (const name of ['MIN', 'MAX'] as const) {
    define(`${name}${suffix}`, {}, (x) => {
      checkSse(x);
      const lanes = new Lanes(x, double, packed);
      const b = lanes.operand(1);
      const a = lanes.operandAt(0);
      const fine = lanes.all(lanes.and(lanes.benign(a), lanes.benign(b)));
      const result = packed
        ? lanes.op(name === 'MIN' ? 'pmin' : 'pmax', b, a)
        : x.select(lanes.op(name === 'MIN' ? 'lt' : 'gt', a, b), a, b);
      const chosen = x.variable(result);
      x.if(x.eqz(fine), () => x.set(chosen, slowLanes(lanes, name, a, b)));
      setLanes(lanes, chosen);
    });
  }
}

/** Masks of CMPxx by predicate, for operands that are not NaN. */
function compared(lanes: Lanes, a: Value, b: Value, predicate: Value): Value {
  const { x } = lanes;
  const kind = x.and(predicate, x.i32(3));
  const is = (number: number): Value => x.eq(kind, x.i32(number));
  const never = lanes.packed ? splat(x, 64, 0n) : x.i32(0);
  const order = x.select(is(1), lanes.op('lt', a, b), lanes.op('le', a, b));
  const unordered = x.select(is(3), never, order);
  const positive = x.select(is(0), lanes.op('eq', a, b), unordered);
  const opposite = x.and(x.shrU(predicate, x.i32(2)), x.i32(1));
  if (!lanes.packed) return x.negate(x.xor(positive, opposite));
  return vop(x, 'v128.xor', positive, vop(x, 'i32x4.splat', x.negate(opposite)));
}

for (const [suffix, double, packed] of SHAPES) {
  define(`CMP${suffix}`, {}, (x) => {
    checkSse(x);
    const lanes = new Lanes(x, double, packed);
    const b = lanes.operand(1);
    const a = lanes.operandAt(0);
    const predicate = x.wrap(x.immediate(2, false));
    const fine = lanes.all(lanes.and(lanes.benign(a), lanes.benign(b)));
    const slow = (): void => {
      slowLanes(lanes, 'CMP', a, b, predicate);
    };
    if (packed) {
      const result = x.variable(compared(lanes, a, b, predicate));
      x.if(x.eqz(fine), () => {
        slow();
        x.set(result, x.stateAs('v128.load', SLOW_RESULT));
      });
      setVector(x, 0, result);
      return;
    }
    const result = x.variable(compared(lanes, a, b, predicate));
    x.if(x.eqz(fine), () => {
      slow();
      x.set(result, x.state32(SLOW_RESULT));
    });
    const wide = x.code.op('i64.extend_i32_s', result);
    setPart(x, 0, double ? 'i64.store' : 'i64.store32', wide);
  });
}

/**
 * ZF, PF and CF from 0 greater, 1 less, 2 equal, 3 unordered; OF, SF and AF are cleared. Parity is
 * odd (PF clear) but for unordered.
 */
function setRelation(x: Emitter, relation: Value): void {
  const zero = x.shrU(relation, x.i32(1));
  const carry = x.and(relation, x.i32(1));
  const equal = x.eq(relation, x.i32(2));
  const result = x.widen(x.eqz(zero));
  const carries = x.select(carry, x.i64(-(1n << 62n)), x.i64(0));
  x.setFlagWords(result, carries, x.shl(x.widen(equal), x.i64(8)));
}

for (const [suffix, double] of [
  ['SS', false],
  ['SD', true],
] as const) {
  for (const name of ['COMI', 'UCOMI'] as const) {
    const options = { access: 'r', hot: HOT.has(`${name}${suffix}`) } as const;
    define(`${name}${suffix}`, options, (x) => {
      checkSse(x);
      const lanes = new Lanes(x, double, false);
      const b = lanes.operand(1);
      const a = lanes.operandAt(0);
      const fine = x.and(lanes.benign(a), lanes.benign(b));
      const equal = x.shl(lanes.op('eq', a, b), x.i32(1));
      const relation = x.variable(x.or(lanes.op('lt', a, b), equal));
      x.if(x.eqz(fine), () => {
        slowLanes(lanes, name, a, b);
        x.set(relation, x.state32(SLOW_RESULT));
      });
      setRelation(x, relation);
    });
  }
}

/** Subtract in even lanes, add in odd ones. */
for (const [suffix, double] of [
  ['PS', false],
  ['PD', true],
] as const) {
  const signs: [bigint, bigint] = double ? [1n << 63n, 0n] : [1n << 31n, 1n << 31n];
  define(`ADDSUB${suffix}`, {}, (x) => {
    checkSse(x);
    const lanes = new Lanes(x, double, true);
    const b = lanes.operand(1);
    const a = lanes.operandAt(0);
    const flipped = vop(x, 'v128.xor', b, x.code.v128(...signs));
    const alternating: Arithmetic = {
      ...ADD,
      operation: 'ADDSUB',
      result: () => lanes.op('add', a, flipped),
      inexact: (_, _a, _b, result) => sum(lanes, a, flipped, result),
    };
    setLanes(lanes, arithmetic(lanes, alternating, a, b));
  });
}

/** Horizontal forms: the even lanes of both operands against the odd ones. */
for (const [suffix, double] of [
  ['PS', false],
  ['PD', true],
] as const) {
  const bytes = double ? 8 : 4;
  const lanesFrom = (odd: number): number[] => {
    const result: number[] = [];
    for (let at = odd * bytes; at < 32; at += 2 * bytes) {
      for (let byte = 0; byte < bytes; byte++) result.push(at + byte);
    }
    return result;
  };
  for (const [name, how] of [
    ['HADD', ADD],
    ['HSUB', SUB],
  ] as const) {
    define(`${name}${suffix}`, {}, (x) => {
      checkSse(x);
      const lanes = new Lanes(x, double, true);
      const b = lanes.operand(1);
      const a = lanes.operandAt(0);
      const even = x.code.shuffle(a, b, lanesFrom(0));
      const odd = x.code.shuffle(a, b, lanesFrom(1));
      setLanes(lanes, arithmetic(lanes, how, even, odd));
    });
  }
}
