/**
 * Emits the body of one WebAssembly function in terms of values and symbolic labels.
 *
 * Every operation puts its result in a local: an optimising compiler makes SSA of it anyway, and a
 * value can then be used any number of times. `scope` gives the locals made in it back, so that a
 * function of a thousand cases needs few. Constants stay constants until they are used.
 */
import {
  ByteWriter,
  LANE_OPCODES,
  MEMORY_OPCODES,
  OPCODES,
  SIMD_MEMORY_OPCODES,
  SIMD_OPCODES,
  type ValueType,
} from './encode.js';

/** A value of emitted code: a local, or a constant. */
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

const resultTypes = new Map<string, ValueType>();

/** Result type of an instruction, by its name; remembered, for there are few names. */
function resultType(name: string): ValueType {
  let type = resultTypes.get(name);
  if (type === undefined) {
    type = findResultType(name);
    resultTypes.set(name, type);
  }
  return type;
}

function findResultType(name: string): ValueType {
  const [lane, operation] = name.split('.');
  if (lane.includes('x') || lane === 'v128') {
    return /any_true|all_true|bitmask/.test(operation) ? 'i32' : 'v128';
  }
  if (/^(eqz|eq|ne|lt|gt|le|ge)(_[su])?$/.test(operation)) return 'i32';
  return lane as ValueType;
}

export class CodeEmitter {
  readonly #code = new ByteWriter(512);
  readonly #locals: ValueType[] = [];
  readonly #free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  #scopeLocals: { type: ValueType; local: number }[] = [];
  #depth = 0;
  #scopes = 0;

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
    const at = this.#scopeLocals.findIndex(({ local }) => local === value.local);
    if (at >= 0) this.#scopeLocals.splice(at, 1);
    return at >= 0;
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
    this.#scopeLocals.push({ type, local });
    return { type, local, constant: null };
  }

  /** A local of its own to the end of the function, which no code emitted before has used. */
  fixedLocal(type: ValueType): Value {
    this.#locals.push(type);
    return { type, local: this.params.length + this.#locals.length - 1, constant: null };
  }

  /** Emits `body`; locals made in it are free afterwards. */
  scope(body: () => void): void {
    const outer = this.#scopeLocals;
    this.#scopeLocals = [];
    this.#scopes++;
    body();
    this.#scopes--;
    for (const { type, local } of this.#scopeLocals.reverse()) this.#free[type].push(local);
    this.#scopeLocals = outer;
  }

  i32(value: number): Value {
    return { type: 'i32', local: -1, constant: value | 0 };
  }

  i64(value: bigint | number): Value {
    return { type: 'i64', local: -1, constant: BigInt.asIntN(64, BigInt(value)) };
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
      this.#code.u8(0x20);
      this.#code.u32(value.local);
    } else if (value.type === 'i32') {
      this.#code.u8(0x41);
      this.#code.s32(Number(constant));
    } else if (value.type === 'i64') {
      this.#code.u8(0x42);
      this.#code.s64(BigInt(constant));
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

  /** Emits a plain instruction on what is on the stack; its result stays there. */
  protected plain(name: string): void {
    this.#code.u8(OPCODES.get(name) as number);
  }

  #pop(type: ValueType): Value {
    const value = this.newLocal(type);
    this.#code.u8(0x21);
    this.#code.u32(value.local);
    return value;
  }

  /** Assigns a local made by `newLocal` or `variable`. */
  set(target: Value, value: Value): void {
    if (target.type !== value.type) throw new Error(`set ${target.type} to ${value.type}`);
    this.push(value);
    this.#code.u8(0x21);
    this.#code.u32(target.local);
  }

  /** A local initialised to `value`, to be changed by `set`. */
  variable(value: Value): Value {
    const local = this.newLocal(value.type);
    this.set(local, value);
    return local;
  }

  /** A numeric instruction by name, e.g. `op('i64.add', a, b)`. */
  op(name: string, ...operands: readonly Value[]): Value {
    for (const operand of operands) this.push(operand);
    const plain = OPCODES.get(name);
    if (plain !== undefined) {
      this.#code.u8(plain);
    } else {
      const simd = SIMD_OPCODES.get(name);
      if (simd === undefined) throw new Error(`unknown instruction ${name}`);
      this.#code.u8(0xfd);
      this.#code.u32(simd);
    }
    return this.#pop(resultType(name));
  }

  /** A lane instruction: extract (one operand) or replace (two). */
  lane(name: string, lane: number, ...operands: readonly Value[]): Value {
    for (const operand of operands) this.push(operand);
    const code = LANE_OPCODES.get(name);
    if (code === undefined) throw new Error(`unknown lane instruction ${name}`);
    this.#code.u8(0xfd);
    this.#code.u32(code);
    this.#code.u8(lane);
    if (name.includes('replace')) return this.#pop('v128');
    const [shape] = name.split('x');
    return this.#pop(shape === 'i8' || shape === 'i16' ? 'i32' : (shape as ValueType));
  }

  /** i8x16.shuffle with 16 constant lane numbers. */
  shuffle(a: Value, b: Value, lanes: readonly number[]): Value {
    this.push(a);
    this.push(b);
    this.#code.u8(0xfd);
    this.#code.u32(13);
    this.#code.raw(new Uint8Array(lanes));
    return this.#pop('v128');
  }

  v128(low: bigint, high: bigint): Value {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt.asUintN(64, low), true);
    view.setBigUint64(8, BigInt.asUintN(64, high), true);
    this.#code.u8(0xfd);
    this.#code.u32(12);
    this.#code.raw(bytes);
    return this.#pop('v128');
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
    return this.#pop(number < 4 ? 'i32' : 'i64');
  }

  /** A load by name, e.g. `load('i64.load32_s', base, 8)`; unaligned is allowed. */
  load(name: string, address: Value, offset = 0): Value {
    this.push(address);
    this.#memory(name, offset);
    return this.#pop(name.startsWith('v128.') ? 'v128' : (name.slice(0, 3) as ValueType));
  }

  store(name: string, address: Value, value: Value, offset = 0): void {
    this.push(address);
    this.push(value);
    this.#memory(name, offset);
  }

  #memory(name: string, offset: number): void {
    const simd = SIMD_MEMORY_OPCODES.get(name);
    if (simd !== undefined) {
      this.#code.u8(0xfd);
      this.#code.u32(simd);
    } else {
      const opcode = MEMORY_OPCODES.get(name);
      if (opcode === undefined) throw new Error(`unknown memory instruction ${name}`);
      this.#code.u8(opcode);
    }
    this.#code.u8(0);
    this.#code.u32(offset);
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
    return this.#pop(whenTrue.type);
  }

  globalGet(index: number): Value {
    this.#code.u8(0x23);
    this.#code.u32(index);
    return this.#pop('i32');
  }

  call(index: number, result: ValueType, ...args: readonly Value[]): Value {
    for (const value of args) this.push(value);
    this.#code.u8(0x10);
    this.#code.u32(index);
    return this.#pop(result);
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
    return this.#pop(result);
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
    this.#code.u8(END);
    this.#depth--;
  }

  if(condition: Value, whenTrue: () => void, whenFalse?: () => void): void {
    this.push(condition);
    this.openBlock(IF);
    whenTrue();
    if (whenFalse !== undefined) {
      this.#code.u8(ELSE);
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
