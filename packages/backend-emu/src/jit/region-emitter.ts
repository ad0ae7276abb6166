/**
 * The language of instruction descriptions for the translator: operands are what the op record
 * says, registers are locals, the address of an operand is worked out as far as it is known.
 *
 * An instruction that needs anything but the fast path leaves the region before it has changed
 * anything; the interpreter then executes it. One that has changed something by then is
 * `UNCOMPILABLE`. 64-bit mode only.
 */
import * as L from '../cpu/layout.js';
import { Emitter } from '../isa/emitter.js';
import type { FlagName } from '../isa/flag-emitter.js';
import type { CoreFunctions, Flow } from '../isa/flow.js';
import type { Form } from '../isa/form.js';
import * as R from '../isa/op-record.js';
import type { Value } from '../wasm/code.js';
import type { FlagState } from './flag-state.js';
import type { CachedPage, PageCache } from './page-cache.js';
import { type RegionCode, UNCOMPILABLE } from './region-code.js';

/** How an instruction ends, or leaves the region. */
export interface RegionExits {
  /** Leaves the instruction to the interpreter. */
  interpret(): void;
  /** Goes on at RIP `target` (i64). */
  jump(target: Value): void;
  /** Goes on at `offset` of the page. */
  branch(offset: number): void;
}

function refuse(): never {
  throw UNCOMPILABLE;
}

/** No function of the core module can be called from a region. */
const NO_CORE = new Proxy({} as CoreFunctions, { get: refuse });
const NONE = L.ZERO;
/** There are no system functions in a region. */
const noSystem = (): number => 0;

/** How instructions end, as `exits` have it. */
export function flowOf(exits: RegionExits): Flow {
  return {
    fault: () => exits.interpret(),
    leave: () => exits.interpret(),
    jump: (target) => exits.jump(target),
    enter: refuse,
    follow: refuse,
    redispatch: refuse,
  };
}

/** OF, SF, ZF, AF, PF and CF. */
const ALL_STATUS = 0x8d5;

export class RegionEmitter extends Emitter {
  /** Linear address of its memory operand, of which an instruction has one. */
  #linear: Value | undefined;
  /** By which registers it forms the address. */
  #base = 0;
  #index = 0;

  constructor(
    override readonly code: RegionCode,
    form: Form,
    access: string,
    readonly flags: FlagState,
    /** Undefined outside loops. */
    readonly pages: PageCache | null,
    readonly exits: RegionExits,
    flow: Flow,
  ) {
    super(code, code.cpu, code.record, form, NO_CORE, flow, noSystem, access);
  }

  // Control ----------------------------------------------------------------------------------

  override if(condition: Value, whenTrue: () => void, whenFalse?: () => void): void {
    if (condition.constant !== null) {
      if (Number(condition.constant) !== 0) whenTrue();
      else whenFalse?.();
      return;
    }
    const { code, flags } = this;
    const before = flags.current;
    const mutated = code.mutated;
    let changed = false;
    let afterTrue = mutated;
    code.if(
      condition,
      () =>
        code.scope(() => {
          whenTrue();
          changed = flags.current !== before;
          if (changed) flags.toLocals(false);
          flags.current = before;
          afterTrue = code.mutated;
          code.mutated = mutated;
        }),
      () =>
        code.scope(() => {
          whenFalse?.();
          if (flags.current !== before && !changed) throw UNCOMPILABLE;
          if (changed) flags.toLocals(false);
        }),
    );
    code.mutated ||= afterTrue;
    if (changed) flags.begin(false);
  }

  override markOp(): void {}

  override branchRelative(): void {
    if (this.size === 16) throw UNCOMPILABLE;
    this.exits.branch(Number(this.code.load('i64.load', this.op, R.OP_DISPLACEMENT).constant));
  }

  override branchIndirect(target: Value): void {
    this.branchTo(target);
  }

  override repeat(): void {
    throw UNCOMPILABLE;
  }

  override system(): void {
    this.exits.interpret();
  }

  override raise(): void {
    this.exits.interpret();
  }

  // Memory -----------------------------------------------------------------------------------

  protected override tlb(): Value {
    return this.code.tlb;
  }

  protected override tlbEntry(address: Value): Value {
    return this.code.tlbEntry(address);
  }

  /** The host address of `bytes` bytes at `address`, which the TLB lets be accessed by `tag`. */
  #host(address: Value, bytes: number, tag: number): Value {
    const host = this.code.newLocal('i32');
    const page = this.pages?.page(`${this.#base} ${this.#index} ${bytes} ${tag}`);
    if (page !== undefined) {
      this.code.scope(() => {
        const distance = this.xor(address, page.tag);
        this.if(this.geU(distance, page.limit), () => this.#find(page, address, bytes, tag));
        this.code.set(host, this.add(this.wrap(address), page.addend));
      });
      return host;
    }
    this.code.scope(() => {
      const entry = this.tlbEntry(address);
      this.if(this.misses(entry, tag, address, bytes), () => this.exits.interpret());
      this.code.set(host, this.hostAddress(entry, address));
    });
    return host;
  }

  /** Makes `page` that of `address`. */
  #find(page: CachedPage, address: Value, bytes: number, tag: number): void {
    const entry = this.tlbEntry(address);
    this.if(this.misses(entry, tag, address, bytes), () => this.exits.interpret());
    const { code } = this;
    code.set(page.tag, code.load('i64.load', entry, tag));
    code.set(page.addend, code.load('i32.load', entry, L.TLB_ADDEND));
    code.set(page.limit, this.i64(4097 - bytes));
  }

  override readable(address: Value, bytes: number): Value {
    return this.#host(address, bytes, L.TLB_TAG_READ);
  }

  override storeAs(name: string, address: Value, value: Value, bytes: number): void {
    this.code.store(name, this.#host(address, bytes, L.TLB_TAG_WRITE), value);
  }

  override update(address: Value, bytes: number): Value {
    return this.#host(address, bytes, L.TLB_TAG_WRITE);
  }

  override commit(): void {}

  override address(index: number): Value {
    const { code } = this;
    this.#base = code.halfAt(R.OP_BASE);
    this.#index = code.halfAt(R.OP_INDEX);
    if (this.#linear !== undefined) return this.#linear;
    const offset = this.effectiveAddress(index);
    const segment = code.halfAt(R.OP_SEGMENT);
    const override = (code.byteAt(R.OP_EA) & R.EA_SEGMENT) !== 0 && segment !== NONE;
    const address = override ? this.add(offset, this.state64(segment)) : offset;
    if (this.unconditional) this.#linear = address;
    return address;
  }

  override effectiveAddress(_index: number): Value {
    const { code } = this;
    const displacement = code.load('i64.load', this.op, R.OP_DISPLACEMENT);
    const base = code.halfAt(R.OP_BASE);
    const index = code.halfAt(R.OP_INDEX);
    const kind = code.byteAt(R.OP_EA);
    let sum: Value | undefined = base === NONE ? undefined : this.state64(base);
    if ((kind & R.EA_INDEX) !== 0 && index !== NONE) {
      const scale = code.byteAt(R.OP_SCALE);
      const register = this.state64(index);
      const scaled = scale === 0 ? register : this.shl(register, this.i64(scale));
      sum = sum === undefined ? scaled : this.add(sum, scaled);
    }
    if (sum === undefined) sum = displacement;
    else if (displacement.constant !== 0) sum = this.add(sum, displacement);
    return (kind & R.EA_32) !== 0 ? this.zeroExtend(sum, 32) : sum;
  }

  // Flags ------------------------------------------------------------------------------------

  protected override result(): Value {
    return this.flags.result(this.unconditional);
  }

  protected override carries(): Value {
    return this.flags.carries(this.unconditional);
  }

  protected override adjust(): Value {
    return this.flags.adjust(this.unconditional);
  }

  override storeFlags(): void {}

  override setFlagWords(result: Value, carries: Value, adjust: Value): void {
    this.flags.set({ kind: 'words', size: 64, result, a: carries, b: adjust });
  }

  override flagsOfAdd(a: Value, b: Value, result: Value, size: number): void {
    const kind = this.form.mnemonic === 'ADC' ? 'adc' : 'add';
    this.flags.set({ kind, size, a, b, result });
  }

  override flagsOfSub(a: Value, b: Value, result: Value, size: number, borrow?: Value): void {
    this.flags.set({ kind: borrow === undefined ? 'sub' : 'sbb', size, a, b, result });
  }

  override flagsOfLogic(result: Value): void {
    this.flags.set({ kind: 'logic', size: 64, result });
  }

  override flagsOfStep(a: Value, step: 1 | -1, result: Value, size: number): void {
    const carry = this.flags.carryTop(this.unconditional);
    this.flags.set({ kind: step === 1 ? 'inc' : 'dec', size, a, result, carry });
  }

  override setCarryOverflow(cf: Value, of: Value): void {
    this.setFlagWords(this.result(), this.carryWord(cf, of), this.adjust());
  }

  override setZero(zf: Value): void {
    const sf = this.flag('SF');
    const pf = this.flag('PF');
    const carries = this.carries();
    const { result, adjust } = this.zeroWords(zf, sf, pf);
    this.setFlagWords(result, carries, adjust);
  }

  override eflags(): Value {
    return this.or(this.state32(L.EFLAGS), this.statusImage());
  }

  override setStatus(image: Value, mask: number): void {
    const kept = ALL_STATUS & ~mask;
    const old = kept === 0 ? this.i32(0) : this.and(this.statusImage(), this.i32(kept));
    this.setFlagsOf(this.or(this.and(image, this.i32(mask)), old));
  }

  override rarely(condition: Value): Value {
    this.if(condition, () => this.exits.interpret());
    return this.i32(0);
  }

  override flag(name: FlagName): Value {
    return this.flags.shortcut(name) ?? super.flag(name);
  }

  override condition(cc: number): Value {
    const known = this.flags.condition(cc >> 1);
    if (known === undefined) return super.condition(cc);
    return cc & 1 ? this.eqz(known) : known;
  }
}
