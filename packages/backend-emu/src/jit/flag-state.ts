/**
 * What a translator knows of the flags at the point of the region that it emits, and how it asks
 * for them and puts them into the region's locals.
 */
import * as L from '../cpu/layout.js';
import { type FlagName, TOP } from '../isa/flag-emitter.js';
import type { Value } from '../wasm/code.js';
import type { RegionCode } from './region-code.js';
import {
  type FlagLocals,
  type Flags,
  FlagWordsEmitter,
  flagLocals,
  impliesResult,
  type KnownFlags,
  kindNumber,
  type LocalFlags,
} from './region-flags.js';

const IN_LOCALS: LocalFlags = { kind: null, carryIsSet: false };
const WITH_CARRY: LocalFlags = { kind: null, carryIsSet: true };

export class FlagState {
  readonly locals: FlagLocals;
  current: Flags = IN_LOCALS;
  readonly #words: FlagWordsEmitter;
  /** Locals of past instructions that `current` needs. */
  #kept: Value[] = [];

  constructor(
    readonly code: RegionCode,
    /** Index of the helper function. */
    readonly helper: number,
  ) {
    this.locals = flagLocals(code);
    this.#words = new FlagWordsEmitter(code, code.cpu);
  }

  /** A block begins: the flags are in the locals. */
  begin(carryIsSet: boolean): void {
    this.current = carryIsSet ? WITH_CARRY : IN_LOCALS;
  }

  set(flags: KnownFlags): void {
    this.code.mutated = true;
    this.#become(flags);
  }

  #become(flags: KnownFlags): void {
    this.current = flags;
    this.#keep(flags.result);
    this.#keep(flags.a);
    this.#keep(flags.b);
    this.#keep(flags.carry);
  }

  #keep(value: Value | undefined): void {
    if (value !== undefined && this.code.keep(value)) this.#kept.push(value);
  }

  /** An instruction has ended: what only earlier flags needed is free. */
  sweep(): void {
    if (this.#kept.length === 0) return;
    this.#kept = this.#kept.filter((value) => {
      if (this.#needs(value)) return true;
      this.code.release(value);
      return false;
    });
  }

  #needs({ local }: Value): boolean {
    const { current } = this;
    if (current.kind === null) return false;
    const { result, a, b, carry } = current;
    return [result, a, b, carry].some((value) => value?.local === local);
  }

  /** The flags, their kind known; `last` if what is found out holds from here on. */
  known(last: boolean): KnownFlags {
    const { current } = this;
    if (current.kind !== null) return current;
    const { code } = this;
    this.callHelper();
    const cpu = code.param(0);
    const result = code.load('i64.load', cpu, L.FLAG_RES);
    const a = code.load('i64.load', cpu, L.FLAG_CV);
    const b = code.load('i64.load', cpu, L.FLAG_ADJ);
    const flags: KnownFlags = { kind: 'words', size: 64, result, a, b };
    if (last) this.#become(flags);
    return flags;
  }

  /** Stores the flags that are in the locals in the record. */
  callHelper(): void {
    const { code, locals } = this;
    const { kind, result, a, b, carry } = locals;
    code.callVoid(this.helper, code.param(0), kind, result, a, b, carry);
  }

  result(last: boolean): Value {
    return this.known(last).result;
  }

  carries(last: boolean): Value {
    return this.#words.carriesOf(this.known(last));
  }

  adjust(last: boolean): Value {
    return this.#words.adjustOf(this.known(last));
  }

  /** CF at bit 63 of an i64, all others clear. */
  carryTop(last: boolean): Value {
    const { current, locals } = this;
    const x = this.#words;
    if (current.kind === null && current.carryIsSet) return this.code.variable(locals.carry);
    const flags = this.known(last);
    const { kind, a, b, carry } = flags;
    if (kind === 'logic') return x.i64(0);
    if (kind === 'inc' || kind === 'dec') return carry as Value;
    if (kind === 'sub') return x.shl(x.widen(x.ltU(a as Value, b as Value)), x.i64(63));
    return x.and(x.carriesOf(flags), x.i64(TOP));
  }

  /** A flag that is less work than by the words, or undefined. */
  shortcut(name: FlagName): Value | undefined {
    const { current, locals } = this;
    const x = this.#words;
    if (current.kind === null) {
      return name === 'CF' && current.carryIsSet ? x.ltS(locals.carry, x.i64(0)) : undefined;
    }
    const { kind, a, b, carry, result } = current;
    if (name === 'SF' && kind !== 'words') return x.ltS(result, x.i64(0));
    if (name === 'CF' && kind === 'sub') return x.ltU(a as Value, b as Value);
    if (name === 'CF' && carry !== undefined) return x.ltS(carry, x.i64(0));
    if ((name === 'CF' || name === 'OF') && kind === 'logic') return x.i32(0);
    return undefined;
  }

  /** A pair of conditions (cc >> 1) that is less work than by the flags, or undefined. */
  condition(pair: number): Value | undefined {
    const { current } = this;
    const x = this.#words;
    if (current.kind === null) return undefined;
    const { kind } = current;
    const zero = x.i64(0);
    const a = kind === 'logic' ? current.result : (current.a as Value);
    const b = kind === 'logic' ? zero : (current.b as Value);
    if (kind !== 'logic' && kind !== 'sub') return undefined;
    switch (pair) {
      case 1:
        return kind === 'logic' ? x.i32(0) : x.ltU(a, b);
      case 2:
        return x.eq(a, b);
      case 3:
        return kind === 'logic' ? x.eqz(a) : x.leU(a, b);
      case 6:
        return x.ltS(a, b);
      case 7:
        return x.leS(a, b);
      default:
        return undefined;
    }
  }

  /** Emits what puts the flags into the locals; `carry`: CF too, whatever their kind. */
  toLocals(carry: boolean): void {
    const { current, code, locals } = this;
    if (current.kind === null) {
      if (carry && !current.carryIsSet) code.set(locals.carry, this.carryTop(false));
      return;
    }
    const { kind, size, result, a, b } = current;
    code.set(locals.kind, code.i32(kindNumber(kind, size)));
    if (!impliesResult(kind)) code.set(locals.result, result);
    if (a !== undefined && kind !== 'logic') code.set(locals.a, a);
    if (b !== undefined && kind !== 'logic') code.set(locals.b, b);
    if (current.carry !== undefined) code.set(locals.carry, current.carry);
    else if (carry) code.set(locals.carry, this.carryTop(false));
  }
}
