/**
 * The local APIC's timer: one-shot, periodic, and TSC-deadline.
 *
 * Source: AMD APM vol. 2, 16.4.1; Intel SDM vol. 3, 11.5.4 (TSC-deadline, as KVM offers it to AMD
 * guests). The undivided input clock is 1 GHz, the rate that KVM's timing leaf states: one count is
 * `divide` nanoseconds.
 *
 * Several periods may pass between two instructions where time is the wall clock's. That fires
 * once: nothing is acknowledged meanwhile, and the IRR holds a vector once however often it is set.
 */
import type { Clock, Timer } from '@cloister/core';
import type { TimeStamp } from '../timing/time-stamp.js';
import { LVT_MASKED, TIMER_DEADLINE, TIMER_MODE_MASK, TIMER_PERIODIC } from './registers.js';

const TWO_32 = 2 ** 32;

/** The divisor that the divide configuration register selects. */
function divisorOf(register: number): number {
  const code = (register & 3) | ((register >>> 1) & 4);
  return code === 7 ? 1 : 2 << code;
}

export interface TimerState {
  initial: number;
  divide: number;
  /** Virtual time at which the running count began. */
  start: number;
  deadlineLo: number;
  deadlineHi: number;
}

export class ApicTimer {
  private initial = 0;
  private divide = 0;
  private start = 0;
  private deadlineLo = 0;
  private deadlineHi = 0;
  private pending: Timer | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly tsc: TimeStamp,
    /** The timer's LVT entry. */
    private readonly lvt: () => number,
    private readonly fire: () => void,
  ) {
    tsc.onChange(() => {
      if (this.isDeadline()) this.arm();
    });
  }

  /** After the LVT entry changed. Leaving or entering deadline mode stops the timer. */
  lvtWritten(before: number): void {
    const crossed = ((before ^ this.lvt()) & TIMER_DEADLINE) !== 0;
    if (crossed) this.stop();
    if ((before & TIMER_MODE_MASK) === TIMER_PERIODIC && this.initial !== 0) {
      const period = this.initial * divisorOf(this.divide);
      this.start += Math.floor((this.clock.now() - this.start) / period) * period;
    }
    this.arm();
  }

  stop(): void {
    this.initial = 0;
    this.deadlineLo = 0;
    this.deadlineHi = 0;
    this.cancel();
  }

  reset(): void {
    this.stop();
    this.divide = 0;
    this.start = 0;
  }

  readInitial(): number {
    return this.initial;
  }

  /** Ignored in deadline mode, as the manual says. */
  writeInitial(value: number): void {
    if (this.isDeadline()) return;
    this.initial = value >>> 0;
    this.start = this.clock.now();
    this.arm();
  }

  /** The current count: down from the initial count, 0 when stopped or done. */
  readCurrent(): number {
    if (this.initial === 0 || this.isDeadline()) return 0;
    const counted = Math.floor((this.clock.now() - this.start) / divisorOf(this.divide));
    if (this.isPeriodic()) return this.initial - (counted % this.initial);
    return Math.max(0, this.initial - counted);
  }

  readDivide(): number {
    return this.divide;
  }

  /** The count goes on from where it is, at the new rate; one that has ended does not revive. */
  writeDivide(value: number): void {
    const current = this.readCurrent();
    this.divide = value & 0xb;
    if (this.initial === 0) return;
    this.start = this.clock.now() - (this.initial - current) * divisorOf(this.divide);
    // The interrupt of one that has ended may still be on its way.
    if (current !== 0) this.arm();
  }

  /** Puts the armed deadline into `target`; 0 when not armed. */
  readDeadline(target: { lo: number; hi: number }): void {
    target.lo = this.deadlineLo;
    target.hi = this.deadlineHi;
  }

  /** Arms the timer for a TSC value; 0 disarms. Ignored outside deadline mode. */
  writeDeadline(lo: number, hi: number): void {
    if (!this.isDeadline()) return;
    this.deadlineLo = lo >>> 0;
    this.deadlineHi = hi >>> 0;
    this.arm();
  }

  snapshot(): TimerState & { [key: string]: number } {
    const { initial, divide, start, deadlineLo, deadlineHi } = this;
    return { initial, divide, start, deadlineLo, deadlineHi };
  }

  restore(state: TimerState): void {
    this.initial = state.initial;
    this.divide = state.divide;
    this.start = state.start;
    this.deadlineLo = state.deadlineLo;
    this.deadlineHi = state.deadlineHi;
    this.arm();
  }

  private isDeadline(): boolean {
    return (this.lvt() & TIMER_MODE_MASK) === TIMER_DEADLINE;
  }

  private isPeriodic(): boolean {
    return (this.lvt() & TIMER_MODE_MASK) === TIMER_PERIODIC;
  }

  private cancel(): void {
    this.pending?.cancel();
    this.pending = null;
  }

  /** Sets the one clock timer that the present state needs, if any. */
  private arm(): void {
    this.cancel();
    const due = this.isDeadline() ? this.deadlineDue() : this.countDue();
    if (due < 0) return;
    this.pending = this.clock.at(due, this.onDue);
  }

  /** Virtual time of the deadline, or -1. A deadline beyond the clock's range never comes. */
  private deadlineDue(): number {
    if (this.deadlineLo === 0 && this.deadlineHi === 0) return -1;
    const ticks = this.tsc.until(this.deadlineLo, this.deadlineHi);
    const due = this.clock.now() + Math.max(0, ticks);
    return due <= Number.MAX_SAFE_INTEGER ? due : -1;
  }

  /** Virtual time at which the count next reaches zero, or -1. A masked timer needs no event. */
  private countDue(): number {
    if (this.initial === 0 || (this.lvt() & LVT_MASKED) !== 0) return -1;
    const period = this.initial * divisorOf(this.divide);
    const passed = this.clock.now() - this.start;
    if (this.isPeriodic()) return this.start + (Math.floor(passed / period) + 1) * period;
    return passed < period ? this.start + period : -1;
  }

  private readonly onDue = () => {
    this.pending = null;
    this.expire();
  };

  private expire(): void {
    if (this.isDeadline()) {
      this.deadlineLo = 0;
      this.deadlineHi = 0;
    } else if (this.isPeriodic()) {
      this.arm();
    }
    if ((this.lvt() & LVT_MASKED) === 0) this.fire();
  }
}

/** Whether a restored record can be a timer's. */
export function isTimerState(value: unknown): value is TimerState {
  if (typeof value !== 'object' || value === null) return false;
  const state = value as Record<string, unknown>;
  const word = (name: string, limit: number) => {
    const field = state[name];
    return typeof field === 'number' && Number.isInteger(field) && field >= 0 && field < limit;
  };
  const words = ['initial', 'deadlineLo', 'deadlineHi'].every((name) => word(name, TWO_32));
  // A count that went on at another rate may have begun before the clock did.
  const { start } = state;
  const begun = typeof start === 'number' && Math.abs(start) <= Number.MAX_SAFE_INTEGER;
  return words && word('divide', 16) && begun;
}
