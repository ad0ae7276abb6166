/**
 * The x87 register stack, status and control in the vCPU record, as the functions of x87
 * instructions see them.
 *
 * Exceptions are deferred: an unmasked one sets ES, and the next waiting instruction raises #MF.
 *
 * Source: AMD APM vol. 1, sections 6.2 (registers) and 6.8 (exceptions); where it is silent on
 * which of several exceptions is reported, the behaviour of processors.
 * FDS is 0 in 64-bit mode but for operands in FS and GS.
 */
import * as L from '../cpu/layout.js';
import { NEXT, type Outcome } from '../system/outcome.js';
import {
  DOUBLE,
  EXTENDED,
  type Format,
  IE,
  INDEFINITE,
  newRounding,
  PE,
  pack80,
  type Real,
  type Rounding,
  SINGLE,
  unpack80,
} from './real.js';
import { TRAP } from './traps.js';

/** Stack fault, exception summary, condition codes and busy, in the status word. */
const SF = 0x40;
const ES = 0x80;
const C0 = 0x100;
const C1 = 0x200;
const C2 = 0x400;
const C3 = 0x4000;
const BUSY = 0x8000;
const CR0_NE = 1 << 5;
/** What unmasked overflow and underflow change the exponent by. */
const WRAP = 24576;

/** Results are rounded to these precisions, in the exponent range of the register. */
const SINGLE_IN_REGISTER: Format = { ...EXTENDED, precision: SINGLE.precision };
const DOUBLE_IN_REGISTER: Format = { ...EXTENDED, precision: DOUBLE.precision };

export class X87 {
  readonly rounding: Rounding;
  status: number;
  #flags = 0;
  /** C1 at the end: set by rounding up or a stack overflow. */
  #c1 = false;

  constructor(readonly view: DataView) {
    const control = view.getUint16(L.FCW, true);
    this.rounding = newRounding((control >> 10) & 3, control & 0x3f);
    this.rounding.wrap = WRAP;
    this.status = view.getUint16(L.FSW, true);
  }

  /** The format of arithmetic results by precision control. */
  get format(): Format {
    const control = (this.view.getUint16(L.FCW, true) >> 8) & 3;
    return control === 0 ? SINGLE_IN_REGISTER : control === 2 ? DOUBLE_IN_REGISTER : EXTENDED;
  }

  get top(): number {
    return (this.status >> 11) & 7;
  }

  set top(value: number) {
    this.status = (this.status & ~0x3800) | ((value & 7) << 11);
  }

  get masks(): number {
    return this.rounding.masks;
  }

  physical(index: number): number {
    return (this.top + index) & 7;
  }

  isEmpty(index: number): boolean {
    const tags = this.view.getUint16(L.FTW, true);
    return ((tags >> (this.physical(index) * 2)) & 3) === 3;
  }

  setEmpty(index: number, empty: boolean): void {
    const { view } = this;
    const shift = this.physical(index) * 2;
    const tags = view.getUint16(L.FTW, true) & ~(3 << shift);
    view.setUint16(L.FTW, empty ? tags | (3 << shift) : tags, true);
  }

  #at(index: number): number {
    return L.ST + this.physical(index) * 16;
  }

  get(index: number): Real {
    const { view } = this;
    const at = this.#at(index);
    return unpack80(view.getBigUint64(at, true), view.getUint16(at + 8, true));
  }

  /** Bits of a register: mantissa, sign and exponent. */
  bits(index: number): [bigint, number] {
    const at = this.#at(index);
    return [this.view.getBigUint64(at, true), this.view.getUint16(at + 8, true)];
  }

  setBits(index: number, mantissa: bigint, signExponent: number): void {
    const at = this.#at(index);
    this.view.setBigUint64(at, mantissa, true);
    this.view.setUint16(at + 8, signExponent, true);
    this.setEmpty(index, false);
  }

  set(index: number, value: Real): void {
    const { mantissa, signExponent } = pack80(value);
    this.setBits(index, mantissa, signExponent);
  }

  pop(): void {
    this.setEmpty(0, true);
    this.top = this.top + 1;
  }

  /** Flags that are set, with those of `rounding`. */
  get flags(): number {
    return this.#flags | this.rounding.flags;
  }

  raise(flags: number): void {
    this.#flags |= flags;
  }

  /** Whether one of `flags` is raised and not masked: then there is no result. */
  stops(flags: number): boolean {
    return (this.flags & flags & ~this.masks) !== 0;
  }

  /** Reading an empty register; true if the masked response is wanted. */
  underflow(): boolean {
    this.#flags |= IE | SF;
    return (this.masks & IE) !== 0;
  }

  /**
   * Whether register `index` can be read; if not, the fault is noted, and where it is masked the
   * indefinite NaN is stored in `result` (-1: nowhere).
   */
  readable(indices: readonly number[], result: number, pops = 0): boolean {
    if (!indices.some((index) => this.isEmpty(index))) return true;
    if (this.underflow()) {
      if (result >= 0) this.set(result, INDEFINITE);
      for (let i = 0; i < pops; i++) this.pop();
    }
    return false;
  }

  /** Makes room for a push; false if there is none, then the masked response is in ST(0). */
  pushable(): boolean {
    if (this.isEmpty(7)) return true;
    this.#flags |= IE | SF;
    this.#c1 = true;
    if ((this.masks & IE) !== 0) {
      this.top = this.top - 1;
      this.set(0, INDEFINITE);
    }
    return false;
  }

  push(value: Real): void {
    this.top = this.top - 1;
    this.set(0, value);
  }

  /** C3, C2 and C0 by a comparison: 0 greater, 1 less, 2 equal, 3 unordered. */
  setRelation(relation: number): void {
    const codes = [0, C0, C3, C0 | C2 | C3][relation];
    this.status = (this.status & ~(C0 | C2 | C3)) | codes;
  }

  setCodes(c3: boolean, c2: boolean, c0: boolean): void {
    const codes = (c3 ? C3 : 0) | (c2 ? C2 : 0) | (c0 ? C0 : 0);
    this.status = (this.status & ~(C0 | C2 | C3)) | codes;
  }

  setC1(value: boolean): void {
    this.#c1 = value;
  }

  /** Leaves C1 as it was, but for a stack fault. */
  keepC1(): void {
    if ((this.flags & SF) === 0) this.#c1 = (this.status & C1) !== 0;
  }

  setC2(value: boolean): void {
    this.status = value ? this.status | C2 : this.status & ~C2;
  }

  /** Stores the status; the other pointers are the description's. */
  finish(): Outcome {
    const { view, rounding } = this;
    const flags = this.flags;
    const up = this.#c1 || ((rounding.flags & PE) !== 0 && rounding.roundedUp);
    this.status = (this.status & ~C1) | (up ? C1 : 0) | (flags & (SF | 0x3f));
    view.setBigUint64(L.FIP, view.getBigUint64(L.RIP, true), true);
    return this.finishControl();
  }

  /** Stores the status word with ES and B as the masks have it. */
  finishControl(): Outcome {
    const { view } = this;
    const masks = view.getUint16(L.FCW, true);
    const pending = (this.status & ~masks & 0x3f) !== 0;
    this.status = (this.status & ~(ES | BUSY)) | (pending ? ES | BUSY : 0);
    view.setUint16(L.FSW, this.status, true);
    const native = (view.getUint32(L.CR0, true) & CR0_NE) !== 0;
    const traps = view.getUint32(L.FPU_TRAPS, true) & ~TRAP.x87Pending;
    view.setUint32(L.FPU_TRAPS, pending && native ? traps | TRAP.x87Pending : traps, true);
    return NEXT;
  }
}
