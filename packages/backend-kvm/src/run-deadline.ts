/**
 * When a vCPU's run ends. One timer of the thread serves the deadline and, before it, looks whether
 * the guest halts: the first soon, each later one after twice the time, from run to run, until the
 * guest did halt. A look costs as much as several exits, and a guest that computes needs none.
 *
 * Neither does one that makes exits all the time: it is awake, and its exits are where a run can
 * end without a signal. While they come, the timer is put off; it fires only after they stopped.
 * Meanwhile signals are let through everywhere (`ThreadSignals.open`).
 */
import type { Clock } from '@cloister/core';
import type { DeadlineHolder, ThreadSignals } from './thread-signals.js';

/** The first look whether the guest halts: outside of KVM_RUN the event loop goes on meanwhile. */
const LOOK_NS = 250_000;
/** A guest that never halted is looked at so often. */
const LOOK_MAX_NS = 5_000_000;
/** Exits from one glance at the clock to the next: the clock costs a tenth of an exit. */
const GLANCE_EXITS = 32;
/** Exits are frequent when those of a glance took no longer. */
const FREQUENT_NS = 4_000_000;
/** While they are, the timer is this far away, and set again when half of it is over. */
const PUT_OFF_NS = 2_000_000;
/** It fires so often from then on, while signals may come between two entries and be lost. */
const REPEAT_NS = 250_000;

export class RunDeadline implements DeadlineHolder {
  /** Whether the run is to end at the next chance. */
  stopping = false;
  /** The clock's time. */
  private at = 0;
  /** When the timer fires, by the clock, and nanoseconds from then to the deadline. */
  private firesAt = 0;
  private left = 0;
  /** Nanoseconds between two looks. */
  private interval = LOOK_NS;
  /** Exits until the next glance at the clock, and when the last one was. */
  private unseen = GLANCE_EXITS;
  private glanced = 0;
  /** Of the run in a handler of which this one is. */
  private outer: DeadlineHolder | null = null;
  /** Whether signals are let through everywhere. */
  private open = false;
  /** Meanwhile: `unseen` at the last interruption. */
  private seenLeft = -1;

  constructor(
    private readonly clock: Pick<Clock, 'now'>,
    private readonly signals: ThreadSignals,
    /** The vCPU whose runs these are; null where signals must not be lost between them. */
    private readonly fd: number | null,
  ) {}

  /** A run of `slice` nanoseconds begins. */
  start(slice: number): void {
    this.stopping = false;
    this.outer = this.signals.holder;
    this.outer?.close();
    this.signals.holder = this;
    const now = this.clock.now();
    this.at = now + slice;
    this.glanced = now;
    this.unseen = GLANCE_EXITS;
    this.arm(now, slice);
  }

  /** The run is over. */
  end(): void {
    const { signals, outer } = this;
    this.close();
    signals.disarm();
    signals.holder = outer;
    this.outer = null;
    outer?.again();
  }

  /** Has signals wait until KVM_RUN again. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.signals.close(this.fd!);
  }

  /** A signal ended KVM_RUN: whether to take it for the timer's. */
  interrupted(): boolean {
    if (!this.open) return this.signals.drain();
    // None waits that would tell, and the timer may have fired before and met nothing.
    this.left = this.at - this.clock.now();
    // While exits come that is no matter until the deadline; the timer fires again.
    if (this.left > 0 && this.unseen !== this.seenLeft) {
      this.seenLeft = this.unseen;
      return false;
    }
    this.close();
    this.signals.drain();
    return true;
  }

  /** The guest halted: it may do so soon again. */
  halted(): void {
    this.interval = LOOK_NS;
  }

  /** Somebody may have taken the timer's signal: sets it again. */
  again(): void {
    const now = this.clock.now();
    this.arm(now, this.at - now);
  }

  /** The run ends in `ns` nanoseconds if it would not sooner. */
  shorten(ns: number): void {
    if (ns <= 0) {
      this.stopping = true;
      return;
    }
    const now = this.clock.now();
    if (now + ns >= this.at) return;
    this.at = now + ns;
    this.arm(now, ns);
  }

  /** An exit was answered; true when there may be something to attend to. */
  exited(): boolean {
    if (--this.unseen > 0) return this.stopping;
    this.glance();
    return true;
  }

  /** Somebody in this thread asks for something: not later than at the next exit. */
  attend(): void {
    this.unseen = 1;
  }

  /** The timer fired: whether the run is over, be it that `sleeps` says that it may as well. */
  passed(sleeps: () => boolean): boolean {
    if (this.left <= 0 || sleeps()) return true;
    this.interval = Math.min(2 * this.interval, LOOK_MAX_NS);
    this.arm(this.clock.now(), this.left);
    return false;
  }

  private glance(): void {
    const now = this.clock.now();
    this.unseen = GLANCE_EXITS;
    if (now >= this.at) this.stopping = true;
    else if (now - this.glanced <= FREQUENT_NS) this.putOff(now);
    else if (this.open) {
      this.close();
      this.arm(now, this.at - now);
    }
    this.glanced = now;
  }

  private putOff(now: number): void {
    if (!this.open && this.fd !== null && this.signals.opens) {
      this.open = true;
      this.seenLeft = -1;
      this.signals.open(this.fd);
    } else if (this.firesAt - now >= PUT_OFF_NS / 2) return;
    this.set(now, PUT_OFF_NS, this.at - now);
  }

  /** `left` nanoseconds before the deadline: sets the timer to it, or to a look before it. */
  private arm(now: number, left: number): void {
    this.set(now, Math.max(1, Math.min(left, this.interval)), left);
  }

  private set(now: number, ns: number, left: number): void {
    this.firesAt = now + ns;
    this.left = left - ns;
    this.signals.arm(ns, this.open ? REPEAT_NS : 0);
  }
}
