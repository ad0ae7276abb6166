/**
 * Instructions that 64-bit mode lacks: decimal arithmetic, BOUND, ARPL, SALC. AMD APM vol. 3,
 * chapter 3 (AAA to DAS, BOUND) and chapter 4 (ARPL); SALC, which no manual lists, as all
 * processors do it.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const CF = 1;
const AF = 0x10;
const DIVIDE_ERROR = 0;
const BOUND_RANGE = 5;

/** SF, ZF and PF of AL; `bits` are CF and AF as an image. */
function setDecimalFlags(x: Emitter, al: Value, bits: Value): void {
  x.flagsOfLogic(x.signExtend(al, 8));
  x.setStatus(bits, CF | AF);
}

/** Whether the low digit of AL has to be adjusted. */
function lowDigit(x: Emitter, al: Value): Value {
  const digit = x.and(al, x.i64(15));
  return x.or(x.gtU(digit, x.i64(9)), x.flag('AF'));
}

function decimal(x: Emitter, subtract: boolean): void {
  const al = x.gpr(0, 8, false);
  const low = lowDigit(x, al);
  const high = x.or(x.gtU(al, x.i64(0x99)), x.flag('CF'));
  const change = x.add(x.select(low, x.i64(6), x.i64(0)), x.select(high, x.i64(0x60), x.i64(0)));
  const result = subtract ? x.sub(al, change) : x.add(al, change);
  // DAS also carries where the low digit's adjustment borrows.
  const borrows = subtract ? x.and(low, x.ltU(al, x.i64(6))) : x.i32(0);
  const image = x.or(x.or(high, borrows), x.shl(low, x.i32(4)));
  x.setGpr(0, result, 8);
  setDecimalFlags(x, result, image);
}

define('DAA', {}, (x) => decimal(x, false));
define('DAS', {}, (x) => decimal(x, true));

function ascii(x: Emitter, change: (ax: Value) => Value): void {
  const adjust = lowDigit(x, x.gpr(0, 8, false));
  const ax = x.gpr(0, 16, false);
  const result = x.and(x.select(adjust, change(ax), ax), x.i64(0xff0f));
  x.setGpr(0, result, 16);
  const bits = x.select(adjust, x.i32(CF | AF), x.i32(0));
  setDecimalFlags(x, result, bits);
}

define('AAA', {}, (x) => ascii(x, (ax) => x.add(ax, x.i64(0x106))));
define('AAS', {}, (x) => ascii(x, (ax) => x.sub(ax, x.i64(0x106))));

define('AAM', { access: 'r' }, (x) => {
  const base = x.operandU(0);
  x.if(x.eqz(base), () => x.raise(DIVIDE_ERROR));
  const al = x.gpr(0, 8, false);
  const digit = x.code.op('i64.rem_u', al, base);
  const tens = x.code.op('i64.div_u', al, base);
  x.setGpr(0, x.or(digit, x.shl(tens, x.i64(8))), 16);
  setDecimalFlags(x, digit, x.i32(0));
});

define('AAD', { access: 'r' }, (x) => {
  const ax = x.gpr(0, 16, false);
  const tens = x.mul(x.shrU(ax, x.i64(8)), x.operandU(0));
  const result = x.and(x.add(ax, tens), x.i64(0xff));
  x.setGpr(0, result, 16);
  setDecimalFlags(x, result, x.i32(0));
});

define('SALC', {}, (x) => {
  x.setGpr(0, x.negate(x.widen(x.flag('CF'))), 8);
});

define('BOUND', { access: 'r', modal: true }, (x) => {
  const index = x.operand(0);
  const address = x.address(1, x.size >> 2);
  const lower = x.load(address, x.size);
  const upper = x.load(x.zeroExtend(x.add(address, x.i64(x.size >> 3)), 32), x.size);
  x.if(x.or(x.ltS(index, lower), x.gtS(index, upper)), () => x.raise(BOUND_RANGE));
});

/** Memory is read, and written only if it changes. */
define('ARPL', { access: 'r', modal: true }, (x) => {
  const wanted = x.and(x.operandU(1), x.i64(3));
  const selector = x.operandU(0);
  const lower = x.ltU(x.and(selector, x.i64(3)), wanted);
  const raised = x.or(x.and(selector, x.i64(~3)), wanted);
  x.if(lower, () => {
    if (x.kindOf(0) === 'm') x.store(x.movedAddress(0, x.i64(0), 16, true), raised, 16);
    else x.setOperand(0, raised);
  });
  x.setZero(lower);
});
