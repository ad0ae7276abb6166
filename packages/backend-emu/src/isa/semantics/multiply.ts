/**
 * Multiplication and division. AMD APM vol. 3, chapter 3 (DIV, IDIV, IMUL, MUL).
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const DIVIDE_ERROR = 0;

/** High 64 bits of the unsigned 128-bit product, from four 32-bit products. */
export function highProduct(x: Emitter, a: Value, b: Value): Value {
  const mask = x.i64(0xffffffffn);
  const shift = x.i64(32);
  const [al, ah] = [x.and(a, mask), x.shrU(a, shift)];
  const [bl, bh] = [x.and(b, mask), x.shrU(b, shift)];
  const low = x.mul(al, bl);
  const middle = x.add(x.mul(ah, bl), x.shrU(low, shift));
  const middle2 = x.add(x.mul(al, bh), x.and(middle, mask));
  const high = x.add(x.mul(ah, bh), x.shrU(middle, shift));
  return x.add(high, x.shrU(middle2, shift));
}

/** The signed high product: corrects the unsigned one by the operands' signs. */
function highProductSigned(x: Emitter, a: Value, b: Value): Value {
  const correct = (sign: Value, other: Value): Value => x.and(x.shrS(sign, x.i64(63)), other);
  const unsigned = highProduct(x, a, b);
  return x.sub(x.sub(unsigned, correct(a, b)), correct(b, a));
}

/** Writes the double-width product: AX for bytes, else rDX:rAX. */
function setProduct(x: Emitter, low: Value, high: Value): void {
  if (x.size === 8) {
    x.setGpr(0, low, 16);
    return;
  }
  x.setGpr(0, low, x.size);
  x.setGpr(2, high, x.size);
}

define('MUL', { access: 'r', hot: true }, (x) => {
  const a = x.gpr(0, x.size, false);
  const b = x.operandU(0);
  const low = x.mul(a, b);
  const high = x.size === 64 ? highProduct(x, a, b) : x.shrU(low, x.i64(x.size));
  setProduct(x, low, high);
  const over = x.ne(high, x.i64(0));
  x.flagsOfResult(x.signExtend(low, x.size), over, over);
});

/** Whether a product does not fit its low half. */
function overflows(x: Emitter, low: Value, high: Value | null): Value {
  const fits = x.signExtend(low, x.size);
  return high === null ? x.ne(fits, low) : x.ne(high, x.shrS(low, x.i64(63)));
}

/** IMUL with one operand. */
define('IMUL1', { access: 'r' }, (x) => {
  const a = x.gpr(0, x.size);
  const b = x.operand(0);
  const low = x.mul(a, b);
  const high = x.size === 64 ? highProductSigned(x, a, b) : null;
  setProduct(x, low, high ?? x.shrS(low, x.i64(x.size)));
  const over = overflows(x, low, high);
  x.flagsOfResult(x.signExtend(low, x.size), over, over);
});

function multiply(x: Emitter, a: Value, b: Value): void {
  const low = x.mul(a, b);
  const high = x.size === 64 ? highProductSigned(x, a, b) : null;
  x.setOperand(0, low);
  const over = overflows(x, low, high);
  x.flagsOfResult(x.signExtend(low, x.size), over, over);
}

define('IMUL2', { hot: true }, (x) => multiply(x, x.operand(0), x.operand(1)));
define('IMUL3', { access: 'w', hot: true }, (x) => multiply(x, x.operand(1), x.operand(2)));

/** The dividend of up to 64 bits, by operand size. */
function dividend(x: Emitter, signed: boolean): Value {
  if (x.size === 8) return x.gpr(0, 16, signed);
  const high = x.shl(x.gpr(2, x.size, signed), x.i64(x.size));
  return x.or(high, x.gpr(0, x.size, false));
}

function setQuotient(x: Emitter, quotient: Value, remainder: Value): void {
  if (x.size === 8) {
    const packed = x.or(x.and(quotient, x.i64(0xff)), x.shl(remainder, x.i64(8)));
    x.setGpr(0, packed, 16);
    return;
  }
  x.setGpr(0, quotient, x.size);
  x.setGpr(2, remainder, x.size);
}

define('DIV', { access: 'r', hot: true }, (x) => {
  const divisor = x.operandU(0);
  x.if(x.eqz(divisor), () => x.raise(DIVIDE_ERROR));
  if (x.size === 64) {
    divide128(x, divisor);
    return;
  }
  const number = dividend(x, false);
  const quotient = x.code.op('i64.div_u', number, divisor);
  x.if(x.wrap(x.shrU(quotient, x.i64(x.size))), () => x.raise(DIVIDE_ERROR));
  setQuotient(x, quotient, x.code.op('i64.rem_u', number, divisor));
});

/** RDX:RAX / divisor; the common case RDX < divisor with RDX = 0 is a plain division. */
function divide128(x: Emitter, divisor: Value): void {
  const high = x.gpr(2);
  const low = x.gpr(0);
  x.if(x.geU(high, divisor), () => x.raise(DIVIDE_ERROR));
  const quotient = x.local('i64');
  const remainder = x.local('i64');
  x.if(
    x.eqz(high),
    () => {
      x.set(quotient, x.code.op('i64.div_u', low, divisor));
      x.set(remainder, x.code.op('i64.rem_u', low, divisor));
    },
    () => longDivision(x, high, low, divisor, quotient, remainder),
  );
  x.setGpr(0, quotient);
  x.setGpr(2, remainder);
}

/** Restoring division of high:low by divisor, high < divisor: 64 steps. */
function longDivision(
  x: Emitter,
  high: Value,
  low: Value,
  divisor: Value,
  quotient: Value,
  remainder: Value,
): void {
  const one = x.i64(1);
  const steps = x.variable(x.i32(64));
  x.set(quotient, low);
  x.set(remainder, high);
  x.code.loop((again) => {
    x.code.scope(() => {
      const carry = x.shrU(remainder, x.i64(63));
      const shifted = x.or(x.shl(remainder, one), x.shrU(quotient, x.i64(63)));
      const fits = x.or(x.wrap(carry), x.geU(shifted, divisor));
      x.set(remainder, x.select(fits, x.sub(shifted, divisor), shifted));
      x.set(quotient, x.or(x.shl(quotient, one), x.widen(fits)));
      x.set(steps, x.sub(steps, x.i32(1)));
      x.code.brIf(steps, again);
    });
  });
}

define('IDIV', { access: 'r' }, (x) => {
  const divisor = x.operand(0);
  x.if(x.eqz(divisor), () => x.raise(DIVIDE_ERROR));
  if (x.size === 64) {
    divideSigned128(x, divisor);
    return;
  }
  const number = dividend(x, true);
  // The one quotient that WebAssembly traps on overflows here too.
  const extreme = x.and(x.eq(number, x.i64(-(2n ** 63n))), x.eq(divisor, x.i64(-1)));
  x.if(extreme, () => x.raise(DIVIDE_ERROR));
  const quotient = x.code.op('i64.div_s', number, divisor);
  x.if(x.ne(x.signExtend(quotient, x.size), quotient), () => x.raise(DIVIDE_ERROR));
  setQuotient(x, quotient, x.code.op('i64.rem_s', number, divisor));
});

/** Signed RDX:RAX / divisor by magnitudes. */
function divideSigned128(x: Emitter, divisor: Value): void {
  const high = x.gpr(2);
  const low = x.gpr(0);
  const sign = x.shrS(high, x.i64(63));
  const magnitudeLow = x.sub(x.xor(low, sign), sign);
  const carry = x.widen(x.and(x.ne(sign, x.i64(0)), x.eqz(low)));
  const magnitudeHigh = x.add(x.xor(high, sign), carry);
  const divisorSign = x.shrS(divisor, x.i64(63));
  const magnitude = x.sub(x.xor(divisor, divisorSign), divisorSign);
  x.if(x.geU(magnitudeHigh, magnitude), () => x.raise(DIVIDE_ERROR));
  const quotient = x.local('i64');
  const remainder = x.local('i64');
  longDivision(x, magnitudeHigh, magnitudeLow, magnitude, quotient, remainder);
  const quotientSign = x.xor(sign, divisorSign);
  const signed = x.sub(x.xor(quotient, quotientSign), quotientSign);
  // Non-zero quotients must have the sign that the operands give.
  const wrong = x.and(x.ltS(x.xor(signed, quotientSign), x.i64(0)), x.ne(quotient, x.i64(0)));
  x.if(wrong, () => x.raise(DIVIDE_ERROR));
  x.setGpr(0, signed);
  x.setGpr(2, x.sub(x.xor(remainder, sign), sign));
}
