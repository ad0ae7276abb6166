/**
 * Operands in the description language: registers, immediates and memory, with its address.
 *
 * Loads go through the op record's fields; a translator overrides the methods marked so. Integer
 * operand values are i64, sign-extended from their size.
 */
import * as L from '../cpu/layout.js';
import { MODE_SEGMENTED } from '../cpu/mode.js';
import type { CodeEmitter, Value } from '../wasm/code.js';
import type { CoreFunctions, Flow } from './flow.js';
import type { Form } from './form.js';
import { loadName, MemoryEmitter, storeName } from './memory-emitter.js';
import * as R from './op-record.js';
import { segmentSuspect } from './segment-suspect.js';

/** The whole address is base + displacement, or an index is added; or whatever the record says. */
export type Addressing = 'base' | 'index' | 'any';

interface PendingWrite {
  readonly host: Value;
}

export class OperandEmitter extends MemoryEmitter {
  readonly #registers: (Value | undefined)[] = [];
  readonly #addresses: (Value | undefined)[] = [];
  #pending: PendingWrite | null = null;
  /** How the address of the memory operand is formed, where that is known. */
  addressing: Addressing = 'any';
  /** An immediate count is known not to be zero. */
  countIsSet = false;

  constructor(
    code: CodeEmitter,
    cpu: Value,
    op: Value,
    readonly form: Form,
    core: CoreFunctions,
    flow: Flow,
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

  // Segments ---------------------------------------------------------------------------------

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
}
