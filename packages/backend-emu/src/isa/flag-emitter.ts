/**
 * Lazy status flags in the description language.
 *
 * Three words hold OF, SF, ZF, AF, PF, CF (layout.ts): the sign-extended result, a carry vector
 * shifted so that the operand's top bit is bit 63, and an adjustment word with AF in bit 4 and what
 * a loaded RFLAGS image needs (SF with ZF, any PF). Every condition then is a few operations
 * without a branch, whatever instruction set the flags.
 *
 * Flags that the manuals leave undefined get the value that the formulas give.
 *
 * Most flags are overwritten before anybody asks for them. Who emits several instructions as one
 * says so by `flagUse`, and hands the words on with `follow`: they then are values, not memory.
 */

import * as L from '../cpu/layout.js';
import type { Value } from '../wasm/code.js';
import { ArithmeticEmitter } from './arithmetic-emitter.js';

export const TOP = -(2n ** 63n);

/** Where RFLAGS has them, but for CF, which is bit 0. */
const STATUS_BITS = [
  ['PF', 2],
  ['AF', 4],
  ['ZF', 6],
  ['SF', 7],
  ['OF', 11],
] as const;

export type FlagName = 'CF' | 'OF' | 'ZF' | 'SF' | 'PF' | 'AF';

/**
 * What becomes of the flags that an instruction sets: they are stored; they are dropped, because
 * nothing can see them; or the next instruction overwrites them, so that they are only stored where
 * something comes between.
 */
export type FlagUse = 'store' | 'drop' | 'defer';

interface FlagWords {
  readonly result: Value;
  readonly carries: Value;
  readonly adjust: Value;
  /** What was compared, if the result is a difference: conditions are comparisons then. */
  readonly compared?: readonly [a: Value, b: Value];
}

export class FlagEmitter extends ArithmeticEmitter {
  flagUse: FlagUse = 'store';
  /** The words as values, where they are known, and whether memory has them too. */
  #words: FlagWords | null = null;
  #stored = true;
  readonly #scope = this.code.scopes;

  /** Whether code emitted here is on every path through the instruction. */
  protected get unconditional(): boolean {
    return this.code.scopes === this.#scope;
  }

  /** Takes over what is known of the flags from the instruction before. */
  follow(previous: FlagEmitter): void {
    this.#words = previous.#words;
    this.#stored = previous.#stored;
  }

  /** Emits the stores that were put off, for a path on which the flags may be seen. */
  storeFlags(): void {
    if (this.#words !== null && !this.#stored) this.#store(this.#words);
  }

  protected result(): Value {
    return this.#words?.result ?? this.state64(L.FLAG_RES);
  }

  protected carries(): Value {
    return this.#words?.carries ?? this.state64(L.FLAG_CV);
  }

  protected adjust(): Value {
    return this.#words?.adjust ?? this.state64(L.FLAG_ADJ);
  }

  setFlagWords(result: Value, carries: Value, adjust: Value): void {
    const words = { result, carries, adjust };
    if (this.flagUse === 'store') this.#store(words);
    this.#words = this.unconditional && this.flagUse !== 'drop' ? words : null;
    this.#stored = this.flagUse !== 'defer';
  }

  /** Sets some of the words, leaving the others. */
  #setWord(offset: number, value: Value): void {
    if (this.flagUse !== 'drop') this.setState64(offset, value);
    this.#words = null;
  }

  #store({ result, carries, adjust }: FlagWords): void {
    this.setState64(L.FLAG_RES, result);
    this.setState64(L.FLAG_CV, carries);
    this.setState64(L.FLAG_ADJ, adjust);
  }

  protected auxiliary(a: Value, b: Value, result: Value): Value {
    return this.and(this.xor(this.xor(a, b), result), this.i64(0x10));
  }

  protected aligned(carries: Value, size: number): Value {
    return size === 64 ? carries : this.shl(carries, this.i64(64 - size));
  }

  /** Carry vector of a + b (+ carry) = result: carries are a's bits where b's are the same. */
  protected addCarries(a: Value, b: Value, result: Value): Value {
    return this.xor(a, this.and(this.xor(a, this.not(result)), this.xor(a, b)));
  }

  /** Borrow vector of a - b (- borrow) = result: b's bits where a's differ, else the result's. */
  protected subCarries(a: Value, b: Value, result: Value): Value {
    return this.xor(result, this.and(this.xor(result, b), this.xor(a, b)));
  }

  /** Flags of `result` = a + b, with or without carry in; all sign-extended from `size`. */
  flagsOfAdd(a: Value, b: Value, result: Value, size: number): void {
    const carries = this.aligned(this.addCarries(a, b, result), size);
    this.setFlagWords(result, carries, this.auxiliary(a, b, result));
  }

  /** Flags of `result` = a - b - `borrow`. */
  flagsOfSub(a: Value, b: Value, result: Value, size: number, borrow?: Value): void {
    const carries = this.aligned(this.subCarries(a, b, result), size);
    this.setFlagWords(result, carries, this.auxiliary(a, b, result));
    if (this.#words !== null && borrow === undefined)
      this.#words = { ...this.#words, compared: [a, b] };
  }

  /** Flags of AND, OR, XOR, TEST: CF, OF and AF are cleared. */
  flagsOfLogic(result: Value): void {
    this.setFlagWords(result, this.i64(0), this.i64(0));
  }

  /** Flags of INC and DEC: like an addition, but CF stays. */
  flagsOfStep(a: Value, step: 1 | -1, result: Value, size: number): void {
    const carries = this.stepCarries(a, step, result, size, this.carries());
    this.setFlagWords(result, carries, this.auxiliary(a, this.i64(1), result));
  }

  /** Carry vector of a + step = result, with CF as in the carry vector `before`. */
  protected stepCarries(a: Value, step: 1 | -1, result: Value, size: number, before: Value): Value {
    const one = this.i64(1);
    const vector = step === 1 ? this.addCarries(a, one, result) : this.subCarries(a, one, result);
    const aligned = this.aligned(vector, size);
    const overflow = this.and(this.xor(aligned, this.shl(aligned, one)), this.i64(TOP));
    const carry = this.and(before, this.i64(TOP));
    return this.or(carry, this.shrU(this.xor(carry, overflow), one));
  }

  /** Result flags (SF, ZF, PF) of `result`, with CF and OF given as i32 0 or 1; AF cleared. */
  flagsOfResult(result: Value, cf: Value, of: Value): void {
    this.setFlagWords(result, this.carryWord(cf, of), this.i64(0));
  }

  protected carryWord(cf: Value, of: Value): Value {
    const carry = this.shl(this.widen(cf), this.i64(63));
    return this.or(carry, this.shl(this.widen(this.xor(cf, of)), this.i64(62)));
  }

  /** Sets CF and OF (i32 0 or 1), leaving the others. */
  setCarryOverflow(cf: Value, of: Value): void {
    this.#setWord(L.FLAG_CV, this.carryWord(cf, of));
  }

  /** Sets CF (i32 0 or 1), leaving the others. */
  setCarry(cf: Value): void {
    this.setCarryOverflow(cf, this.flag('OF'));
  }

  /** Sets ZF (i32 0 or 1), leaving the others. */
  setZero(zf: Value): void {
    const { result, adjust } = this.zeroWords(zf, this.flag('SF'), this.flag('PF'));
    this.#setWord(L.FLAG_RES, result);
    this.#setWord(L.FLAG_ADJ, adjust);
  }

  /** Result and adjustment that say `zf`, and all else as before. */
  protected zeroWords(zf: Value, sf: Value, pf: Value): { result: Value; adjust: Value } {
    // A non-zero result needs a byte whose parity and a sign that the adjustment puts right.
    const result = this.select(zf, this.i64(0), this.i64(1));
    const parityIsEven = zf;
    const fix = this.shl(this.widen(this.xor(pf, parityIsEven)), this.i64(8));
    const sign = this.shl(this.widen(sf), this.i64(63));
    const auxiliary = this.and(this.adjust(), this.i64(0x10));
    return { result, adjust: this.or(this.or(auxiliary, fix), sign) };
  }

  /** A flag as i32 0 or 1. */
  flag(name: FlagName): Value {
    switch (name) {
      case 'CF':
        return this.ltS(this.carries(), this.i64(0));
      case 'OF':
        return this.ltS(this.#overflowWord(), this.i64(0));
      case 'ZF':
        return this.eqz(this.result());
      case 'SF':
        return this.ltS(this.#signWord(), this.i64(0));
      case 'AF':
        return this.wrap(this.and(this.shrU(this.adjust(), this.i64(4)), this.i64(1)));
      case 'PF': {
        const byte = this.xor(this.result(), this.shrU(this.adjust(), this.i64(8)));
        const ones = this.popcnt(this.and(byte, this.i64(0xff)));
        return this.eqz(this.and(ones, this.i64(1)));
      }
    }
  }

  /** The status flags as RFLAGS has them, i32. */
  statusImage(): Value {
    let image = this.flag('CF');
    for (const [name, bit] of STATUS_BITS) {
      image = this.or(image, this.shl(this.flag(name), this.i32(bit)));
    }
    return image;
  }

  /** Sets all status flags to those of the RFLAGS image (i32). */
  setFlagsOf(image: Value): void {
    const bit = (number: number): Value =>
      this.widen(this.and(this.shrU(image, this.i32(number)), this.i32(1)));
    const [cf, pf, af, zf, sf, of] = [bit(0), bit(2), bit(4), bit(6), bit(7), bit(11)];
    // Result 0 (even parity) if ZF, else 1 (odd parity); sign and parity are put right.
    const result = this.xor(zf, this.i64(1));
    const parity = this.shl(this.xor(pf, zf), this.i64(8));
    const auxiliary = this.or(this.shl(af, this.i64(4)), parity);
    const adjust = this.or(auxiliary, this.shl(sf, this.i64(63)));
    const overflow = this.shl(this.xor(cf, of), this.i64(62));
    this.setFlagWords(result, this.or(this.shl(cf, this.i64(63)), overflow), adjust);
  }

  #overflowWord(): Value {
    const carries = this.carries();
    return this.xor(carries, this.shl(carries, this.i64(1)));
  }

  #signWord(): Value {
    return this.xor(this.result(), this.adjust());
  }

  /** Condition `cc` (0 to 15, as in Jcc's opcode) as i32 0 or 1. */
  condition(cc: number): Value {
    const compared = this.#words?.compared;
    const positive =
      (compared && this.#comparison(cc >> 1, ...compared)) ?? this.#condition(cc >> 1);
    return cc & 1 ? this.eqz(positive) : positive;
  }

  /** A condition of the operands of a comparison, where it is one; they are sign-extended. */
  #comparison(pair: number, a: Value, b: Value): Value | undefined {
    switch (pair) {
      case 1:
        return this.ltU(a, b);
      case 2:
        return this.eq(a, b);
      case 3:
        return this.leU(a, b);
      case 6:
        return this.ltS(a, b);
      case 7:
        return this.leS(a, b);
      default:
        return undefined;
    }
  }

  #condition(pair: number): Value {
    switch (pair) {
      case 0:
        return this.flag('OF');
      case 1:
        return this.flag('CF');
      case 2:
        return this.flag('ZF');
      case 3:
        return this.or(this.flag('CF'), this.flag('ZF'));
      case 4:
        return this.flag('SF');
      case 5:
        return this.flag('PF');
      case 6:
        return this.#less();
      default:
        return this.or(this.#less(), this.flag('ZF'));
    }
  }

  #less(): Value {
    return this.ltS(this.xor(this.#signWord(), this.#overflowWord()), this.i64(0));
  }
}
