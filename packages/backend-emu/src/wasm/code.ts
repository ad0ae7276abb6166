/**
 * Emits the body of one WebAssembly function in terms of values and symbolic labels.
 *
 * Every operation puts its result in a local: an optimising compiler makes SSA of it anyway, and a
 * value can then be used any number of times. `scope` gives the locals made in it back, so that a
 * function of a thousand cases needs few. Constants stay constants until they are used.
 */
import { ByteWriter, type ValueType } from './encode.js';
import { laneInstruction, memoryInstruction, numericInstruction } from './instructions.js';

/**
 * A value of emitted code: a local, or a constant. An i64 that fits 32 bits, signed, is a number;
 * bigints are slow.
 */
export interface Value {
  readonly type: ValueType;
  readonly local: number;
  readonly constant: bigint | number | null;
}

/** A branch target. */
export interface Label {
  readonly depth: number;
}

const BLOCK = 0x02;
const LOOP = 0x03;
const IF = 0x04;
const ELSE = 0x05;
const END = 0x0b;
const VOID = 0x40;

const GET = 0x20;
const SET = 0x21;
const TEE = 0x22;
const SIMD = 0xfd;

export class CodeEmitter {
  readonly #code = new ByteWriter(512);
  readonly #locals: ValueType[] = [];
  readonly #free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  /** Locals of all open scopes; where those of the innermost begin. */
  readonly #open: Value[] = [];
  #innermost = 0;
  #depth = 0;
  #scopes = 0;
  /** What the last instruction assigned, and the lengths of the code before and behind it. */
  #assigned = -1;
  #assignment = -1;
  #behindAssignment = -1;
  #behindElse = -1;

  constructor(readonly params: readonly ValueType[]) {}

  get locals(): readonly ValueType[] {
    return this.#locals;
  }

  /** How many scopes are open: a local made in a deeper one is not to be used here. */
  get scopes(): number {
    return this.#scopes;
  }

  /** Length of the code so far, in bytes. */
  get size(): number {
    return this.#code.length;
  }

  /** Takes a local out of its scope: it lives until `release`. False if it is not of this scope. */
  keep(value: Value): boolean {
    for (let at = this.#open.length - 1; at >= this.#innermost; at--) {
      if (this.#open[at].local !== value.local) continue;
      this.#open.splice(at, 1);
      return true;
    }
    return false;
  }

  /** Gives a kept local back. */
  release({ type, local }: Value): void {
    if (local >= this.params.length) this.#free[type].push(local);
  }

  finish(): { locals: readonly ValueType[]; code: Uint8Array } {
    if (this.#depth !== 0) throw new Error('unbalanced blocks');
    this.#code.u8(END);
    return { locals: this.#locals, code: this.#code.take() };
  }

  param(index: number): Value {
    return { type: this.params[index], local: index, constant: null };
  }

  /** A local that lives to the end of the scope. */
  newLocal(type: ValueType): Value {
    let local = this.#free[type].pop();
    if (local === undefined) {
      local = this.params.length + this.#locals.length;
      this.#locals.push(type);
    }
    const value: Value = { type, local, constant: null };
    this.#open.push(value);
    return value;
  }

  /** A local of its own to the end of the function, which no code emitted before has used. */
  fixedLocal(type: ValueType): Value {
    this.#locals.push(type);
    return { type, local: this.params.length + this.#locals.length - 1, constant: null };
  }

  /** Emits `body`; locals made in it are free afterwards. */
  scope(body: () => void): void {
    const open = this.#open;
    const outer = this.#innermost;
    this.#innermost = open.length;
    this.#scopes++;
    body();
    this.#scopes--;
    while (open.length > this.#innermost) {
      const { type, local } = open.pop() as Value;
      this.#free[type].push(local);
    }
    this.#innermost = outer;
  }

  i32(value: number): Value {
    return { type: 'i32', local: -1, constant: value | 0 };
  }

  i64(value: bigint | number): Value {
    if (typeof value === 'number' && value === (value | 0)) {
      return { type: 'i64', local: -1, constant: value };
    }
    const wide = BigInt.asIntN(64, BigInt(value));
    const fits = wide >= -0x80000000n && wide <= 0x7fffffffn;
    return { type: 'i64', local: -1, constant: fits ? Number(wide) : wide };
  }

  f32(value: number): Value {
    return { type: 'f32', local: -1, constant: value };
  }

  f64(value: number): Value {
    return { type: 'f64', local: -1, constant: value };
  }

  /** Emits what puts `value` on the stack. */
  protected push(value: Value): void {
    const { constant } = value;
    if (constant === null) {
      const code = this.#code;
      if (value.local === this.#assigned && code.length === this.#behindAssignment) {
        code.bytes[this.#assignment] = TEE;
        this.#behindAssignment = -1;
        return;
      }
      code.u8(GET);
      code.u32(value.local);
    } else if (value.type === 'i32') {
      this.#code.u8(0x41);
      this.#code.s32(Number(constant));
    } else if (value.type === 'i64') {
      this.#code.u8(0x42);
      if (typeof constant === 'number') this.#code.s32(constant);
      else this.#code.s64(constant);
    } else {
      const wide = value.type === 'f64';
      const bytes = new Uint8Array(wide ? 8 : 4);
      const view = new DataView(bytes.buffer);
      if (wide) view.setFloat64(0, Number(constant), true);
      else view.setFloat32(0, Number(constant), true);
      this.#code.u8(wide ? 0x44 : 0x43);
      this.#code.raw(bytes);
    }
  }

  /** Assigns what is on the stack. */
  #assign(local: number): void {
    const code = this.#code;
    this.#assigned = local;
    this.#assignment = code.length;
    code.u8(SET);
    code.u32(local);
    this.#behindAssignment = code.length;
  }

  /** Whether `value` is what was just assigned: then it costs least as the first operand. */
  #isFresh(value: Value): boolean {
    return value.local === this.#assigned && this.#code.length === this.#behindAssignment;
  }

  /** Emits instructions, as they are, on what is on the stack. */
  protected raw(bytes: Uint8Array): void {
    this.#code.raw(bytes);
  }

  /** Emits a plain instruction on what is on the stack; its result stays there. */
  protected plain(name: string): void {
    this.#code.u8(numericInstruction(name).number);
  }

  /** What is on the stack, in a local. */
  protected pop(type: ValueType): Value {
    const value = this.newLocal(type);
    this.#assign(value.local);
    return value;
  }

  /** Assigns a local made by `newLocal` or `variable`. */
  set(target: Value, value: Value): void {
    if (target.type !== value.type) throw new Error(`set ${target.type} to ${value.type}`);
    this.push(value);
    this.#assign(target.local);
  }

  /** A local initialised to `value`, to be changed by `set`. */
  variable(value: Value): Value {
    const local = this.newLocal(value.type);
    this.set(local, value);
    return local;
  }

  /** A numeric instruction by name, e.g. `op('i64.add', a, b)`. */
  op(name: string, a: Value, b?: Value, c?: Value): Value {
    const { simd, number, result, commutes } = numericInstruction(name);
    if (commutes && b !== undefined && this.#isFresh(b) && b.constant === null) {
      this.push(b);
      this.push(a);
    } else {
      this.push(a);
      if (b !== undefined) this.push(b);
      if (c !== undefined) this.push(c);
    }
    if (simd) {
      this.#code.u8(SIMD);
      this.#code.u32(number);
    } else {
      this.#code.u8(number);
    }
    return this.pop(result);
  }

  /** A lane instruction: extract (one operand) or replace (two). */
  lane(name: string, lane: number, ...operands: readonly Value[]): Value {
    for (const operand of operands) this.push(operand);
    const { number, result } = laneInstruction(name);
    this.#code.u8(SIMD);
    this.#code.u32(number);
    this.#code.u8(lane);
    return this.pop(result);
  }

  /** i8x16.shuffle with 16 constant lane numbers. */
  shuffle(a: Value, b: Value, lanes: readonly number[]): Value {
    this.push(a);
    this.push(b);
    this.#code.u8(0xfd);
    this.#code.u32(13);
    this.#code.raw(new Uint8Array(lanes));
    return this.pop('v128');
  }

  v128(low: bigint, high: bigint): Value {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt.asUintN(64, low), true);
    view.setBigUint64(8, BigInt.asUintN(64, high), true);
    this.#code.u8(0xfd);
    this.#code.u32(12);
    this.#code.raw(bytes);
    return this.pop('v128');
  }

  /** A saturating float to integer conversion (prefix 0xfc, numbers 0 to 7). */
  truncSat(name: string, operand: Value): Value {
    const names = ['i32.f32_s', 'i32.f32_u', 'i32.f64_s', 'i32.f64_u'];
    const wide = ['i64.f32_s', 'i64.f32_u', 'i64.f64_s', 'i64.f64_u'];
    const number = [...names, ...wide].indexOf(name);
    if (number < 0) throw new Error(`unknown conversion ${name}`);
    this.push(operand);
    this.#code.u8(0xfc);
    this.#code.u32(number);
    return this.pop(number < 4 ? 'i32' : 'i64');
  }

  /** A load by name, e.g. `load('i64.load32_s', base, 8)`; unaligned is allowed. */
  load(name: string, address: Value, offset = 0): Value {
    this.push(address);
    return this.pop(this.#memory(name, offset));
  }

  /** Loads from the address on the stack into `target`. */
  protected loadInto(target: Value, name: string, offset: number): void {
    this.#memory(name, offset);
    this.#assign(target.local);
  }

  store(name: string, address: Value, value: Value, offset = 0): void {
    this.push(address);
    this.push(value);
    this.#memory(name, offset);
  }

  /** Emits a load or store on what is on the stack; the type of what it leaves there. */
  #memory(name: string, offset: number): ValueType {
    const { simd, number, result } = memoryInstruction(name);
    if (simd) this.#code.u8(SIMD);
    this.#code.u8(number);
    this.#code.u8(0);
    this.#code.u32(offset);
    return result;
  }

  memoryCopy(target: Value, source: Value, length: Value): void {
    for (const value of [target, source, length]) this.push(value);
    this.#code.raw(new Uint8Array([0xfc, 10, 0, 0]));
  }

  memoryFill(target: Value, byte: Value, length: Value): void {
    for (const value of [target, byte, length]) this.push(value);
    this.#code.raw(new Uint8Array([0xfc, 11, 0]));
  }

  select(condition: Value, whenTrue: Value, whenFalse: Value): Value {
    this.push(whenTrue);
    this.push(whenFalse);
    this.push(condition);
    if (whenTrue.type === 'v128') this.#code.raw(new Uint8Array([0x1c, 1, 0x7b]));
    else this.#code.u8(0x1b);
    return this.pop(whenTrue.type);
  }

  globalGet(index: number): Value {
    this.#code.u8(0x23);
    this.#code.u32(index);
    return this.pop('i32');
  }

  call(index: number, result: ValueType, ...args: readonly Value[]): Value {
    for (const value of args) this.push(value);
    this.#code.u8(0x10);
    this.#code.u32(index);
    return this.pop(result);
  }

  callVoid(index: number, ...args: readonly Value[]): void {
    for (const value of args) this.push(value);
    this.#code.u8(0x10);
    this.#code.u32(index);
  }

  callIndirect(type: number, result: ValueType, slot: Value, ...args: readonly Value[]): Value {
    for (const value of [...args, slot]) this.push(value);
    this.#code.u8(0x11);
    this.#code.u32(type);
    this.#code.u32(0);
    return this.pop(result);
  }

  /** A block: branching to its label leaves it. */
  block(body: (label: Label) => void): void {
    this.#structure(BLOCK, body);
  }

  /** A loop: branching to its label repeats it. */
  loop(body: (label: Label) => void): void {
    this.#structure(LOOP, body);
  }

  #structure(opcode: number, body: (label: Label) => void): void {
    this.openBlock(opcode);
    body({ depth: this.#depth });
    this.close();
  }

  /** Opens a block (or loop) that `close` ends: for the cases of a switch. */
  openBlock(opcode: number = BLOCK): Label {
    this.#code.u8(opcode);
    this.#code.u8(VOID);
    this.#depth++;
    return { depth: this.#depth };
  }

  close(): void {
    // An empty second half need not be there.
    if (this.#code.length === this.#behindElse) this.#code.length--;
    this.#behindElse = -1;
    this.#code.u8(END);
    this.#depth--;
  }

  if(condition: Value, whenTrue: () => void, whenFalse?: () => void): void {
    this.push(condition);
    this.openBlock(IF);
    whenTrue();
    if (whenFalse !== undefined) {
      this.#code.u8(ELSE);
      this.#behindElse = this.#code.length;
      whenFalse();
    }
    this.close();
  }

  br(label: Label): void {
    this.#code.u8(0x0c);
    this.#code.u32(this.#depth - label.depth);
  }

  brIf(condition: Value, label: Label): void {
    this.push(condition);
    this.#code.u8(0x0d);
    this.#code.u32(this.#depth - label.depth);
  }

  brTable(selector: Value, labels: readonly Label[], otherwise: Label): void {
    this.push(selector);
    this.#code.u8(0x0e);
    this.#code.u32(labels.length);
    for (const label of labels) this.#code.u32(this.#depth - label.depth);
    this.#code.u32(this.#depth - otherwise.depth);
  }

  return(value?: Value): void {
    if (value !== undefined) this.push(value);
    this.#code.u8(0x0f);
  }

  unreachable(): void {
    this.#code.u8(0x00);
  }
}
