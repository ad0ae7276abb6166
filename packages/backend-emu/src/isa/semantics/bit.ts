/**
 * Bit tests and scans, counts. AMD APM vol. 3, chapter 3 (BSF to BTS, LZCNT, POPCNT, TZCNT).
 *
 * BSF and BSR leave the destination alone when the source is zero (AMD APM; Intel processors do so
 * too); OF, SF, AF, PF and CF are then undefined.
 */
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

type BitChange = (x: Emitter, value: Value, mask: Value) => Value;

/**
 * With a register bit offset and a memory operand, the offset reaches outside the operand: it is
 * signed and counts from the operand's address.
 */
function bitOperation(x: Emitter, change: BitChange | null): void {
  const offset = x.operand(1);
  const number = x.and(offset, x.i64(x.size - 1));
  const mask = x.shl(x.i64(1), number);
  if (x.kindOf(0) === 'm' && x.kindOf(1) === 'r') {
    const bytes = x.shl(x.shrS(offset, x.i64(Math.log2(x.size))), x.i64(Math.log2(x.size / 8)));
    const address = x.legacy
      ? x.movedAddress(0, bytes, x.size, change !== null)
      : x.add(x.address(0), bytes);
    if (change === null) {
      x.setCarry(testBit(x, x.load(address, x.size), number));
      return;
    }
    const host = x.update(address, x.size / 8);
    const value = x.code.load(x.size === 64 ? 'i64.load' : `i64.load${x.size}_u`, host);
    const store = x.size === 64 ? 'i64.store' : `i64.store${x.size}`;
    x.code.store(store, host, change(x, value, mask));
    x.commit(host);
    x.setCarry(testBit(x, value, number));
    return;
  }
  const value = x.operand(0);
  if (change !== null) x.setOperand(0, change(x, value, mask));
  x.setCarry(testBit(x, value, number));
}

function testBit(x: Emitter, value: Value, number: Value): Value {
  return x.wrap(x.and(x.shrU(value, number), x.i64(1)));
}

define('BT', { access: 'r', modal: true, hot: true }, (x) => bitOperation(x, null));
const CHANGES = { lockable: true, modal: true } as const;
define('BTS', CHANGES, (x) => bitOperation(x, (_, value, mask) => x.or(value, mask)));
define('BTR', CHANGES, (x) => bitOperation(x, (_, value, mask) => x.andNot(value, mask)));
define('BTC', CHANGES, (x) => bitOperation(x, (_, value, mask) => x.xor(value, mask)));

function scan(x: Emitter, find: (value: Value) => Value): void {
  const value = x.operandU(1);
  const zero = x.eqz(value);
  // Not even the upper half of a 32-bit destination changes.
  x.if(x.eqz(zero), () => x.setOperand(0, find(value)));
  x.setZero(zero);
}

define('BSF', { access: 'rw', hot: true }, (x) => scan(x, (value) => x.ctz(value)));
define('BSR', { access: 'rw', hot: true }, (x) =>
  scan(x, (value) => x.sub(x.i64(63), x.clz(value))),
);

/** Counts set CF when the source is zero and ZF when the result is. */
function count(x: Emitter, find: (value: Value) => Value): void {
  const value = x.operandU(1);
  const result = find(value);
  x.setOperand(0, result);
  x.flagsOfResult(result, x.eqz(value), x.i32(0));
}

define('TZCNT', { access: 'w' }, (x) =>
  count(x, (value) => {
    const stop = x.size === 64 ? value : x.or(value, x.i64(1n << BigInt(x.size)));
    return x.ctz(stop);
  }),
);

define('LZCNT', { access: 'w' }, (x) =>
  count(x, (value) => x.sub(x.clz(value), x.i64(64 - x.size))),
);

define('POPCNT', { access: 'w' }, (x) => {
  const value = x.operandU(1);
  const result = x.popcnt(value);
  x.setOperand(0, result);
  // ZF from the source; all other flags are cleared: a result with even parity is fixed up.
  x.flagsOfLogic(x.i64(0));
  x.setStatus(x.shl(x.eqz(value), x.i32(6)), 0x8d5);
});
