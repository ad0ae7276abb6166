/**
 * When a vCPU's run ends. One timer of the thread serves the deadline and, before it, looks whether
 * the guest halts: the first soon, each later one after twice the time, from run to run, until the
 * guest did halt. A look costs as much as several exits, and a guest that computes needs none.
 */
import type { Clock } from '@cloister/core';
import type { DeadlineHolder, ThreadSignals } from './thread-signals.js';

/** The first look whether the guest halts: outside of KVM_RUN the event loop goes on meanwhile. */
const LOOK_NS = 250_000;
/** A guest that never halted is looked at so often. */
const LOOK_MAX_NS = 5_000_000;

export class RunDeadline implements DeadlineHolder {
  /** Whether the run is to end at the next chance. */
  stopping = false;
  /** The clock's time. */
  private at = 0;
  /** Nanoseconds from the timer that is set to the deadline, and between two looks. */
  private left = 0;
  private interval = LOOK_NS;
  /** Of the run in a handler of which this one is. */
  private outer: DeadlineHolder | null = null;

  constructor(
    private readonly clock: Pick<Clock, 'now'>,
    private readonly signals: ThreadSignals,
  ) {}

  /** A run of `slice` nanoseconds begins. */
  start(slice: number): void {
    this.stopping = false;
    this.outer = this.signals.holder;
    this.signals.holder = this;
    this.at = this.clock.now() + slice;
    this.arm(slice);
  }

  /** The run is over. */
  end(): void {
    const { signals, outer } = this;
    signals.disarm();
    signals.holder = outer;
    this.outer = null;
    outer?.again();
  }

  /** The guest halted: it may do so soon again. */
  halted(): void {
    this.interval = LOOK_NS;
  }

  /** Somebody may have taken the timer's signal: sets it again. */
  again(): void {
    this.arm(Math.max(1, this.at - this.clock.now()));
  }

  /** The run ends in `ns` nanoseconds if it would not sooner. */
  shorten(ns: number): void {
    if (ns <= 0) {
      this.stopping = true;
      return;
    }
    const at = this.clock.now() + ns;
    if (at >= this.at) return;
    this.at = at;
    this.arm(ns);
  }

  /** The timer fired: whether the run is over, be it that `sleeps` says that it may as well. */
  passed(sleeps: () => boolean): boolean {
    if (this.left <= 0 || sleeps()) return true;
    this.interval = Math.min(2 * this.interval, LOOK_MAX_NS);
    this.arm(this.left);
    return false;
  }

  private arm(ns: number): void {
    const first = Math.min(ns, this.interval);
    this.left = ns - first;
    this.signals.arm(first);
  }
}
