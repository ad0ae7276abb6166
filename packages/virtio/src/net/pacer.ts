/**
 * The rate of one direction: a limiter with the timer that ends its waits.
 */
import type { Clock, Timer } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { type RateLimit, RateLimiter, type RateState, rateField } from '../device/rate-limiter.js';

/** When the direction may go on. */
export interface Pace {
  rate: RateState;
  /** Virtual time before which nothing moves. */
  until: number;
}

export const paceField = state.record<Pace>({ rate: rateField, until: state.time });

export class Pacer {
  private readonly limiter: RateLimiter;
  private until = 0;
  private timer: Timer | null = null;

  constructor(
    limit: RateLimit | undefined,
    private readonly clock: Clock,
    private readonly go: () => void,
  ) {
    this.limiter = new RateLimiter(limit);
  }

  get isOpen(): boolean {
    return this.timer === null;
  }

  /** A frame passed. */
  take(bytes: number): void {
    const now = this.clock.now();
    const wait = this.limiter.take(now, bytes);
    if (wait > 0) this.close(now + wait);
  }

  private close(until: number): void {
    this.until = until;
    this.timer = this.clock.at(until, () => {
      this.timer = null;
      this.go();
    });
  }

  reset(): void {
    this.timer?.cancel();
    this.timer = null;
    this.until = 0;
    this.limiter.reset();
  }

  save(): Pace {
    return { rate: this.limiter.save(), until: this.timer === null ? 0 : this.until };
  }

  load(saved: Pace): void {
    this.reset();
    this.limiter.load(saved.rate);
    if (saved.until > 0) this.close(saved.until);
  }
}
