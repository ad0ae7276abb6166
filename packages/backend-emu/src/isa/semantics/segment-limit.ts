/**
 * LSL. A segment of the GDT that 64-bit code at CPL 0 asks about (Linux, for the number of its CPU,
 * at the beginning of each #VC and NMI) is read in emitted code; every other case, and whatever is
 * not to be seen, is left to `system/segments.ts`.
 *
 * Source: AMD APM vol. 3, LSL.
 */
import * as L from '../../cpu/layout.js';
import { MODE_64 } from '../../cpu/mode.js';
import { define } from '../define.js';
import type { Emitter, Label, Value } from '../emitter.js';
import * as D from './descriptor.js';

/** The limit (i32) of the segment that `selector` (i32) names. */
function plainLimit(x: Emitter, selector: Value, unusual: Label): Value {
  x.code.brIf(x.ne(x.state32(L.MODE), x.i32(MODE_64)), unusual);
  const otherTlb = x.ne(x.state32(L.TLB), x.i32(L.TLB_SUPERVISOR));
  x.code.brIf(x.or(x.state32(L.CPL), otherTlb), unusual);
  const descriptor = D.readDescriptor(x, selector, unusual);
  x.code.brIf(x.eqz(x.and(descriptor.hi, x.i32(D.S))), unusual);
  const level = x.and(x.shrU(descriptor.hi, x.i32(D.DPL_SHIFT)), x.i32(3));
  x.code.brIf(x.ltU(level, x.and(selector, x.i32(3))), unusual);
  return D.limitOf(x, descriptor);
}

define('LSL', { access: 'rw' }, (x) => {
  const selector = x.operandU(1);
  const limit = x.variable(x.i64(0));
  const found = x.variable(x.i32(0));
  x.code.block((unusual) =>
    x.code.scope(() => {
      x.set(limit, x.widen(plainLimit(x, x.wrap(selector), unusual)));
      x.set(found, x.i32(1));
    }),
  );
  x.if(
    found,
    () => {
      x.setOperand(0, limit);
      x.setZero(x.i32(1));
    },
    () =>
      x.system('lsl', [selector, x.i64(x.size >> 3)], () =>
        x.if(x.flag('ZF'), () => x.setOperand(0, x.systemResult())),
      ),
  );
});
