/**
 * Arithmetic and access to the vCPU record, by short names: the bottom of the description language.
 * An operation takes its type from its first operand.
 */
import type { CodeEmitter, Value } from '../wasm/code.js';
import type { ValueType } from '../wasm/encode.js';

export class ArithmeticEmitter {
  constructor(
    readonly code: CodeEmitter,
    /** Address of the vCPU record. */
    readonly cpu: Value,
  ) {}

  i32(value: number): Value {
    return this.code.i32(value);
  }

  i64(value: number | bigint): Value {
    return this.code.i64(value);
  }

  /** A constant of the type of `like`. */
  constant(like: Value, value: number): Value {
    return like.type === 'i32' ? this.i32(value) : this.i64(value);
  }

  #binary(name: string, a: Value, b: Value): Value {
    return this.code.op(`${a.type}.${name}`, a, b);
  }

  add(a: Value, b: Value): Value {
    return this.#binary('add', a, b);
  }

  sub(a: Value, b: Value): Value {
    return this.#binary('sub', a, b);
  }

  mul(a: Value, b: Value): Value {
    return this.#binary('mul', a, b);
  }

  and(a: Value, b: Value): Value {
    return this.#binary('and', a, b);
  }

  or(a: Value, b: Value): Value {
    return this.#binary('or', a, b);
  }

  xor(a: Value, b: Value): Value {
    return this.#binary('xor', a, b);
  }

  /** a and not b. */
  andNot(a: Value, b: Value): Value {
    return this.and(a, this.not(b));
  }

  not(a: Value): Value {
    return this.xor(a, this.constant(a, -1));
  }

  negate(a: Value): Value {
    return this.sub(this.constant(a, 0), a);
  }

  /** Shift counts are taken modulo the width of the type, as WebAssembly does. */
  shl(a: Value, b: Value): Value {
    return this.#binary('shl', a, b);
  }

  shrU(a: Value, b: Value): Value {
    return this.#binary('shr_u', a, b);
  }

  shrS(a: Value, b: Value): Value {
    return this.#binary('shr_s', a, b);
  }

  rotl(a: Value, b: Value): Value {
    return this.#binary('rotl', a, b);
  }

  rotr(a: Value, b: Value): Value {
    return this.#binary('rotr', a, b);
  }

  clz(a: Value): Value {
    return this.code.op(`${a.type}.clz`, a);
  }

  ctz(a: Value): Value {
    return this.code.op(`${a.type}.ctz`, a);
  }

  popcnt(a: Value): Value {
    return this.code.op(`${a.type}.popcnt`, a);
  }

  eqz(a: Value): Value {
    return this.code.op(`${a.type}.eqz`, a);
  }

  eq(a: Value, b: Value): Value {
    return this.#binary('eq', a, b);
  }

  ne(a: Value, b: Value): Value {
    return this.#binary('ne', a, b);
  }

  ltS(a: Value, b: Value): Value {
    return this.#binary('lt_s', a, b);
  }

  ltU(a: Value, b: Value): Value {
    return this.#binary('lt_u', a, b);
  }

  leS(a: Value, b: Value): Value {
    return this.#binary('le_s', a, b);
  }

  leU(a: Value, b: Value): Value {
    return this.#binary('le_u', a, b);
  }

  geS(a: Value, b: Value): Value {
    return this.#binary('ge_s', a, b);
  }

  geU(a: Value, b: Value): Value {
    return this.#binary('ge_u', a, b);
  }

  gtS(a: Value, b: Value): Value {
    return this.#binary('gt_s', a, b);
  }

  gtU(a: Value, b: Value): Value {
    return this.#binary('gt_u', a, b);
  }

  /** `whenTrue` if `condition` (i32) is not zero. */
  select(condition: Value, whenTrue: Value, whenFalse: Value): Value {
    return this.code.select(condition, whenTrue, whenFalse);
  }

  wrap(a: Value): Value {
    return this.code.op('i32.wrap_i64', a);
  }

  /** i32 to i64, unsigned. */
  widen(a: Value): Value {
    return this.code.op('i64.extend_i32_u', a);
  }

  /** Sign-extends the low `size` bits of an i64. */
  signExtend(a: Value, size: number): Value {
    return size === 64 ? a : this.code.op(`i64.extend${size}_s`, a);
  }

  /** Zero-extends the low `size` bits of an i64. */
  zeroExtend(a: Value, size: number): Value {
    return size === 64 ? a : this.and(a, this.i64((1n << BigInt(size)) - 1n));
  }

  /** Branches of emitted code; locals made in a branch are free after it. */
  if(condition: Value, whenTrue: () => void, whenFalse?: () => void): void {
    const scoped = (body: () => void) => () => this.code.scope(body);
    this.code.if(condition, scoped(whenTrue), whenFalse && scoped(whenFalse));
  }

  state32(offset: number): Value {
    return this.code.load('i32.load', this.cpu, offset);
  }

  state64(offset: number): Value {
    return this.code.load('i64.load', this.cpu, offset);
  }

  stateAs(name: string, offset: number): Value {
    return this.code.load(name, this.cpu, offset);
  }

  setState32(offset: number, value: Value): void {
    this.code.store('i32.store', this.cpu, value, offset);
  }

  setState64(offset: number, value: Value): void {
    this.code.store('i64.store', this.cpu, value, offset);
  }

  /** A value that is assigned in branches. */
  variable(value: Value): Value {
    return this.code.variable(value);
  }

  local(type: ValueType): Value {
    return this.code.newLocal(type);
  }

  set(target: Value, value: Value): void {
    this.code.set(target, value);
  }
}
