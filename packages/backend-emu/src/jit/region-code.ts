/**
 * Code of one region: the byte emitter, evaluating at once what is known while translating.
 *
 * Descriptions ask for fields of the op record and of the vCPU record. Here the former are
 * constants, and of the latter the general registers are locals, loaded when the region is entered
 * and stored when it is left. What cannot be said this way throws `UNCOMPILABLE`.
 */
import * as L from '../cpu/layout.js';
import { CodeEmitter, type Label, type Value } from '../wasm/code.js';
import { stackCode } from '../wasm/stack-code.js';
import { fold } from './fold.js';

/** Thrown for what only the interpreter can execute. */
export const UNCOMPILABLE = new Error('this form is left to the interpreter');

/** Parameters of a region: the vCPU record, which of its blocks is entered, BUDGET. */
export const REGION_TYPE = { params: ['i32', 'i32', 'i32'], results: ['i64'] } as const;

/** The address of a field of the vCPU record. */
interface StateAddress extends Value {
  readonly state: number;
}

const NARROW_STORES: ReadonlyMap<string, number> = new Map([
  ...[['i64.store8', 8] as const, ['i32.store8', 8] as const],
  ...[['i64.store16', 16] as const, ['i32.store16', 16] as const],
]);
const ENTRY_SHIFT = Math.log2(L.TLB_ENTRY_SIZE);
/** `MemoryEmitter.tlbEntry`, from the address twice on the stack to the offset of its entry. */
const TLB_OFFSET = stackCode(
  ...(['i64', 10, 'i64.shr_u', 'i64.xor', 'i32.wrap_i64'] as const),
  ...(['i32', 12 - ENTRY_SHIFT, 'i32.shr_u'] as const),
  ...(['i32', (L.TLB_ENTRIES - 1) << ENTRY_SHIFT, 'i32.and'] as const),
);
const GPR_END = L.GPR + 16 * 8;
/** Fields that a region holds in locals, or that change what the region itself relies on. */
const FORBIDDEN: ReadonlySet<number> = new Set([
  ...[L.RIP_PAGE, L.RIP, L.ZERO, L.FLAG_RES, L.FLAG_CV, L.FLAG_ADJ, L.CPL, L.MODE, L.CUR_OP],
  ...[L.BUDGET, L.TLB, L.JUMP_CACHE, L.GENERATION, L.RMW_PENDING],
]);

function stateAt(state: number): StateAddress {
  return { type: 'i32', local: 0, constant: null, state };
}

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
    this.cpu = stateAt(0);
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

  override op(name: string, a: Value, b?: Value, c?: Value): Value {
    if (c !== undefined) return super.op(name, a, b, c);
    const right = b === undefined ? 0 : b.constant;
    if (right !== null) {
      if (a.constant !== null) {
        const folded = fold(name, a.constant, right);
        if (folded !== null) {
          return folded.narrow ? this.#narrow(folded.value) : this.i64(folded.value);
        }
      }
      const state = stateOf(a);
      if (state !== undefined && name === 'i32.add') return stateAt(state + Number(right));
    } else if (a.constant !== null && name === 'i32.add') {
      const state = stateOf(b as Value);
      if (state !== undefined) return stateAt(state + Number(a.constant));
    }
    return super.op(name, a, b);
  }

  #narrow(pattern: bigint | number): Value {
    return this.i32(typeof pattern === 'number' ? pattern : Number(BigInt.asIntN(32, pattern)));
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
    if (at === L.BUDGET && name === 'i32.load') return this.budget;
    if (FORBIDDEN.has(at) && at !== L.CPL && at !== L.MODE) throw UNCOMPILABLE;
    return super.load(name, this.param(0), at);
  }

  /** A byte, or two, of the op record. */
  byteAt(field: number): number {
    return this.#view.getUint8((this.record.constant as number) + field);
  }

  halfAt(field: number): number {
    return this.#view.getUint16((this.record.constant as number) + field, true);
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
        return this.#wideField(at);
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

  #wideField(at: number): Value {
    const view = this.#view;
    const low = view.getInt32(at, true);
    const fits = view.getInt32(at + 4, true) === low >> 31;
    return this.i64(fits ? low : view.getBigInt64(at, true));
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
        return super.op('i64.and', source, this.i64(0xffffffff));
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

  /** A load of the region's own business from the record, straight into `local`. */
  loadRaw(local: Value, name: string, offset: number): void {
    this.push(this.param(0));
    this.loadInto(local, name, offset);
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
    const bits = NARROW_STORES.get(name);
    if ((at & 7) > 1 || bits === undefined) throw UNCOMPILABLE;
    const wide = value.type === 'i32' ? this.op('i64.extend_i32_u', value) : value;
    const shift = (at & 7) * 8;
    const mask = ((1n << BigInt(bits)) - 1n) << BigInt(shift);
    const shifted = this.op('i64.shl', wide, this.i64(shift));
    const inserted = this.op('i64.and', shifted, this.i64(mask));
    const kept = super.op('i64.and', register, this.i64(~mask));
    this.set(register, this.op('i64.or', kept, inserted));
  }

  /** The TLB entry of `address`, without locals for what comes between. */
  tlbEntry(address: Value): Value {
    this.push(address);
    this.push(address);
    this.raw(TLB_OFFSET);
    this.push(this.tlb);
    this.plain('i32.add');
    return this.pop('i32');
  }

  override brIf(condition: Value, label: Label): void {
    if (condition.constant === null) super.brIf(condition, label);
    else if (Number(condition.constant) !== 0) this.br(label);
  }

  override callIndirect(): Value {
    throw UNCOMPILABLE;
  }
}
