/**
 * Shifts and rotates. AMD APM vol. 3, chapter 3 (RCL to SHRD).
 *
 * Counts are masked to 5 bits (6 for 64-bit operands); a masked count of 0 leaves the flags alone.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const OPTIONS = { hot: true } as const;

/** The masked count, from CL or an immediate, as i64. */
function maskedCount(x: Emitter, index = 1): Value {
  return x.and(x.operandU(index), x.i64(x.size === 64 ? 63 : 31));
}

/** Bit `number` of `value` as i32. */
function bit(x: Emitter, value: Value, number: Value): Value {
  return x.wrap(x.and(x.shrU(value, number), x.i64(1)));
}

function topBit(x: Emitter, value: Value): Value {
  return bit(x, value, x.i64(x.size - 1));
}

define('SHL', OPTIONS, (x) => {
  const count = maskedCount(x);
  const a = x.operandU(0);
  const shifted = x.shl(a, count);
  const result = x.signExtend(shifted, x.size);
  x.setOperand(0, result);
  x.unlessZero(count, 1, () => {
    const carry =
      x.size === 64 ? bit(x, a, x.sub(x.i64(64), count)) : bit(x, shifted, x.i64(x.size));
    x.flagsOfResult(result, carry, x.xor(carry, topBit(x, result)));
  });
});

define('SHR', OPTIONS, (x) => {
  const count = maskedCount(x);
  const a = x.operandU(0);
  const shifted = x.shrU(a, count);
  const result = x.signExtend(shifted, x.size);
  x.setOperand(0, result);
  x.unlessZero(count, 1, () => {
    const carry = bit(x, a, x.sub(count, x.i64(1)));
    const next = bit(x, result, x.i64(x.size - 2));
    x.flagsOfResult(result, carry, x.xor(topBit(x, result), next));
  });
});

define('SAR', OPTIONS, (x) => {
  const count = maskedCount(x);
  const a = x.operand(0);
  const result = x.shrS(a, count);
  x.setOperand(0, result);
  x.unlessZero(count, 1, () => {
    const carry = x.wrap(x.and(x.shrS(a, x.sub(count, x.i64(1))), x.i64(1)));
    x.flagsOfResult(result, carry, x.i32(0));
  });
});

/** `a` rotated left by `count` (below the size) within the operand size. */
function rotateLeft(x: Emitter, a: Value, count: Value): Value {
  if (x.size === 64) return x.rotl(a, count);
  const right = x.sub(x.i64(x.size), count);
  return x.zeroExtend(x.or(x.shl(a, count), x.shrU(a, right)), x.size);
}

define('ROL', OPTIONS, (x) => {
  const count = maskedCount(x);
  const a = x.operandU(0);
  const result = rotateLeft(x, a, x.and(count, x.i64(x.size - 1)));
  x.setOperand(0, result);
  x.unlessZero(count, 1, () => {
    const carry = x.wrap(x.and(result, x.i64(1)));
    x.setCarryOverflow(carry, x.xor(carry, topBit(x, result)));
  });
});

define('ROR', OPTIONS, (x) => {
  const count = maskedCount(x);
  const a = x.operandU(0);
  const left = x.and(x.sub(x.i64(x.size), count), x.i64(x.size - 1));
  const result = rotateLeft(x, a, left);
  x.setOperand(0, result);
  x.unlessZero(count, 1, () => {
    const carry = topBit(x, result);
    x.setCarryOverflow(carry, x.xor(carry, bit(x, result, x.i64(x.size - 2))));
  });
});

/** Rotation through carry, one bit at a time: rare, and the 65-bit rotation stays readable. */
function rotateThroughCarry(x: Emitter, left: boolean): void {
  const masked = maskedCount(x);
  const count = x.size < 32 ? x.code.op('i64.rem_u', masked, x.i64(x.size + 1)) : masked;
  const a = x.operandU(0);
  const result = x.variable(a);
  const carry = x.variable(x.flag('CF'));
  const left0 = x.variable(count);
  x.code.block((done) => {
    x.code.loop((again) => {
      x.code.scope(() => {
        x.code.brIf(x.eqz(left0), done);
        const out = left ? topBit(x, result) : x.wrap(x.and(result, x.i64(1)));
        const moved = left
          ? x.zeroExtend(x.or(x.shl(result, x.i64(1)), x.widen(carry)), x.size)
          : x.or(x.shrU(result, x.i64(1)), x.shl(x.widen(carry), x.i64(x.size - 1)));
        x.set(result, moved);
        x.set(carry, out);
        x.set(left0, x.sub(left0, x.i64(1)));
        x.code.br(again);
      });
    });
  });
  x.setOperand(0, result);
  x.if(x.wrap(masked), () => {
    const top = topBit(x, result);
    const overflow = left ? x.xor(carry, top) : x.xor(top, bit(x, result, x.i64(x.size - 2)));
    x.setCarryOverflow(carry, overflow);
  });
}

define('RCL', {}, (x) => rotateThroughCarry(x, true));
define('RCR', {}, (x) => rotateThroughCarry(x, false));

/** Double shifts. For 16-bit operands a count above 16 shifts the source round again. */
function doubleShift(x: Emitter, left: boolean): void {
  const count = maskedCount(x, 2);
  const source = x.operandU(1);
  const a = x.operandU(0);
  const size = x.i64(x.size);
  const shift = (value: Value, n: Value): Value => (left ? x.shl(value, n) : x.shrU(value, n));
  const back = (value: Value, n: Value): Value => (left ? x.shrU(value, n) : x.shl(value, n));
  const joined = x.or(shift(a, count), back(source, x.sub(size, count)));
  let result = x.select(x.eqz(count), a, joined);
  if (x.size === 16) {
    const over = x.sub(count, size);
    const wide = x.or(shift(source, over), back(a, x.sub(size, over)));
    result = x.select(x.gtU(count, size), wide, result);
  }
  const final = x.signExtend(result, x.size);
  x.setOperand(0, final);
  x.unlessZero(count, 2, () => {
    const from = left ? x.sub(size, count) : x.sub(count, x.i64(1));
    const carry = bit(x, a, x.and(from, x.i64(63)));
    x.flagsOfResult(final, carry, x.xor(topBit(x, final), topBit(x, a)));
  });
}

define('SHLD', {}, (x) => doubleShift(x, true));
define('SHRD', { hot: true }, (x) => doubleShift(x, false));
