/**
 * Stand-ins for the ports of a device: a clock that is moved by hand, interrupt lines that
 * remember, a sink that can refuse, machine control that only notes, and seeded randomness.
 */
import type {
  ByteSink,
  Clock,
  IrqLine,
  MachineControl,
  Random,
  Timer,
} from '../interfaces/index.js';

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is moved. */
export class FakeClock implements Clock {
  readonly mode = 'icount';
  private time: number;
  private order = 0;
  private pending: Pending[] = [];

  constructor(
    start = 0,
    readonly epochSeconds = 1_700_000_000,
  ) {
    this.time = start;
  }

  now(): number {
    return this.time;
  }

  at(at: number, callback: () => void): Timer {
    const entry: Pending = { at, order: this.order++, callback };
    this.pending.push(entry);
    return {
      cancel: () => {
        this.pending = this.pending.filter((other) => other !== entry);
      },
    };
  }

  /** Timers that are set. */
  get timers(): number {
    return this.pending.length;
  }

  /** The time of the next timer, infinity without one. */
  get next(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.pending.map(({ at }) => at));
  }

  /** Moves time on, firing each timer at its own moment. */
  advance(nanoseconds: number): void {
    const end = this.time + nanoseconds;
    for (let next = this.earliest(end); next !== null; next = this.earliest(end)) {
      this.time = Math.max(this.time, next.at);
      this.fire(next);
    }
    this.time = end;
  }

  /** Moves time on at once, as a late host clock does: what fell due meanwhile fires at the end. */
  jump(nanoseconds: number): void {
    this.time += nanoseconds;
    // What a timer sets for now or earlier waits for the next move.
    const due = this.pending.filter(({ at }) => at <= this.time);
    due.sort((a, b) => a.at - b.at || a.order - b.order);
    for (const entry of due) if (this.pending.includes(entry)) this.fire(entry);
  }

  /** Sets the time without firing anything, as restoring a clock does. */
  set(time: number): void {
    this.time = time;
  }

  private earliest(end: number): Pending | null {
    let first: Pending | null = null;
    for (const entry of this.pending) {
      if (entry.at > end) continue;
      if (first === null || entry.at < first.at) first = entry;
      else if (entry.at === first.at && entry.order < first.order) first = entry;
    }
    return first;
  }

  private fire(entry: Pending): void {
    this.pending = this.pending.filter((other) => other !== entry);
    entry.callback();
  }
}

/** A line that remembers its level and counts its rising edges. */
export class FakeLine implements IrqLine {
  level = false;
  /** Times that the line rose. */
  rises = 0;

  constructor(private readonly changed?: (level: boolean) => void) {}

  set(level: boolean): void {
    if (level === this.level) return;
    this.level = level;
    if (level) this.rises++;
    this.changed?.(level);
  }
}

/** A sink that keeps what it takes, while it takes anything. */
export class FakeSink implements ByteSink {
  readonly bytes: number[] = [];
  /** When false, every byte is refused. */
  open = true;

  constructor(private readonly taken?: (byte: number) => void) {}

  put(byte: number): boolean {
    if (!this.open) return false;
    this.bytes.push(byte);
    this.taken?.(byte);
    return true;
  }

  /** What was taken, as text (Latin-1). */
  get text(): string {
    return String.fromCharCode(...this.bytes);
  }
}

/** Notes what a device asks of the machine, and does nothing. */
export class FakeControl implements MachineControl {
  readonly requests: string[] = [];

  constructor(private readonly asked?: (request: string) => void) {}

  powerOff(reason: string, status = 0): void {
    this.note(`power-off ${reason} ${status}`);
  }

  reset(reason: string): void {
    this.note(`reset ${reason}`);
  }

  private note(request: string): void {
    this.requests.push(request);
    this.asked?.(request);
  }
}

/**
 * Repeatable randomness: one 32-bit state word through a bijective mixer, enough to choose test
 * inputs.
 */
export class FakeRandom implements Random {
  private state: number;

  constructor(seed = 1) {
    this.state = seed >>> 0;
  }

  u32(): number {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let z = this.state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  fill(target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.u32();
  }

  /** Goes on where `other` is. */
  copy(other: FakeRandom): void {
    this.state = other.state;
  }

  /** An integer from 0 to `bound - 1`. */
  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound);
  }
}
