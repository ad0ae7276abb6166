/**
 * Bit manipulation (BMI1, BMI2) and additions with a carry of their own (ADX). AMD APM vol. 3,
 * chapter 3.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import { highProduct } from './multiply.js';

const WRITES = { access: 'w' } as const;

/** Writes the result; SF and ZF by it, OF cleared, CF given as i32. */
function finish(x: Emitter, result: Value, carry: Value): void {
  const whole = x.signExtend(result, x.size);
  x.setOperand(0, whole);
  x.flagsOfResult(whole, carry, x.i32(0));
}

define('ANDN', WRITES, (x) => {
  finish(x, x.andNot(x.operand(2), x.operand(1)), x.i32(0));
});

/** Isolates, masks up to, or resets the lowest bit that is set. */
define('BLSI', WRITES, (x) => {
  const value = x.operandU(1);
  finish(x, x.and(value, x.negate(value)), x.ne(value, x.i64(0)));
});
define('BLSMSK', WRITES, (x) => {
  const value = x.operandU(1);
  finish(x, x.xor(value, x.sub(value, x.i64(1))), x.eqz(value));
});
define('BLSR', WRITES, (x) => {
  const value = x.operandU(1);
  finish(x, x.and(value, x.sub(value, x.i64(1))), x.eqz(value));
});

/** A mask of the low `count` bits; of all from 64 on. */
function lowBits(x: Emitter, count: Value): Value {
  const mask = x.sub(x.shl(x.i64(1), count), x.i64(1));
  return x.select(x.ltU(count, x.i64(64)), mask, x.i64(-1));
}

define('BEXTR', WRITES, (x) => {
  const control = x.operandU(2);
  const value = x.operandU(1);
  const start = x.and(control, x.i64(0xff));
  const length = x.and(x.shrU(control, x.i64(8)), x.i64(0xff));
  const moved = x.select(x.ltU(start, x.i64(64)), x.shrU(value, start), x.i64(0));
  finish(x, x.and(moved, lowBits(x, length)), x.i32(0));
});

define('BZHI', WRITES, (x) => {
  const index = x.and(x.operandU(2), x.i64(0xff));
  const value = x.operandU(1);
  const beyond = x.geU(index, x.i64(x.size));
  finish(x, x.and(value, lowBits(x, index)), beyond);
});

/** The upper half goes to the first operand, also where both are one register. */
define('MULX', WRITES, (x) => {
  const a = x.gpr(2, x.size, false);
  const b = x.operandU(2);
  const low = x.mul(a, b);
  const high = x.size === 64 ? highProduct(x, a, b) : x.shrU(low, x.i64(32));
  x.setOperand(1, low);
  x.setOperand(0, high);
});

/** Calls `body` with every bit of `mask`, lowest first. */
function everyBit(x: Emitter, mask: Value, body: (bit: Value) => void): void {
  const rest = x.variable(mask);
  x.if(x.ne(rest, x.i64(0)), () => {
    x.code.loop((again) => {
      x.code.scope(() => {
        body(x.and(rest, x.negate(rest)));
        x.set(rest, x.and(rest, x.sub(rest, x.i64(1))));
        x.code.brIf(x.ne(rest, x.i64(0)), again);
      });
    });
  });
}

define('PDEP', WRITES, (x) => {
  const mask = x.operandU(2);
  const source = x.variable(x.operandU(1));
  const result = x.variable(x.i64(0));
  everyBit(x, mask, (bit) => {
    const taken = x.and(bit, x.negate(x.and(source, x.i64(1))));
    x.set(result, x.or(result, taken));
    x.set(source, x.shrU(source, x.i64(1)));
  });
  x.setOperand(0, result);
});

define('PEXT', WRITES, (x) => {
  const mask = x.operandU(2);
  const source = x.operandU(1);
  const result = x.variable(x.i64(0));
  const place = x.variable(x.i64(1));
  everyBit(x, mask, (bit) => {
    const present = x.widen(x.ne(x.and(source, bit), x.i64(0)));
    x.set(result, x.or(result, x.and(place, x.negate(present))));
    x.set(place, x.shl(place, x.i64(1)));
  });
  x.setOperand(0, result);
});

define('RORX', WRITES, (x) => {
  const value = x.operandU(1);
  const count = x.immediate(2);
  const narrow = (): Value => x.widen(x.rotr(x.wrap(value), x.wrap(count)));
  x.setOperand(0, x.size === 64 ? x.rotr(value, count) : narrow());
});

/** Shifts by a register, without flags. */
function shift(name: string, by: (x: Emitter, value: Value, count: Value) => Value): void {
  define(name, WRITES, (x) => {
    const count = x.and(x.operandU(2), x.i64(x.size - 1));
    const value = name === 'SARX' ? x.operand(1) : x.operandU(1);
    x.setOperand(0, by(x, value, count));
  });
}
shift('SHLX', (x, value, count) => x.shl(value, count));
shift('SHRX', (x, value, count) => x.shrU(value, count));
shift('SARX', (x, value, count) => x.shrS(value, count));

/** The sum with a carry in (i32), and its carry out (i32). */
function sumWithCarry(x: Emitter, carry: Value): [sum: Value, carryOut: Value] {
  const b = x.operandU(1);
  const a = x.operandU(0);
  const sum = x.add(x.add(a, b), x.widen(carry));
  const out = x.or(x.and(a, b), x.andNot(x.or(a, b), sum));
  return [sum, x.wrap(x.shrU(x.size === 64 ? out : sum, x.i64(x.size === 64 ? 63 : 32)))];
}

define('ADCX', {}, (x) => {
  const [sum, carry] = sumWithCarry(x, x.flag('CF'));
  x.setOperand(0, sum);
  x.setCarryOverflow(carry, x.flag('OF'));
});
define('ADOX', {}, (x) => {
  const [sum, carry] = sumWithCarry(x, x.flag('OF'));
  x.setOperand(0, sum);
  x.setCarryOverflow(x.flag('CF'), carry);
});
