/**
 * ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD: to integral values, by a mode in the immediate or MXCSR's.
 * AMD APM vol. 4, chapter 2.
 */
import * as L from '../../cpu/layout.js';
import { PE } from '../../fpu/real.js';
import { SLOW_RESULT, SLOW_SOURCE } from '../../fpu/vector-operation.js';
import { define } from '../define.js';
import type { Value } from '../emitter.js';
import { Lanes, slowCall } from '../float-emitter.js';
import { checkSse, setPart, setVector } from '../vector-emitter.js';

for (const [suffix, double, packed] of [
  ['PS', false, true],
  ['PD', true, true],
  ['SS', false, false],
  ['SD', true, false],
] as const) {
  define(`ROUND${suffix}`, { access: packed ? 'w' : 'rw' }, (x) => {
    checkSse(x);
    const lanes = new Lanes(x, double, packed);
    const source = lanes.operand(1);
    const immediate = x.wrap(x.immediate(2, false));
    const mxcsr = x.state32(L.MXCSR);
    const current = x.and(x.shrU(mxcsr, x.i32(13)), x.i32(3));
    const fixed = x.and(immediate, x.i32(3));
    const mode = x.select(x.and(immediate, x.i32(4)), current, fixed);
    const is = (number: number): Value => x.eq(mode, x.i32(number));
    const directed = x.select(is(2), lanes.op('ceil', source), lanes.op('trunc', source));
    const downward = x.select(is(1), lanes.op('floor', source), directed);
    const result = x.variable(x.select(is(0), lanes.op('nearest', source), downward));
    const masked = x.and(mxcsr, x.i32(PE << 7));
    const fine = x.and(lanes.all(lanes.benign(source)), x.ne(masked, x.i32(0)));
    x.if(
      fine,
      () => {
        const inexact = lanes.any(lanes.op('ne', result, source));
        const shown = x.andNot(inexact, x.shrU(immediate, x.i32(3)));
        x.setState32(L.MXCSR, x.or(mxcsr, x.shl(shown, x.i32(5))));
      },
      () => {
        slowCall(x, {
          operation: 'ROUND',
          double,
          lanes: lanes.count,
          immediate,
          operands: [[lanes.store, source, SLOW_SOURCE]],
        });
        x.set(result, x.stateAs(lanes.load, SLOW_RESULT));
      },
    );
    if (packed) setVector(x, 0, result);
    else setPart(x, 0, lanes.store, result);
  });
}
