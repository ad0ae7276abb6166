/**
 * The stack. AMD APM vol. 3, chapter 3 (ENTER, LEAVE, POP, POPA, PUSH, PUSHA).
 */
import * as L from '../../cpu/layout.js';
import { define } from '../define.js';

define('PUSH', { access: 'r', modal: true, hot: true }, (x) => {
  x.push(x.operand(0));
});

define('POP', { access: 'w', modal: true, hot: true }, (x) => {
  const value = x.top();
  if (x.kindOf(0) === 'r') {
    // POP rSP keeps the popped value.
    x.popped(x.size >> 3);
    x.setOperand(0, value);
    return;
  }
  // A memory operand's address uses the pointer after the pop; a fault must restore it.
  const before = x.gpr(4);
  x.popped(x.size >> 3);
  const after = x.gpr(4);
  const address = x.address(0, x.size >> 3, () => x.setGpr(4, before));
  x.setGpr(4, before);
  x.store(address, value, x.size);
  x.setGpr(4, after);
});

define('LEAVE', { modal: true, hot: true }, (x) => {
  const frame = x.legacy ? x.and(x.gpr(5), x.stackMask()) : x.gpr(5);
  const value = x.load(x.stackAddress(frame, false), x.size);
  x.setStackPointer(x.movedStackPointer(frame, x.size >> 3));
  x.setGpr(5, value, x.size);
});

/** ENTER with nesting level 0 to 31. */
define('ENTER', { modal: true }, (x) => {
  const bytes = x.size >> 3;
  const level = x.and(x.shrU(x.operandU(0), x.i64(16)), x.i64(31));
  const allocate = x.and(x.operandU(0), x.i64(0xffff));
  const pointer = x.variable(x.movedStackPointer(x.stackPointer(), -bytes));
  x.store(x.stackAddress(pointer, true), x.gpr(5, x.size), x.size);
  // The frame pointer gets what stands above a 16-bit stack pointer too.
  const frame = x.variable(x.legacy ? x.or(x.andNot(x.gpr(4), x.stackMask()), pointer) : pointer);
  const source = x.variable(x.legacy ? x.and(x.gpr(5), x.stackMask()) : x.gpr(5));
  const left = x.variable(level);
  x.if(x.wrap(level), () => {
    x.code.block((done) => {
      x.code.loop((again) => {
        x.code.scope(() => {
          x.set(left, x.sub(left, x.i64(1)));
          x.code.brIf(x.eqz(left), done);
          x.set(source, x.movedStackPointer(source, -bytes));
          const link = x.load(x.stackAddress(source, false), x.size);
          x.set(pointer, x.movedStackPointer(pointer, -bytes));
          x.store(x.stackAddress(pointer, true), link, x.size);
          x.code.br(again);
        });
      });
    });
    x.set(pointer, x.movedStackPointer(pointer, -bytes));
    x.store(x.stackAddress(pointer, true), frame, x.size);
  });
  const moved = x.sub(pointer, allocate);
  const last = x.variable(x.legacy ? x.and(moved, x.stackMask()) : moved);
  // The new top of the stack must be writable, though nothing is written there.
  x.update(x.stackAddress(last, true), bytes);
  x.setState32(L.RMW_PENDING, x.i32(0));
  x.setStackPointer(last);
  x.setGpr(5, frame, x.size);
});

define('PUSHA', { modal: true }, (x) => {
  const bytes = x.size >> 3;
  const start = x.stackPointer();
  for (let i = 0; i < 8; i++) {
    const address = x.stackAddress(x.movedStackPointer(start, -bytes * (i + 1)), true);
    x.store(address, x.gpr(i, x.size), x.size);
  }
  x.setStackPointer(x.movedStackPointer(start, -bytes * 8));
});

define('POPA', { modal: true }, (x) => {
  const bytes = x.size >> 3;
  const start = x.stackPointer();
  // What has been popped before a fault stays, as with AMD's processors.
  for (let i = 0; i < 8; i++) {
    const address = x.stackAddress(x.movedStackPointer(start, bytes * i), false);
    const value = x.load(address, x.size);
    if (i !== 3) x.setGpr(7 - i, value, x.size);
  }
  x.setStackPointer(x.movedStackPointer(start, bytes * 8));
});
