/**
 * Addition, subtraction, logic, comparison, exchange. AMD APM vol. 3, chapter 3.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const HOT = { lockable: true, hot: true } as const;

function sum(x: Emitter, a: Value, b: Value): Value {
  return x.signExtend(x.add(a, b), x.sizeOf(0));
}

function difference(x: Emitter, a: Value, b: Value): Value {
  return x.signExtend(x.sub(a, b), x.sizeOf(0));
}

define('ADD', HOT, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  const result = sum(x, a, b);
  x.setOperand(0, result);
  x.flagsOfAdd(a, b, result, x.sizeOf(0));
});

define('ADC', HOT, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  const carry = x.widen(x.flag('CF'));
  const result = sum(x, x.add(a, b), carry);
  x.setOperand(0, result);
  x.flagsOfAdd(a, b, result, x.sizeOf(0));
});

define('SUB', HOT, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  const result = difference(x, a, b);
  x.setOperand(0, result);
  x.flagsOfSub(a, b, result, x.sizeOf(0));
});

define('SBB', HOT, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  const borrow = x.widen(x.flag('CF'));
  const result = difference(x, x.sub(a, b), borrow);
  x.setOperand(0, result);
  x.flagsOfSub(a, b, result, x.sizeOf(0), borrow);
});

define('CMP', { access: 'r', hot: true }, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  x.flagsOfSub(a, b, difference(x, a, b), x.sizeOf(0));
});

define('AND', HOT, (x) => {
  const b = x.operand(1);
  const result = x.and(x.operand(0), b);
  x.setOperand(0, result);
  x.flagsOfLogic(result);
});

define('OR', HOT, (x) => {
  const b = x.operand(1);
  const result = x.or(x.operand(0), b);
  x.setOperand(0, result);
  x.flagsOfLogic(result);
});

define('XOR', HOT, (x) => {
  const b = x.operand(1);
  const result = x.xor(x.operand(0), b);
  x.setOperand(0, result);
  x.flagsOfLogic(result);
});

define('TEST', { access: 'r', hot: true }, (x) => {
  const b = x.operand(1);
  x.flagsOfLogic(x.and(x.operand(0), b));
});

define('INC', HOT, (x) => {
  const a = x.operand(0);
  const result = sum(x, a, x.i64(1));
  x.setOperand(0, result);
  x.flagsOfStep(a, 1, result, x.sizeOf(0));
});

define('DEC', HOT, (x) => {
  const a = x.operand(0);
  const result = difference(x, a, x.i64(1));
  x.setOperand(0, result);
  x.flagsOfStep(a, -1, result, x.sizeOf(0));
});

define('NEG', HOT, (x) => {
  const a = x.operand(0);
  const zero = x.i64(0);
  const result = difference(x, zero, a);
  x.setOperand(0, result);
  x.flagsOfSub(zero, a, result, x.sizeOf(0));
});

define('NOT', HOT, (x) => {
  x.setOperand(0, x.not(x.operand(0)));
});

define('XCHG', HOT, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  x.setOperand(0, b);
  x.setOperand(1, a);
});

define('XADD', { lockable: true }, (x) => {
  const b = x.operand(1);
  const a = x.operand(0);
  const result = sum(x, a, b);
  x.setOperand(0, result);
  x.setOperand(1, a);
  // With both operands one register the sum is what stays.
  if (x.kindOf(0) === 'r') x.setOperand(0, result);
  x.flagsOfAdd(a, b, result, x.sizeOf(0));
});

define('CMPXCHG', { lockable: true, hot: true }, (x) => {
  const size = x.sizeOf(0);
  const source = x.operand(1);
  const a = x.operand(0);
  const accumulator = x.gpr(0, size);
  const equal = x.eq(accumulator, a);
  // Memory is written in either case; a register destination only when equal.
  if (x.kindOf(0) === 'm') {
    x.setOperand(0, x.select(equal, source, a));
    x.if(x.eqz(equal), () => x.setGpr(0, a, size));
  } else {
    x.if(
      equal,
      () => x.setOperand(0, source),
      () => x.setGpr(0, a, size),
    );
  }
  x.flagsOfSub(accumulator, a, difference(x, accumulator, a), size);
});

define('CMPXCHG8B', { lockable: true }, (x) => {
  const host = x.update(x.address(0), 8);
  const old = x.code.load('i64.load', host);
  const pair = (high: number, low: number): Value =>
    x.or(x.shl(x.gpr(high), x.i64(32)), x.gpr(low, 32, false));
  const equal = x.eq(old, pair(2, 0));
  x.code.store('i64.store', host, x.select(equal, pair(1, 3), old));
  x.commit(host);
  x.if(x.eqz(equal), () => {
    x.setGpr(0, old, 32);
    x.setGpr(2, x.shrU(old, x.i64(32)), 32);
  });
  x.setZero(equal);
});

define('CMPXCHG16B', { lockable: true }, (x) => {
  const address = x.address(0);
  x.if(x.wrap(x.and(address, x.i64(15))), () => x.raise(13, 0));
  const host = x.update(address, 16);
  const low = x.code.load('i64.load', host);
  const high = x.code.load('i64.load', host, 8);
  const equal = x.and(x.eq(low, x.gpr(0)), x.eq(high, x.gpr(2)));
  x.code.store('i64.store', host, x.select(equal, x.gpr(3), low));
  x.code.store('i64.store', host, x.select(equal, x.gpr(1), high), 8);
  x.commit(host);
  x.if(x.eqz(equal), () => {
    x.setGpr(0, low);
    x.setGpr(2, high);
  });
  x.setZero(equal);
});
