/**
 * How many instructions a vCPU has executed, and how many it may before its deadline.
 *
 * BUDGET in the record counts down; blocks are charged whole when entered, so the count at any
 * instruction is deadline - what is left - what is left of its block. BUDGET is given what there is
 * up to the next sample; the reserve has the rest up to the deadline.
 */
import type { Clock } from '@cloister/core';
import * as L from '../cpu/layout.js';
import type { CpuRecord } from '../cpu/record.js';
import * as R from '../isa/op-record.js';

const CUR_OP = L.CUR_OP >> 2;
const BUDGET = L.BUDGET >> 2;
const COUNT_END = L.COUNT_END >> 2;
const TIME_EPOCH = L.TIME_EPOCH >> 2;
const TIME_COUNTED = L.TIME_COUNTED >> 2;

export class InstructionCount {
  /** Emitted code is executing (or waits for what it called). */
  running = false;
  /** Instructions executed when BUDGET is zero and the reserve is empty. */
  #deadline = 0;
  /** Instructions up to the deadline that BUDGET does not have yet: it is given them in parts. */
  #reserve = 0;
  /** What COUNT_END says. */
  #end = -1;
  /** Instructions executed when the next sample is due: runs shorter than the interval add up. */
  #sampleAt = 0;
  readonly #words: Int32Array;

  constructor(
    record: CpuRecord,
    /** The memory of op records. */
    readonly bytes: Uint8Array,
    /** The VM's clock. Counted, it follows the instructions that are executed here. */
    readonly clock?: Clock,
    /** Says how many instructions lie between two samples; 0: there are none. */
    readonly sampler?: { readonly interval: number },
  ) {
    this.#words = record.words;
  }

  /** Instructions up to the deadline, from the end of the block in execution. */
  get left(): number {
    return this.#words[BUDGET] + this.#reserve;
  }

  /** BUDGET ends at a sample, before the deadline. */
  get divided(): boolean {
    return this.#reserve > 0;
  }

  /** Instructions executed so far, not counting one in execution. */
  get executed(): number {
    const words = this.#words;
    const done = this.#deadline - (words[BUDGET] + this.#reserve);
    const op = this.running ? words[CUR_OP] : 0;
    return op === 0 ? done : done - this.bytes[op + R.OP_REMAINING];
  }

  /** Sets the count, e.g. from a snapshot. */
  set executed(count: number) {
    this.#sampleAt += count - this.executed;
    this.#deadline = count;
    this.#reserve = 0;
    this.#words[BUDGET] = 0;
  }

  /** Begins a run of at most `slice` instructions. */
  begin(slice: number): void {
    const words = this.#words;
    this.#beginTime();
    this.#deadline += slice - this.left;
    words[BUDGET] = slice;
    this.#reserve = 0;
    // The record may be another than in the last run.
    this.#end = -1;
    this.divide();
    words[CUR_OP] = 0;
    this.running = true;
  }

  /** Leaves BUDGET what there is up to the next sample; the reserve has the rest. */
  divide(): void {
    const { sampler } = this;
    const words = this.#words;
    if (sampler !== undefined && sampler.interval !== 0) {
      const whole = words[BUDGET] + this.#reserve;
      const toSample = this.#sampleAt - (this.#deadline - whole);
      const now = toSample <= 0 ? Math.min(whole, 0) : toSample < whole ? toSample : whole;
      words[BUDGET] = now;
      this.#reserve = whole - now;
    }
    if (this.#deadline - this.#reserve !== this.#end) this.#noteEnd();
  }

  /** Gives BUDGET what there is up to the deadline; `divide` must follow. */
  unite(): void {
    this.#words[BUDGET] += this.#reserve;
    this.#reserve = 0;
  }

  /** Puts the next sample off by up to `most` instructions. */
  postpone(most: number): void {
    const lent = Math.min(this.#reserve, most);
    this.#words[BUDGET] += lent;
    this.#reserve -= lent;
    this.#sampleAt += lent;
    this.#noteEnd();
  }

  /** A sample was taken: the next one is due an interval from here. */
  sampled(interval: number): void {
    this.#sampleAt = this.#deadline - this.left + interval;
  }

  /** Brings the deadline nearer by `cut` instructions: BUDGET then ends there. */
  shorten(cut: number): void {
    this.#words[BUDGET] -= cut - this.#reserve;
    this.#reserve = 0;
    this.#deadline -= cut;
    this.#noteEnd();
  }

  /** Finds out whether time is counted, and from where. */
  #beginTime(): void {
    const { clock } = this;
    const counted = clock?.mode === 'icount';
    this.#words[TIME_COUNTED] = counted ? 1 : 0;
    if (counted) this.#setPair(TIME_EPOCH, clock.now() - this.executed);
  }

  /** After the deadline or the reserve has changed: what emitted code counts by. */
  #noteEnd(): void {
    this.#end = this.#deadline - this.#reserve;
    this.#setPair(COUNT_END, this.#end);
  }

  #setPair(field: number, value: number): void {
    this.#words[field] = value;
    this.#words[field + 1] = Math.floor(value / 2 ** 32);
  }
}
