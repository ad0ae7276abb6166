/**
 * Conversions between integers and floats, and between float formats. AMD APM vol. 4, chapter 2;
 * vol. 5, chapter 2 for those on MMX registers.
 */
import * as L from '../../cpu/layout.js';
import { PE } from '../../fpu/real.js';
import { SLOW_RESULT, SLOW_SOURCE } from '../../fpu/vector-operation.js';
import type { SlowOperation } from '../../fpu/vector-slow.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import { decide, Lanes, slowCall } from '../float-emitter.js';
import {
  checkMmx,
  checkSse,
  enterMmx,
  part,
  setMmx,
  setPart,
  setVector,
  vector,
  vop,
} from '../vector-emitter.js';

const always = (x: Emitter) => (): Value => x.i32(1);

/** Calls the slow path of a conversion; `source` is stored by `name`. */
function slow(
  x: Emitter,
  operation: SlowOperation,
  double: boolean,
  lanes: number,
  source: readonly [name: string, value: Value],
  truncate = false,
): void {
  slowCall(x, {
    operation,
    double,
    lanes,
    immediate: x.i32(truncate ? 1 : 0),
    operands: [[...source, SLOW_SOURCE]],
  });
}

/** Whether a (not zero) has more than `bits` significant bits: it will not convert exactly. */
function tooLong(x: Emitter, a: Value, bits: number): Value {
  const magnitude = x.select(x.ltS(a, x.i64(0)), x.negate(a), a);
  const length = x.sub(x.sub(x.i64(64), x.clz(magnitude)), x.ctz(magnitude));
  return x.gtS(length, x.i64(bits));
}

/** Scalar, from a general register or memory. */
for (const [name, double] of [
  ['CVTSI2SS', false],
  ['CVTSI2SD', true],
] as const) {
  define(name, { hot: double }, (x) => {
    checkSse(x);
    const type = double ? 'f64' : 'f32';
    const value = x.operand(1);
    const result = x.variable(x.code.op(`${type}.convert_i64_s`, value));
    if (!double || x.sizeOf(1) === 64) {
      const inexact = (): Value => tooLong(x, value, double ? 53 : 24);
      decide(x, { fine: x.i32(1), trusted: always(x), inexact }, () => {
        slow(x, 'FROM_INT64', double, 1, ['i64.store', value]);
        x.set(result, x.stateAs(`${type}.load`, SLOW_RESULT));
      });
    }
    setPart(x, 0, `${type}.store`, result);
  });
}

/** Scalar, to a general register. */
for (const [suffix, double] of [
  ['SS', false],
  ['SD', true],
] as const) {
  for (const truncate of [false, true]) {
    define(
      `CVT${truncate ? 'T' : ''}${suffix}2SI`,
      { access: 'w', hot: double && truncate },
      (x) => {
        checkSse(x);
        const lanes = new Lanes(x, double, false);
        const type = double ? 'f64' : 'f32';
        const size = x.sizeOf(0);
        const source = lanes.operand(1);
        const integral = x.code.op(`${type}.${truncate ? 'trunc' : 'nearest'}`, source);
        const limit = 2 ** (size - 1);
        // Denormals are left to the slow path: DAZ makes them exact zeros.
        const inside = x.and(
          lanes.op('ge', integral, lanes.constant(-limit)),
          lanes.op('lt', integral, lanes.constant(limit)),
        );
        const fine = x.and(inside, lanes.benign(source));
        const number = x.code.truncSat(`i${size}.${type}_s`, integral);
        const wide = size === 64 ? number : x.code.op('i64.extend_i32_s', number);
        const result = x.variable(wide);
        const inexact = (): Value => lanes.op('ne', integral, source);
        const decision = { fine, trusted: always(x), inexact };
        decideConversion(x, decision, truncate, () => {
          const operation = size === 64 ? 'TO_INT64' : 'TO_INT32';
          slow(x, operation, double, 1, [lanes.store, source], truncate);
          x.set(
            result,
            size === 64 ? x.state64(SLOW_RESULT) : x.stateAs('i64.load32_s', SLOW_RESULT),
          );
        });
        x.setOperand(0, result);
      },
    );
  }
}

/** Truncation does not look at the rounding mode. */
function decideConversion(
  x: Emitter,
  decision: Parameters<typeof decide>[1],
  truncate: boolean,
  slowPath: () => void,
): void {
  if (!truncate) {
    decide(x, decision, slowPath);
    return;
  }
  const mxcsr = x.state32(L.MXCSR);
  const masked = x.ne(x.and(mxcsr, x.i32(PE << 7)), x.i32(0));
  x.if(
    x.and(decision.fine, masked),
    () => x.setState32(L.MXCSR, x.or(mxcsr, x.shl(decision.inexact(), x.i32(5)))),
    slowPath,
  );
}

/** Between float formats, scalar. Widening never rounds. */
define('CVTSS2SD', {}, (x) => {
  checkSse(x);
  const lanes = new Lanes(x, false, false);
  const source = lanes.operand(1);
  const result = x.variable(x.code.op('f64.promote_f32', source));
  x.if(x.eqz(lanes.benign(source)), () => {
    slow(x, 'FLOAT_TO_FLOAT', false, 1, ['f32.store', source]);
    x.set(result, x.stateAs('f64.load', SLOW_RESULT));
  });
  setPart(x, 0, 'f64.store', result);
});
define('CVTSD2SS', {}, (x) => {
  checkSse(x);
  const source = new Lanes(x, true, false);
  const target = new Lanes(x, false, false);
  const value = source.operand(1);
  const result = x.variable(x.code.op('f32.demote_f64', value));
  const known = x.or(target.normal(result), source.isZero(value));
  const fine = x.and(known, source.benign(value));
  const inexact = (): Value => x.code.op('f64.ne', x.code.op('f64.promote_f32', result), value);
  decide(x, { fine, trusted: always(x), inexact }, () => {
    slow(x, 'FLOAT_TO_FLOAT', true, 1, ['f64.store', value]);
    x.set(result, x.stateAs('f32.load', SLOW_RESULT));
  });
  setPart(x, 0, 'f32.store', result);
});

/** Two lanes of a narrow operand checked as if the others were the same. */
function lowTwice(x: Emitter, value: Value): Value {
  return x.code.shuffle(value, value, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]);
}

define('CVTPS2PD', { access: 'w' }, (x) => {
  checkSse(x);
  const lanes = new Lanes(x, false, true);
  const source = lowTwice(x, vector(x, 1));
  const result = x.variable(vop(x, 'f64x2.promote_low_f32x4', source));
  x.if(x.eqz(lanes.all(lanes.benign(source))), () => {
    slow(x, 'FLOAT_TO_FLOAT', false, 2, ['v128.store', source]);
    x.set(result, x.stateAs('v128.load', SLOW_RESULT));
  });
  setVector(x, 0, result);
});
define('CVTPD2PS', { access: 'w' }, (x) => {
  checkSse(x);
  const doubles = new Lanes(x, true, true);
  const singles = new Lanes(x, false, true);
  const source = vector(x, 1);
  const result = x.variable(vop(x, 'f32x4.demote_f64x2_zero', source));
  const both = lowTwice(x, result);
  // Zeros are fine only when the source is zero: compare as doubles.
  const back = vop(x, 'f64x2.promote_low_f32x4', result);
  const zeros = doubles.all(
    doubles.or(doubles.isZero(source), doubles.op('ne', back, doubles.constant(0))),
  );
  const known = singles.all(singles.or(singles.normal(both), singles.isZero(both)));
  const fine = x.and(x.and(known, zeros), doubles.all(doubles.benign(source)));
  const inexact = (): Value => doubles.any(doubles.op('ne', back, source));
  decide(x, { fine, trusted: always(x), inexact }, () => {
    slow(x, 'FLOAT_TO_FLOAT', true, 2, ['v128.store', source]);
    x.set(result, x.stateAs('v128.load', SLOW_RESULT));
  });
  setVector(x, 0, result);
});

/** Doublewords to floats. */
function singlesOf(x: Emitter, source: Value, lanes: number): Value {
  const result = x.variable(vop(x, 'f32x4.convert_i32x4_s', source));
  const inexact = (): Value => {
    // Back again: what saturates was rounded up to 2^31.
    const back = vop(x, 'i32x4.trunc_sat_f32x4_s', result);
    const floats = new Lanes(x, false, true);
    const large = floats.op('ge', result, floats.constant(2 ** 31));
    return x.code.op('v128.any_true', vop(x, 'v128.or', vop(x, 'i32x4.ne', back, source), large));
  };
  decide(x, { fine: x.i32(1), trusted: always(x), inexact }, () => {
    slow(x, 'FROM_INT32', false, lanes, ['v128.store', source]);
    x.set(result, x.stateAs('v128.load', SLOW_RESULT));
  });
  return result;
}

define('CVTDQ2PS', { access: 'w' }, (x) => {
  checkSse(x);
  setVector(x, 0, singlesOf(x, vector(x, 1), 4));
});
define('CVTDQ2PD', { access: 'w' }, (x) => {
  checkSse(x);
  setVector(x, 0, vop(x, 'f64x2.convert_low_i32x4_s', vector(x, 1)));
});

/** Floats to doublewords: `lanes` of the source count; the rest of the result is zero. */
function integersOf(
  x: Emitter,
  source: Value,
  double: boolean,
  lanes: number,
  truncate: boolean,
): Value {
  const floats = new Lanes(x, double, true);
  const integral = floats.op(truncate ? 'trunc' : 'nearest', source);
  const inside = floats.and(
    floats.op('ge', integral, floats.constant(-(2 ** 31))),
    floats.op('lt', integral, floats.constant(2 ** 31)),
  );
  const fine = floats.all(floats.and(inside, floats.benign(source)));
  const name = double ? 'i32x4.trunc_sat_f64x2_s_zero' : 'i32x4.trunc_sat_f32x4_s';
  const result = x.variable(vop(x, name, integral));
  const inexact = (): Value => floats.any(floats.op('ne', integral, source));
  decideConversion(x, { fine, trusted: always(x), inexact }, truncate, () => {
    slow(x, 'TO_INT32', double, lanes, ['v128.store', source], truncate);
    x.set(result, x.stateAs('v128.load', SLOW_RESULT));
  });
  return result;
}

for (const truncate of [false, true]) {
  const t = truncate ? 'T' : '';
  define(`CVT${t}PS2DQ`, { access: 'w' }, (x) => {
    checkSse(x);
    setVector(x, 0, integersOf(x, vector(x, 1), false, 4, truncate));
  });
  define(`CVT${t}PD2DQ`, { access: 'w' }, (x) => {
    checkSse(x);
    setVector(x, 0, integersOf(x, vector(x, 1), true, 2, truncate));
  });
  // To MMX registers.
  for (const [suffix, double] of [
    ['PS', false],
    ['PD', true],
  ] as const) {
    define(`CVT${t}${suffix}2PI`, { access: 'w' }, (x) => {
      checkSse(x);
      checkMmx(x);
      const source = double ? vector(x, 1) : lowTwice(x, vector(x, 1));
      // The state changes even if a floating-point exception follows.
      enterMmx(x);
      const result = integersOf(x, source, double, 2, truncate);
      setMmx(x, 0, x.code.lane('i64x2.extract_lane', 0, result));
    });
  }
}

/** From MMX registers or memory: the forms with memory leave the x87 state alone. */
define('CVTPI2PS', {}, (x) => {
  checkSse(x);
  const mmx = x.kindOf(1) === 'x';
  if (mmx) checkMmx(x);
  const source = vop(x, 'i64x2.splat', part(x, 1, 'i64.load'));
  if (mmx) enterMmx(x);
  const result = singlesOf(x, source, 2);
  setPart(x, 0, 'i64.store', x.code.lane('i64x2.extract_lane', 0, result));
});
define('CVTPI2PD', { access: 'w' }, (x) => {
  checkSse(x);
  const mmx = x.kindOf(1) === 'x';
  if (mmx) checkMmx(x);
  setVector(x, 0, vop(x, 'f64x2.convert_low_i32x4_s', vector(x, 1)));
  if (mmx) enterMmx(x);
});
