/**
 * Code of one region: the byte emitter, evaluating at once what is known while translating.
 *
 * Descriptions ask for fields of the op record and of the vCPU record. Here the former are
 * constants, and of the latter the general registers are locals, loaded when the region is entered
 * and stored when it is left. What cannot be said this way throws `UNCOMPILABLE`.
 */
import * as L from '../cpu/layout.js';
import { CodeEmitter, type Label, type Value } from '../wasm/code.js';
import { fold } from './fold.js';

/** Thrown for what only the interpreter can execute. */
export const UNCOMPILABLE = new Error('this form is left to the interpreter');

/** Parameters of a region: the vCPU record, which of its blocks is entered, BUDGET. */
export const REGION_TYPE = { params: ['i32', 'i32', 'i32'], results: ['i64'] } as const;

/** The address of a field of the vCPU record. */
interface StateAddress extends Value {
  readonly state: number;
}

const GPR_END = L.GPR + 16 * 8;
/** Fields that a region holds in locals, or that change what the region itself relies on. */
const FORBIDDEN: ReadonlySet<number> = new Set([
  ...[L.RIP_PAGE, L.RIP, L.ZERO, L.FLAG_RES, L.FLAG_CV, L.FLAG_ADJ, L.CPL, L.MODE, L.CUR_OP],
  ...[L.BUDGET, L.TLB, L.JUMP_CACHE, L.GENERATION, L.RMW_PENDING],
]);

function stateOf(value: Value): number | undefined {
  return (value as Partial<StateAddress>).state;
}

/** Whether a write to the record at `at` can be repeated without anybody noticing. */
function isScratch(at: number): boolean {
  return (at >= L.ARG0 && at < L.PDPTE) || at === L.MXCSR;
}

export class RegionCode extends CodeEmitter {
  readonly cpu: Value;
  readonly registers: readonly Value[];
  readonly ripPage: Value;
  readonly budget: Value;
  readonly tlb: Value;
  /** What the region returns, and which of its blocks is to be entered. */
  readonly result: Value;
  readonly state: Value;
  /** Bit masks of the general registers that are read or written, and written. */
  used = 0;
  dirty = 0;
  /** The instruction has changed something: it can no longer be left to the interpreter. */
  mutated = false;
  /** The op record of the instruction that is translated. */
  record: Value;
  readonly #view: DataView;

  constructor(view: DataView) {
    super(REGION_TYPE.params);
    this.#view = view;
    this.cpu = { ...this.param(0), state: 0 } as StateAddress;
    this.registers = Array.from({ length: 16 }, () => this.newLocal('i64'));
    this.ripPage = this.newLocal('i64');
    this.budget = this.param(2);
    this.tlb = this.newLocal('i32');
    this.result = this.newLocal('i32');
    this.state = this.param(1);
    this.record = this.i32(0);
  }

  /** Begins the instruction of the record at `address`. */
  begin(address: number): void {
    this.record = this.i32(address);
    this.mutated = false;
  }

  protected override push(value: Value): void {
    const state = stateOf(value);
    if (state === undefined) {
      super.push(value);
      return;
    }
    super.push(this.param(0));
    if (state === 0) return;
    if (state < GPR_END || FORBIDDEN.has(state)) throw UNCOMPILABLE;
    super.push(this.i32(state));
    this.plain('i32.add');
  }

  override op(name: string, ...operands: readonly Value[]): Value {
    const [a, b] = operands;
    if (operands.length > 2) return super.op(name, ...operands);
    const right = b === undefined ? 0 : b.constant;
    if (right !== null) {
      if (a.constant !== null) {
        const folded = fold(name, a.constant, right);
        if (folded !== null) return this.#constant(name, folded);
      }
      const state = stateOf(a);
      if (state !== undefined && name === 'i32.add') return this.#stateAt(state + Number(right));
    } else if (a.constant !== null && name === 'i32.add') {
      const state = stateOf(b);
      if (state !== undefined) return this.#stateAt(state + Number(a.constant));
    }
    return super.op(name, ...operands);
  }

  #constant(name: string, pattern: bigint): Value {
    const [type, operation] = name.split('.');
    const is32 = type === 'i32' || /^(eqz|eq|ne|[lg][te]_[su])$/.test(operation);
    return is32 ? this.i32(Number(BigInt.asIntN(32, pattern))) : this.i64(pattern);
  }

  #stateAt(state: number): StateAddress {
    return { ...this.param(0), state };
  }

  override select(condition: Value, whenTrue: Value, whenFalse: Value): Value {
    if (condition.constant === null) return super.select(condition, whenTrue, whenFalse);
    const chosen = Number(condition.constant) !== 0 ? whenTrue : whenFalse;
    return chosen.constant === null ? this.variable(chosen) : chosen;
  }

  override load(name: string, address: Value, offset = 0): Value {
    if (address === this.record) return this.#recordField(name, Number(address.constant) + offset);
    const state = stateOf(address);
    if (state === undefined) return super.load(name, address, offset);
    const at = state + offset;
    if (at < GPR_END) return this.#register(name, at);
    if (at === L.ZERO && name === 'i64.load') return this.i64(0);
    if (at === L.RIP_PAGE && name === 'i64.load') return this.ripPage;
    if (FORBIDDEN.has(at) && at !== L.CPL && at !== L.MODE) throw UNCOMPILABLE;
    return super.load(name, this.param(0), at);
  }

  #recordField(name: string, at: number): Value {
    const view = this.#view;
    switch (name) {
      case 'i32.load':
        return this.i32(view.getInt32(at, true));
      case 'i32.load8_u':
        return this.i32(view.getUint8(at));
      case 'i32.load16_u':
        return this.i32(view.getUint16(at, true));
      case 'i64.load':
        return this.i64(view.getBigInt64(at, true));
      case 'i64.load8_u':
        return this.i64(view.getUint8(at));
      case 'i64.load16_u':
        return this.i64(view.getUint16(at, true));
      case 'i64.load32_s':
        return this.i64(view.getInt32(at, true));
      default:
        throw UNCOMPILABLE;
    }
  }

  /** A copy of what a load of a general register at `at` in the record gives. */
  #register(name: string, at: number): Value {
    const number = at >> 3;
    this.used |= 1 << number;
    const whole = this.registers[number];
    const high = (at & 7) === 1;
    if ((at & 7) > 1) throw UNCOMPILABLE;
    const source = high ? super.op('i64.shr_u', whole, this.i64(8)) : whole;
    switch (name) {
      case 'i64.load':
        return this.variable(whole);
      case 'i64.load32_s':
        return super.op('i64.extend32_s', source);
      case 'i64.load32_u':
        return super.op('i64.and', source, this.i64(0xffffffffn));
      case 'i64.load16_s':
        return super.op('i64.extend16_s', source);
      case 'i64.load16_u':
        return super.op('i64.and', source, this.i64(0xffff));
      case 'i64.load8_s':
        return super.op('i64.extend8_s', source);
      case 'i64.load8_u':
        return super.op('i64.and', source, this.i64(0xff));
      case 'i32.load':
        return super.op('i32.wrap_i64', source);
      case 'i32.load8_u':
        return super.op('i32.and', super.op('i32.wrap_i64', source), this.i32(0xff));
      case 'i32.load16_u':
        return super.op('i32.and', super.op('i32.wrap_i64', source), this.i32(0xffff));
      case 'v128.load32_zero':
      case 'v128.load64_zero': {
        const wide = name === 'v128.load64_zero';
        const low = wide ? whole : super.op('i64.and', whole, this.i64(0xffffffffn));
        return this.lane('i64x2.replace_lane', 0, this.v128(0n, 0n), low);
      }
      default:
        throw UNCOMPILABLE;
    }
  }

  override store(name: string, address: Value, value: Value, offset = 0): void {
    const state = stateOf(address);
    if (state === undefined) {
      this.mutated = true;
      super.store(name, address, value, offset);
      return;
    }
    const at = state + offset;
    if (at < GPR_END) {
      this.#setRegister(name, at, value);
      return;
    }
    if (FORBIDDEN.has(at)) throw UNCOMPILABLE;
    if (!isScratch(at)) this.mutated = true;
    super.store(name, this.param(0), value, at);
  }

  /** A store to the record that is the region's own business. */
  storeRaw(name: string, address: Value, value: Value, offset: number): void {
    super.store(name, address, value, offset);
  }

  #setRegister(name: string, at: number, value: Value): void {
    const number = at >> 3;
    this.used |= 1 << number;
    this.dirty |= 1 << number;
    this.mutated = true;
    const register = this.registers[number];
    if (name === 'i64.store' && (at & 7) === 0) {
      this.set(register, value);
      return;
    }
    const bits = name === 'i64.store8' || name === 'i32.store8' ? 8 : 16;
    if ((at & 7) > 1 || !/^i(32|64)\.store(8|16)$/.test(name)) throw UNCOMPILABLE;
    const wide = value.type === 'i32' ? this.op('i64.extend_i32_u', value) : value;
    const shift = (at & 7) * 8;
    const mask = ((1n << BigInt(bits)) - 1n) << BigInt(shift);
    const shifted = this.op('i64.shl', wide, this.i64(shift));
    const inserted = this.op('i64.and', shifted, this.i64(mask));
    const kept = super.op('i64.and', register, this.i64(~mask));
    this.set(register, this.op('i64.or', kept, inserted));
  }

  override brIf(condition: Value, label: Label): void {
    if (condition.constant === null) super.brIf(condition, label);
    else if (Number(condition.constant) !== 0) this.br(label);
  }

  override callIndirect(): Value {
    throw UNCOMPILABLE;
  }
}
