/**
 * Arithmetic and access to the vCPU record, by short names: the bottom of the description language.
 * An operation takes its type from its first operand.
 */
import type { CodeEmitter, Value } from '../wasm/code.js';
import type { ValueType } from '../wasm/encode.js';

/** Names of an operation on i32 and i64: made once, for looking names up takes most of the time. */
interface Names {
  readonly i32: string;
  readonly i64: string;
}

const names = (operation: string): Names => ({
  i32: `i32.${operation}`,
  i64: `i64.${operation}`,
});

const ADD = names('add');
const SUB = names('sub');
const MUL = names('mul');
const AND = names('and');
const OR = names('or');
const XOR = names('xor');
const SHL = names('shl');
const SHR_U = names('shr_u');
const SHR_S = names('shr_s');
const ROTL = names('rotl');
const ROTR = names('rotr');
const EQ = names('eq');
const NE = names('ne');
const LT_S = names('lt_s');
const LT_U = names('lt_u');
const LE_S = names('le_s');
const LE_U = names('le_u');
const GE_S = names('ge_s');
const GE_U = names('ge_u');
const GT_S = names('gt_s');
const GT_U = names('gt_u');
const CLZ = names('clz');
const CTZ = names('ctz');
const POPCNT = names('popcnt');
const EQZ = names('eqz');
const EXTENSIONS: Readonly<Record<number, string>> = {
  8: 'i64.extend8_s',
  16: 'i64.extend16_s',
  32: 'i64.extend32_s',
};

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

  #unary(operation: Names, a: Value): Value {
    return this.code.op(a.type === 'i64' ? operation.i64 : operation.i32, a);
  }

  #binary(operation: Names, a: Value, b: Value): Value {
    return this.code.op(a.type === 'i64' ? operation.i64 : operation.i32, a, b);
  }

  add(a: Value, b: Value): Value {
    return this.#binary(ADD, a, b);
  }

  sub(a: Value, b: Value): Value {
    return this.#binary(SUB, a, b);
  }

  mul(a: Value, b: Value): Value {
    return this.#binary(MUL, a, b);
  }

  and(a: Value, b: Value): Value {
    return this.#binary(AND, a, b);
  }

  or(a: Value, b: Value): Value {
    return this.#binary(OR, a, b);
  }

  xor(a: Value, b: Value): Value {
    return this.#binary(XOR, a, b);
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
    return this.#binary(SHL, a, b);
  }

  shrU(a: Value, b: Value): Value {
    return this.#binary(SHR_U, a, b);
  }

  shrS(a: Value, b: Value): Value {
    return this.#binary(SHR_S, a, b);
  }

  rotl(a: Value, b: Value): Value {
    return this.#binary(ROTL, a, b);
  }

  rotr(a: Value, b: Value): Value {
    return this.#binary(ROTR, a, b);
  }

  clz(a: Value): Value {
    return this.#unary(CLZ, a);
  }

  ctz(a: Value): Value {
    return this.#unary(CTZ, a);
  }

  popcnt(a: Value): Value {
    return this.#unary(POPCNT, a);
  }

  eqz(a: Value): Value {
    return this.#unary(EQZ, a);
  }

  eq(a: Value, b: Value): Value {
    return this.#binary(EQ, a, b);
  }

  ne(a: Value, b: Value): Value {
    return this.#binary(NE, a, b);
  }

  ltS(a: Value, b: Value): Value {
    return this.#binary(LT_S, a, b);
  }

  ltU(a: Value, b: Value): Value {
    return this.#binary(LT_U, a, b);
  }

  leS(a: Value, b: Value): Value {
    return this.#binary(LE_S, a, b);
  }

  leU(a: Value, b: Value): Value {
    return this.#binary(LE_U, a, b);
  }

  geS(a: Value, b: Value): Value {
    return this.#binary(GE_S, a, b);
  }

  geU(a: Value, b: Value): Value {
    return this.#binary(GE_U, a, b);
  }

  gtS(a: Value, b: Value): Value {
    return this.#binary(GT_S, a, b);
  }

  gtU(a: Value, b: Value): Value {
    return this.#binary(GT_U, a, b);
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
    return size === 64 ? a : this.code.op(EXTENSIONS[size], a);
  }

  /** Sign-extends the low 48 bits of an i64: what an address that four levels reach is. */
  signExtend48(a: Value): Value {
    return this.shrS(this.shl(a, this.i64(16)), this.i64(16));
  }

  /** Zero-extends the low `size` bits of an i64. */
  zeroExtend(a: Value, size: number): Value {
    return size === 64 ? a : this.and(a, this.i64(2 ** size - 1));
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
