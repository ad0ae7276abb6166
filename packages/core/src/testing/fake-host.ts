/**
 * A host whose time is moved by hand.
 *
 * The event loop is the real one (`turn`), so that nothing starves; the clock, the date, timers and
 * chance are the test's.
 */
import type { HostPort } from '../time/host-port.js';
import { systemHost } from '../time/host-port.js';

interface HostTimer {
  readonly at: number;
  readonly callback: () => void;
}

export class FakeHost implements HostPort {
  private ms = 0;
  private timers: HostTimer[] = [];
  private readonly real = systemHost();
  /** Milliseconds by which each look at the clock moves it: 0 never lets a run yield. */
  drift = 0.01;
  /** The byte that `entropy` fills with. */
  chance = 0x5a;

  constructor(private readonly date = 1_750_000_000) {}

  now(): number {
    this.ms += this.drift;
    return this.ms;
  }

  epochSeconds(): number {
    return this.date;
  }

  entropy(target: Uint8Array): void {
    target.fill(this.chance);
  }

  timeout(ms: number, callback: () => void): () => void {
    const timer = { at: this.ms + ms, callback };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((each) => each !== timer);
    };
  }

  turn(): Promise<void> {
    return this.real.turn();
  }

  /** Host timers that are set. */
  get waiting(): number {
    return this.timers.length;
  }

  /** Moves time on and fires what falls due, earliest first. */
  advance(ms: number): void {
    const end = this.ms + ms;
    for (;;) {
      const [next] = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.timers = this.timers.filter((each) => each !== next);
      this.ms = Math.max(this.ms, next.at);
      next.callback();
    }
    this.ms = end;
  }

  /** Lets the event loop turn until `condition` holds. */
  async until(condition: () => boolean): Promise<void> {
    for (let turns = 0; !condition(); turns++) {
      if (turns > 10_000) throw new Error('the condition does not come about');
      await this.turn();
    }
  }
}
