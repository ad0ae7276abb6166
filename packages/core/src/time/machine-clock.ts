/**
 * Virtual time: one clock and one timer heap for a VM.
 *
 * `icount`: one executed instruction is one nanosecond, plus what was skipped while every CPU
 * slept. `wall`: the host's clock, without the time during which the VM was not running. The mode
 * may change until the first instruction (it depends on whether live input was attached).
 */
import type { Clock, Timer } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { HostPort } from './host-port.js';
import { TimerHeap } from './timer-heap.js';

export type ClockMode = Clock['mode'];

/** What the clock has to know of the slice under way. */
export interface RunningSlice {
  /** As `Vcpu.shorten`. */
  shorten(instructions: number): void;
}

/** Timers that fire between two instructions; beyond it the guest goes on and they are late. */
const FIRE_BOUND = 10_000;

/** Assumed until measured: instructions per nanosecond of host time. */
const INITIAL_RATE = 0.1;

export class MachineClock implements Clock {
  mode: ClockMode = 'icount';
  private readonly timers = new TimerHeap();
  private instructions: () => number = () => 0;
  /** Nanoseconds that no instruction accounts for (icount), or time before this run (wall). */
  private skipped = 0;
  /** Host milliseconds at which the current run began; null while not running (wall). */
  private runningSince: number | null = null;
  private slice: RunningSlice | null = null;
  private sliceEnd = Number.POSITIVE_INFINITY;
  private rate = INITIAL_RATE;
  private latest = 0;
  /** The time at which the VM was saved, while its parts take over their state. */
  private restoring: number | null = null;

  constructor(
    public epochSeconds: number,
    private readonly host: Pick<HostPort, 'now'>,
    private readonly onError: (error: unknown) => void,
  ) {}

  now(): number {
    if (this.restoring !== null) return this.restoring;
    if (this.mode === 'icount') return this.instructions() + this.skipped;
    if (this.runningSince === null) return this.skipped;
    const elapsed = Math.round((this.host.now() - this.runningSince) * 1e6);
    this.latest = Math.max(this.latest, this.skipped + elapsed);
    return this.latest;
  }

  at(at: number, callback: () => void): Timer {
    if (Number.isNaN(at)) throw new VmmError('invalid-argument', 'a timer needs a time');
    const timer = this.timers.set(at, callback);
    if (this.slice !== null && at < this.sliceEnd) {
      this.sliceEnd = at;
      // The instruction that is under way is not counted yet; ending early is always allowed.
      this.slice.shorten(Math.max(0, this.instructionsUntil(at) - 1));
    }
    return timer;
  }

  /** Time of the earliest timer, Infinity without one. */
  next(): number {
    return this.timers.next();
  }

  /** Calls what is due. False when the bound was hit and due timers are left. */
  fireDue(): boolean {
    for (let fired = 0; fired < FIRE_BOUND; fired++) {
      const callback = this.timers.takeDue(this.now());
      if (callback === null) return true;
      try {
        callback();
      } catch (error) {
        this.onError(error);
      }
    }
    return false;
  }

  /** Instructions that may run before virtual time is `at`: exact in `icount`, else estimated. */
  instructionsUntil(at: number): number {
    const ns = Math.max(0, at - this.now());
    return this.mode === 'icount' ? Math.ceil(ns) : Math.max(1, Math.ceil(ns * this.rate));
  }

  /** Moves virtual time forward without executing anything (icount only). */
  skipTo(at: number): void {
    if (this.mode !== 'icount') return;
    const ns = Math.ceil(at) - this.now();
    if (ns > 0) this.skipped += ns;
  }

  /** Connects the instruction counter. A backend that counts none takes slices in nanoseconds. */
  attach(instructions: () => number, counts = true): void {
    this.instructions = instructions;
    this.rate = counts ? INITIAL_RATE : 1;
  }

  /** Host time counts from here on (wall). */
  resume(): void {
    if (this.mode === 'wall') this.runningSince ??= this.host.now();
  }

  /** Host time counts no longer (wall). */
  pause(): void {
    if (this.mode !== 'wall') return;
    this.skipped = this.now();
    this.runningSince = null;
  }

  /** A slice begins: timers set from now on shorten it. */
  beginSlice(slice: RunningSlice, end: number): void {
    this.slice = slice;
    this.sliceEnd = end;
  }

  /** A slice of `instructions` ended after `hostMs`. */
  endSlice(instructions: number, hostMs: number): void {
    this.slice = null;
    if (this.mode === 'wall' && instructions > 1000 && hostMs > 0) {
      this.rate += (instructions / (hostMs * 1e6) - this.rate) / 8;
    }
  }

  /** The state to save: virtual time; timers are set again by those who restore. */
  save(): { readonly mode: ClockMode; readonly now: number } {
    return { mode: this.mode, now: this.now() };
  }

  /** Takes a saved time, which stands still until `endRestore`. */
  beginRestore(mode: ClockMode, now: number): void {
    this.mode = mode;
    this.runningSince = null;
    this.restoring = now;
  }

  /** The instruction counter is restored: time goes on from where it was. */
  endRestore(): void {
    const now = this.now();
    this.restoring = null;
    this.skipped = this.mode === 'icount' ? now - this.instructions() : now;
    this.latest = now;
  }
}
