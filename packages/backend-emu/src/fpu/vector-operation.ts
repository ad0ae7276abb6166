/**
 * One SSE floating-point instruction in execution: its lanes, its control bits, and the flags of
 * all lanes together.
 *
 * Source: AMD APM vol. 1, sections 4.2.2 (MXCSR) and 4.9 to 4.12 (exceptions and their order).
 */
import * as L from '../cpu/layout.js';
import { FAULT, NEXT, type Outcome } from '../system/outcome.js';
import {
  bitLength,
  DE,
  DOUBLE,
  type Format,
  IE,
  newRounding,
  pack32,
  pack64,
  type Real,
  type Rounding,
  SINGLE,
  unpack32,
  unpack64,
  ZE,
  zeroOf,
} from './real.js';

/** Where the emitted code leaves the operands and finds the result, 16 bytes each. */
export const SLOW_SOURCE = L.TEMP + 0x80;
export const SLOW_DESTINATION = L.TEMP + 0x90;
export const SLOW_RESULT = L.TEMP + 0xa0;

const PRE_FLAGS = IE | DE | ZE;
const DAZ = 1 << 6;
const FZ = 1 << 15;
const CR4_OSXMMEXCPT = 1 << 10;
const UD = 6;
const XM = 19;

export class VectorOperation {
  readonly rounding: Rounding;
  /** Flags of all lanes: those found before and those found after computing. */
  pre = 0;
  post = 0;
  /** Flags of the steps that have ended. */
  #done = 0;
  readonly #daz: boolean;
  readonly #format: Format;
  readonly #bytes: number;

  constructor(
    readonly view: DataView,
    double: boolean,
  ) {
    const mxcsr = view.getUint32(L.MXCSR, true);
    const masks = (mxcsr >> 7) & 0x3f;
    this.rounding = newRounding((mxcsr >> 13) & 3, masks);
    this.rounding.flush = (mxcsr & FZ) !== 0;
    this.#daz = (mxcsr & DAZ) !== 0;
    this.#format = double ? DOUBLE : SINGLE;
    this.#bytes = double ? 8 : 4;
  }

  get format(): Format {
    return this.#format;
  }

  /** Reads a lane; denormals are zeros under DAZ. */
  lane(base: number, index: number, double = this.#bytes === 8): Real {
    const { view } = this;
    const value = double
      ? unpack64(view.getBigUint64(base + index * 8, true))
      : unpack32(view.getUint32(base + index * 4, true));
    return value.denormal && this.#daz ? zeroOf(value.negative) : value;
  }

  store(index: number, value: Real, double = this.#bytes === 8): void {
    const { view } = this;
    if (double) view.setBigUint64(SLOW_RESULT + index * 8, pack64(value), true);
    else view.setUint32(SLOW_RESULT + index * 4, pack32(value), true);
  }

  /** A lane's flags join those of the others. */
  collect(): void {
    this.pre |= this.rounding.flags & PRE_FLAGS;
    this.post |= this.rounding.flags & ~PRE_FLAGS;
    this.rounding.flags = 0;
  }

  /** An intermediate result as an operand of the next step: a denormal is one again. */
  asOperand(a: Real): Real {
    const top = a.exponent + bitLength(a.mantissa) - 1;
    if (a.kind !== 'finite' || top >= this.#format.minimum) return a;
    return this.#daz ? zeroOf(a.negative) : { ...a, denormal: true };
  }

  /** Ends a step of several; false if an unmasked exception ends the instruction. */
  endStep(): boolean {
    this.collect();
    this.#done |= this.#flags();
    this.pre = 0;
    this.post = 0;
    return !this.#stops(this.#done);
  }

  #stops(flags: number): boolean {
    return (flags & ~this.rounding.masks & 0x3f) !== 0;
  }

  /** Unmasked early flags hide late ones. */
  #flags(): number {
    return this.#stops(this.pre) ? this.pre : this.pre | this.post;
  }

  /** Stores the flags; an unmasked one is a fault. */
  finish(): Outcome {
    const { view } = this;
    const flags = this.#done | this.#flags();
    view.setUint32(L.MXCSR, view.getUint32(L.MXCSR, true) | flags, true);
    if (!this.#stops(flags)) return NEXT;
    const handled = (view.getUint32(L.CR4, true) & CR4_OSXMMEXCPT) !== 0;
    view.setInt32(L.FAULT_VECTOR, handled ? XM : UD, true);
    view.setInt32(L.FAULT_ERROR, -1, true);
    return FAULT;
  }
}
