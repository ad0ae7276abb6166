/**
 * RCP and RSQRT, and MXCSR itself. AMD APM vol. 4, chapter 2.
 *
 * The approximations are the nearest single-precision numbers, well within the manuals' error bound
 * of 1.5 * 2^-12; processors give different bits.
 */
import * as L from '../../cpu/layout.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import { Lanes } from '../float-emitter.js';
import { checkSse, setPart, setVector, splat, vector, vop } from '../vector-emitter.js';

const SIGN = 0x80000000n;

/** Denormals count as zeros, in the operand and in the result. */
function flushed(x: Emitter, value: Value): Value {
  const lanes = new Lanes(x, false, true);
  const tiny = lanes.op('lt', lanes.op('abs', value), lanes.constant(2 ** -126));
  const signed = vop(x, 'v128.and', value, splat(x, 32, SIGN));
  return vop(x, 'v128.bitselect', signed, value, tiny);
}

function approximate(x: Emitter, source: Value, compute: (lanes: Lanes, a: Value) => Value): Value {
  const lanes = new Lanes(x, false, true);
  const result = flushed(x, compute(lanes, flushed(x, source)));
  const nan = lanes.op('ne', source, source);
  const quiet = vop(x, 'v128.or', source, splat(x, 32, 0x400000n));
  return vop(x, 'v128.bitselect', quiet, result, nan);
}

const APPROXIMATIONS = {
  RCP: (lanes: Lanes, a: Value): Value => lanes.op('div', lanes.constant(1), a),
  RSQRT: (lanes: Lanes, a: Value): Value => {
    const { x } = lanes;
    const result = lanes.op('div', lanes.constant(1), lanes.op('sqrt', a));
    const negative = lanes.op('lt', a, lanes.constant(0));
    return vop(x, 'v128.bitselect', splat(x, 32, 0xffc00000n), result, negative);
  },
} as const;

for (const name of ['RCP', 'RSQRT'] as const) {
  define(`${name}PS`, { access: 'w' }, (x) => {
    checkSse(x);
    setVector(x, 0, approximate(x, vector(x, 1), APPROXIMATIONS[name]));
  });
  define(`${name}SS`, {}, (x) => {
    checkSse(x);
    const result = approximate(x, vector(x, 1), APPROXIMATIONS[name]);
    setPart(x, 0, 'i32.store', x.code.lane('i32x4.extract_lane', 0, result));
  });
}

/** Bits that MXCSR has: MXCSR_MASK without misaligned mode. */
const MXCSR_BITS = 0xffff;

define('LDMXCSR', { access: 'r' }, (x) => {
  checkSse(x);
  const value = x.wrap(x.load(x.address(0), 32, false));
  x.if(x.and(value, x.i32(~MXCSR_BITS)), () => x.raise(13, 0));
  x.setState32(L.MXCSR, value);
});
define('STMXCSR', { access: 'w' }, (x) => {
  checkSse(x);
  x.store(x.address(0), x.widen(x.state32(L.MXCSR)), 32);
});
