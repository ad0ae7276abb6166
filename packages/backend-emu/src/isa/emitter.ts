/**
 * The language of instruction descriptions: `x` in `define('ADC', …, (x) => …)`.
 *
 * A description says what an instruction does and never who is asking. This class emits loads
 * through the op record's fields (operands dynamic); a translator overrides the methods marked so
 * and emits locals and constants instead (operands static).
 *
 * Integer operand values are i64, sign-extended from their size. Rules for exactness: read
 * everything, write memory before registers, registers before flags; a fault then leaves the state
 * of before the instruction.
 */

import * as L from '../cpu/layout.js';
import { MODE_CODE_LIMITED, MODE_SEGMENTED } from '../cpu/mode.js';
import { VECTOR_GP } from '../cpu/registers.js';
import type { CodeEmitter, Label, Value } from '../wasm/code.js';
import type { ValueType } from '../wasm/encode.js';
import { type CoreFunctions, type Flow, OUTCOME } from './flow.js';
import type { Form } from './form.js';
import { loadName, MemoryEmitter, storeName } from './memory-emitter.js';
import * as R from './op-record.js';
import { segmentSuspect } from './segment-suspect.js';

/** The whole address is base + displacement, or an index is added; or whatever the record says. */
export type Addressing = 'base' | 'index' | 'any';

interface PendingWrite {
  readonly host: Value;
}

export class Emitter extends MemoryEmitter {
  readonly #registers: (Value | undefined)[] = [];
  readonly #addresses: (Value | undefined)[] = [];
  #pending: PendingWrite | null = null;
  /** How the address of the memory operand is formed, where that is known. */
  addressing: Addressing = 'any';
  /** An immediate count is known not to be zero. */
  countIsSet = false;
  /** True when the description has ended the instruction itself on every path. */
  ended = false;

  constructor(
    code: CodeEmitter,
    cpu: Value,
    op: Value,
    readonly form: Form,
    core: CoreFunctions,
    flow: Flow,
    readonly systemNumber: (name: string) => number,
    /** Access of operand 0: r, w or rw. */
    readonly access: string,
  ) {
    super(code, cpu, op, core, flow);
  }

  /** Effective operand size in bits. */
  get size(): number {
    return this.form.size;
  }

  get legacy(): boolean {
    return this.form.legacy;
  }

  sizeOf(index: number): number {
    return this.form.operands[index].size;
  }

  kindOf(index: number): string {
    return this.form.operands[index].kind;
  }

  // Registers --------------------------------------------------------------------------------

  /** Address of the register that operand `index` names. Overridden by a translator. */
  registerAddress(index: number): Value {
    const known = this.#registers[index];
    if (known !== undefined) return known;
    const offset = this.code.load('i32.load16_u', this.op, R.OP_REG[index]);
    const address = this.add(this.cpu, offset);
    if (this.unconditional) this.#registers[index] = address;
    return address;
  }

  /** General register `number`, `size` bits, sign- or zero-extended to i64. */
  gpr(number: number, size = 64, signed = true): Value {
    return this.code.load(loadName(size, signed), this.cpu, L.gprOffset(number));
  }

  setGpr(number: number, value: Value, size = 64): void {
    this.#storeRegister(this.cpu, L.gprOffset(number), value, size);
  }

  #storeRegister(address: Value, offset: number, value: Value, size: number): void {
    if (size === 64) this.code.store('i64.store', address, value, offset);
    else if (size === 32) this.code.store('i64.store', address, this.zeroExtend(value, 32), offset);
    else this.code.store(storeName(size), address, value, offset);
  }

  // Operands ---------------------------------------------------------------------------------

  /** Operand `index`, sign-extended to i64. */
  operand(index: number): Value {
    return this.#read(index, true);
  }

  /** Operand `index`, zero-extended to i64. */
  operandU(index: number): Value {
    return this.#read(index, false);
  }

  #read(index: number, signed: boolean): Value {
    const { kind, size } = this.form.operands[index];
    switch (kind) {
      case 'r':
        return this.code.load(loadName(size, signed), this.registerAddress(index));
      case 'i':
        return this.immediate(index, signed);
      case 'm':
        if (index === 0 && this.access === 'rw') return this.#readForUpdate(size, signed);
        return this.load(this.address(index), size, signed);
      default:
        return this.code.load('i64.load16_u', this.op, R.OP_REG[index]);
    }
  }

  /** The immediate operand. A 64-bit one (MOV r64, imm64) lies in the displacement. */
  immediate(index: number, signed = true): Value {
    const { size } = this.form.operands[index];
    if (size === 64 && this.form.mnemonic === 'MOVABS') {
      return this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
    }
    const value = this.code.load('i64.load32_s', this.op, R.OP_IMMEDIATE);
    return signed || size === 64 ? value : this.zeroExtend(value, size);
  }

  setOperand(index: number, value: Value): void {
    const { kind, size } = this.form.operands[index];
    if (kind === 'm') {
      if (index === 0 && this.#pending !== null) this.#finishUpdate(value, size);
      else this.store(this.address(index), value, size);
      return;
    }
    this.#storeRegister(this.registerAddress(index), 0, value, size);
  }

  #readForUpdate(size: number, signed: boolean): Value {
    const host = this.update(this.address(0), size >> 3);
    this.#pending = { host };
    return this.code.load(loadName(size, signed), host);
  }

  #finishUpdate(value: Value, size: number): void {
    const { host } = this.#pending as PendingWrite;
    this.code.store(storeName(size), host, value);
    this.commit(host);
  }

  /** Emits `body` for a `count` (i64, operand `index`) that is not zero. */
  unlessZero(count: Value, index: number, body: () => void): void {
    if (this.countIsSet && this.kindOf(index) === 'i') body();
    else this.if(this.wrap(count), body);
  }

  // Addresses --------------------------------------------------------------------------------

  /**
   * Linear address of memory operand `index`, `bytes` of which are accessed; `undo` runs where that
   * faults. Overridden by a translator.
   */
  address(index: number, bytes = Math.max(1, this.sizeOf(index) >> 3), undo?: () => void): Value {
    const known = this.#addresses[index];
    if (known !== undefined) return known;
    const displacement = this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
    const address = this.code.variable(this.add(this.#register(R.OP_BASE), displacement));
    if (this.addressing === 'index') {
      this.code.set(address, this.add(address, this.#scaledIndex()));
    } else if (this.addressing === 'any') {
      const kind = this.code.load('i32.load8_u', this.op, R.OP_EA);
      this.if(kind, () => {
        this.code.scope(() => this.#complexAddress(index, address, kind, bytes, undo));
      });
    }
    this.#addresses[index] = address;
    return address;
  }

  /** The register that a field of the op record names. */
  #register(field: number): Value {
    const register = this.code.load('i32.load16_u', this.op, field);
    return this.code.load('i64.load', this.add(this.cpu, register));
  }

  #scaledIndex(): Value {
    return this.shl(this.#register(R.OP_INDEX), this.code.load('i64.load8_u', this.op, R.OP_SCALE));
  }

  #complexAddress(
    index: number,
    address: Value,
    kind: Value,
    size: number,
    undo?: () => void,
  ): void {
    this.if(
      this.eq(kind, this.i32(R.EA_INDEX)),
      () => this.code.set(address, this.add(address, this.#scaledIndex())),
      () => {
        this.markOp();
        const bytes = this.i32(size);
        const write = this.i32(index === 0 && this.access !== 'r' ? 1 : 0);
        this.code.set(address, this.code.call(this.core.addressSlow, 'i64', this.op, bytes, write));
        const checked = this.and(kind, this.i32(R.EA_CHECKED));
        this.if(checked, () => {
          const vector = this.state32(L.FAULT_VECTOR);
          this.if(this.geS(vector, this.i32(0)), () => {
            undo?.();
            this.flow.fault();
          });
        });
      },
    );
  }

  /** Offset of memory operand `index` without its segment: LEA. */
  effectiveAddress(_index: number): Value {
    const displacement = this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
    const base = this.add(this.#register(R.OP_BASE), displacement);
    if (this.addressing === 'base') return base;
    const address = this.code.variable(this.add(base, this.#scaledIndex()));
    if (this.addressing === 'index') return address;
    const kind = this.code.load('i32.load8_u', this.op, R.OP_EA);
    this.if(this.and(kind, this.i32(R.EA_32 | R.EA_16)), () => {
      const is32 = this.and(kind, this.i32(R.EA_32));
      const mask = this.code.select(is32, this.i64(0xffffffffn), this.i64(0xffffn));
      this.code.set(address, this.and(address, mask));
    });
    return address;
  }

  /** Where the segment of the memory operand is in the record. */
  operandSegment(): Value {
    return this.code.load('i32.load16_u', this.op, R.OP_SEGMENT);
  }

  /** Outside 64-bit mode: linear address of memory operand `index`, its segment not checked. */
  uncheckedAddress(index: number): Value {
    const base = this.code.load('i64.load', this.add(this.cpu, this.operandSegment()));
    return this.zeroExtend(this.add(base, this.effectiveAddress(index)), 32);
  }

  // Stack ------------------------------------------------------------------------------------

  /**
   * Outside 64-bit mode: faults unless `size` bits at `offset` (i64) of the segment at `segment`
   * in the record may be accessed. Flat segments are known by the mode.
   */
  checkSegment(segment: Value, offset: Value, size: number, write: boolean): void {
    if (!this.legacy) return;
    this.if(this.and(this.state32(L.MODE), this.i32(MODE_SEGMENTED)), () => {
      this.code.scope(() => {
        const bytes = size >> 3;
        this.if(segmentSuspect(this, this.cpu, segment, offset, this.i64(bytes)), () => {
          this.markOp();
          this.code.store('i64.store', this.cpu, offset, L.ARG0);
          const args = [segment, this.i32(bytes), this.i32(write ? 1 : 0)];
          const faulted = this.code.call(this.core.checkSegment, 'i32', ...args);
          this.if(faulted, () => this.flow.fault());
        });
      });
    });
  }

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

  /**
   * Outside 64-bit mode: linear address of memory operand `index` moved by `distance` bytes, whose
   * `size` bits are checked there.
   */
  movedAddress(index: number, distance: Value, size: number, write: boolean): Value {
    const narrow = this.and(this.code.load('i32.load8_u', this.op, R.OP_EA), this.i32(R.EA_16));
    const mask = this.code.select(narrow, this.i64(0xffffn), this.i64(0xffffffffn));
    const offset = this.and(this.add(this.effectiveAddress(index), distance), mask);
    const segment = this.code.load('i32.load16_u', this.op, R.OP_SEGMENT);
    this.checkSegment(segment, offset, size, write);
    const base = this.code.load('i64.load', this.add(this.cpu, segment));
    return this.zeroExtend(this.add(base, offset), 32);
  }

  /** Reads the top of the stack without moving the pointer; see `popped`. */
  top(size = this.size): Value {
    return this.load(this.stackAddress(this.stackPointer(), false, size), size, true);
  }

  /** Moves the stack pointer over `bytes` bytes. */
  popped(bytes: number): void {
    this.setStackPointer(this.movedStackPointer(this.stackPointer(), bytes));
  }

  // Control flow -----------------------------------------------------------------------------

  /** RIP after this instruction. Overridden by a translator. */
  nextRip(): Value {
    const next = this.code.load('i64.load16_u', this.op, R.OP_NEXT);
    return this.#wholeRip(this.add(this.state64(L.RIP_PAGE), next));
  }

  /** RIP of this instruction. */
  rip(): Value {
    const next = this.code.load('i64.load16_u', this.op, R.OP_NEXT);
    const length = this.code.load('i64.load8_u', this.op, R.OP_LENGTH);
    return this.#wholeRip(this.sub(this.add(this.state64(L.RIP_PAGE), next), length));
  }

  /** The address of an instruction: 32 bits outside 64-bit mode, whatever the operand size. */
  #wholeRip(rip: Value): Value {
    return this.legacy ? this.zeroExtend(rip, 32) : rip;
  }

  /** Cuts a branch target to the operand size. AMD APM vol. 3, 1.2.2: in 64-bit mode as well. */
  cutRip(target: Value): Value {
    if (this.size === 16) return this.zeroExtend(target, 16);
    return this.legacy ? this.zeroExtend(target, 32) : target;
  }

  /** Goes to the relative target of the instruction. Overridden by a translator. */
  branchRelative(): void {
    const link = this.code.load('i32.load', this.op, R.OP_LINK);
    this.if(this.gtU(link, this.i32(R.LINK_UNRESOLVED)), () => this.flow.follow(link));
    const displacement = this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
    const target = this.cutRip(this.add(this.state64(L.RIP_PAGE), displacement));
    this.if(link, () => {
      this.markOp();
      this.code.store('i64.store', this.cpu, target, L.RIP);
      const record = this.code.call(this.core.link, 'i32', this.op);
      this.if(record, () => this.flow.follow(record));
    });
    this.flow.jump(target);
  }

  /**
   * Outside 64-bit mode: #GP(0) of the instruction for a relative target, if it branches, behind
   * the limit of CS. Comes before anything changes; `before` runs where there is a limit.
   */
  requireRelative(before?: () => void): void {
    if (!this.legacy) return;
    this.if(this.and(this.state32(L.MODE), this.i32(MODE_CODE_LIMITED)), () => {
      this.code.scope(() => {
        before?.();
        const displacement = this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
        this.requireInCode(this.cutRip(this.add(this.state64(L.RIP_PAGE), displacement)));
      });
    });
  }

  /** #GP(0) of the instruction for a target (i64, cut) behind the limit of CS. */
  requireInCode(target: Value): void {
    const field = L.segmentOffset(L.SEG.cs) + L.SEG_LIMIT;
    const limit = this.code.load('i64.load32_u', this.cpu, field);
    this.if(this.gtU(target, limit), () => this.raise(VECTOR_GP, 0));
  }

  /** Starts the instruction again: the next iteration of a repeated one. */
  repeat(): void {
    this.flow.jump(this.rip());
  }

  /** Goes to the RIP in `target`, which the caller has checked or a fetch will check. */
  branchTo(target: Value): void {
    this.flow.jump(this.cutRip(target));
  }

  /** The same for a target that an instruction names by an operand: where it led is noted. */
  branchIndirect(target: Value): void {
    if (!this.legacy) {
      const distance = this.wrap(this.sub(target, this.state64(L.RIP_PAGE)));
      const place = this.state32(L.INDIRECT_NEXT);
      const pair = this.add(this.cpu, place);
      this.code.store('i32.store', pair, this.op, L.INDIRECT);
      this.code.store('i32.store', pair, distance, L.INDIRECT + 4);
      const next = this.add(place, this.i32(L.INDIRECT_PAIR_SIZE));
      const end = L.INDIRECT_PAIRS * L.INDIRECT_PAIR_SIZE;
      this.setState32(L.INDIRECT_NEXT, this.and(next, this.i32(end - 1)));
    }
    this.branchTo(target);
  }

  /** Instructions that the vCPU has executed before this one (i64). */
  executed(): Value {
    const remaining = this.code.load('i32.load8_u', this.op, R.OP_REMAINING);
    const left = this.add(this.state32(L.BUDGET), remaining);
    return this.sub(this.state64(L.COUNT_END), this.code.op('i64.extend_i32_s', left));
  }

  // Out of the language ----------------------------------------------------------------------

  /** Calls a system function; arguments go to ARG0…; `result` runs if it says `next`. */
  system(name: string, args: readonly Value[], result?: () => void): void {
    this.markOp();
    args.forEach((value, index) => {
      const wide = value.type === 'i64' ? value : this.code.op('i64.extend_i32_u', value);
      this.code.store('i64.store', this.cpu, wide, L.ARG0 + index * 8);
    });
    const number = this.i32(this.systemNumber(name));
    const outcome = this.code.call(this.core.system, 'i32', number);
    this.if(outcome, () => {
      this.if(this.eq(outcome, this.i32(OUTCOME.fault)), () => this.flow.fault());
      this.if(this.eq(outcome, this.i32(OUTCOME.leave)), () => this.flow.leave());
      this.flow.redispatch();
    });
    result?.();
  }

  /** Result `index` of a system function. */
  systemResult(index = 0): Value {
    return this.state64(L.ARG0 + index * 8);
  }

  /** RFLAGS with its status flags, as i32. Overridden by a translator. */
  eflags(): Value {
    return this.code.call(this.core.eflags, 'i32');
  }

  /** Takes the status flags under `mask` from an RFLAGS image. Overridden by a translator. */
  setStatus(image: Value, mask: number): void {
    this.code.callVoid(this.core.setStatus, image, this.i32(mask));
  }

  /** A condition of what is rare: a translator leaves the instruction to the interpreter then. */
  rarely(condition: Value): Value {
    return condition;
  }

  /** Raises an exception with the state of before the instruction. */
  raise(vector: number, errorCode = -1): void {
    this.markOp();
    this.setState32(L.FAULT_VECTOR, this.i32(vector));
    this.setState32(L.FAULT_ERROR, this.i32(errorCode));
    this.flow.fault();
  }
}

export type { Label, Value, ValueType };
