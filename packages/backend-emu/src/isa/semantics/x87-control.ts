/**
 * x87 control: initialisation, control and status words. AMD APM vol. 5, chapter 2.
 */
import * as L from '../../cpu/layout.js';
import { TRAP } from '../../fpu/traps.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const VECTOR_NM = 7;
const VECTOR_MF = 16;
const ES_AND_BUSY = 0x8080;
const EXCEPTIONS = 0x3f;

function trap(x: Emitter, bits: number, vector: number): void {
  x.if(x.and(x.state32(L.FPU_TRAPS), x.i32(bits)), () => x.raise(vector));
}

/** #NM for x87 instructions; `waiting` ones also report an unmasked exception that is pending. */
export function x87Ready(x: Emitter, waiting: boolean): void {
  trap(x, TRAP.x87Unavailable, VECTOR_NM);
  if (waiting) trap(x, TRAP.x87Pending, VECTOR_MF);
}

function half(x: Emitter, offset: number): Value {
  return x.stateAs('i32.load16_u', offset);
}

function setHalf(x: Emitter, offset: number, value: Value): void {
  x.code.store('i32.store16', x.cpu, value, offset);
}

/** Makes ES, B and what waiting instructions look at agree with exceptions and masks. */
function updatePending(x: Emitter): void {
  const status = half(x, L.FSW);
  const unmasked = x.and(x.andNot(status, half(x, L.FCW)), x.i32(EXCEPTIONS));
  const clean = x.and(status, x.i32(~ES_AND_BUSY));
  const summary = x.select(unmasked, x.i32(ES_AND_BUSY), x.i32(0));
  setHalf(x, L.FSW, x.or(clean, summary));
  const traps = x.and(x.state32(L.FPU_TRAPS), x.i32(~TRAP.x87Pending));
  // With CR0.NE clear nothing is reported.
  const native = x.and(x.state32(L.CR0), x.i32(1 << 5));
  const reported = x.select(
    x.and(native, x.shrU(summary, x.i32(2))),
    x.i32(TRAP.x87Pending),
    x.i32(0),
  );
  x.setState32(L.FPU_TRAPS, x.or(traps, reported));
}

define('FNINIT', {}, (x) => {
  x87Ready(x, false);
  setHalf(x, L.FCW, x.i32(0x37f));
  setHalf(x, L.FSW, x.i32(0));
  setHalf(x, L.FTW, x.i32(0xffff));
  setHalf(x, L.FOP, x.i32(0));
  x.setState64(L.FIP, x.i64(0));
  x.setState64(L.FDP, x.i64(0));
  updatePending(x);
});

define('FNCLEX', {}, (x) => {
  x87Ready(x, false);
  setHalf(x, L.FSW, x.and(half(x, L.FSW), x.i32(0x7f00)));
  updatePending(x);
});

define('FNSTSW', { access: 'w' }, (x) => {
  x87Ready(x, false);
  x.setOperand(0, x.stateAs('i64.load16_u', L.FSW));
});

define('FNSTCW', { access: 'w' }, (x) => {
  x87Ready(x, false);
  x.setOperand(0, x.stateAs('i64.load16_u', L.FCW));
});

define('FLDCW', { access: 'r' }, (x) => {
  x87Ready(x, true);
  const word = x.wrap(x.operandU(0));
  setHalf(x, L.FCW, x.or(x.and(word, x.i32(0x1f3f)), x.i32(0x40)));
  updatePending(x);
});

define('WAIT', {}, (x) => {
  trap(x, TRAP.waitUnavailable, VECTOR_NM);
  trap(x, TRAP.x87Pending, VECTOR_MF);
});
