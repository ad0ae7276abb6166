/**
 * The stack in the description language: the pointer, in the width of the stack, and what it
 * points to, checked against SS outside 64-bit mode.
 */
import * as L from '../cpu/layout.js';
import type { Value } from '../wasm/code.js';
import { OperandEmitter } from './operand-emitter.js';

export class StackEmitter extends OperandEmitter {
  /** Linear address of `size` bits of the stack at pointer `pointer` (i64), checked. */
  stackAddress(pointer: Value, write: boolean, size = this.size): Value {
    if (!this.legacy) return pointer;
    this.checkSegment(this.i32(L.segmentOffset(L.SEG.ss)), pointer, size, write);
    const base = this.state64(L.segmentOffset(L.SEG.ss));
    return this.zeroExtend(this.add(base, pointer), 32);
  }

  /** The stack pointer moved by `bytes`, within the width of the stack. */
  movedStackPointer(pointer: Value, bytes: number): Value {
    const moved = this.add(pointer, this.i64(bytes));
    return this.legacy ? this.and(moved, this.stackMask()) : moved;
  }

  /** All ones in the width of the stack: 16 or 32 bits outside 64-bit mode. */
  stackMask(): Value {
    const stack32 = this.and(this.state32(L.MODE), this.i32(4));
    return this.code.select(stack32, this.i64(0xffffffffn), this.i64(0xffffn));
  }

  stackPointer(): Value {
    return this.legacy ? this.and(this.gpr(4), this.stackMask()) : this.gpr(4);
  }

  setStackPointer(value: Value): void {
    if (!this.legacy) {
      this.setGpr(4, value);
      return;
    }
    const mask = this.stackMask();
    const kept = this.andNot(this.gpr(4), mask);
    this.setGpr(4, this.or(kept, this.and(value, mask)));
  }

  push(value: Value, size = this.size): void {
    const pointer = this.movedStackPointer(this.stackPointer(), -(size >> 3));
    this.store(this.stackAddress(pointer, true, size), value, size);
    this.setStackPointer(pointer);
  }

  /** Raises the fault that a push would, writing nothing. */
  probePush(size = this.size): void {
    const pointer = this.movedStackPointer(this.stackPointer(), -(size >> 3));
    this.update(this.stackAddress(pointer, true, size), size >> 3);
    this.setState32(L.RMW_PENDING, this.i32(0));
  }

  /** Reads the top of the stack without moving the pointer; see `popped`. */
  top(size = this.size): Value {
    return this.load(this.stackAddress(this.stackPointer(), false, size), size, true);
  }

  /** Moves the stack pointer over `bytes` bytes. */
  popped(bytes: number): void {
    this.setStackPointer(this.movedStackPointer(this.stackPointer(), bytes));
  }
}
