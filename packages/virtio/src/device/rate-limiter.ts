/**
 * A rate limiter: how long something has to wait so that bytes and operations per second stay under
 * a limit, with a burst of a given length. Time is the VM's, so that runs repeat.
 *
 * Each limit keeps the virtual time up to which it is used up (the generic cell rate algorithm).
 */
import { VmmError } from '@cloister/core';
import { state } from '@cloister/core/devices';

export interface RateLimit {
  readonly bytesPerSecond?: number;
  readonly operationsPerSecond?: number;
  /** Nanoseconds of full rate that may be used at once; 100 ms unless given. */
  readonly burst?: number;
}

/** Virtual times up to which each limit is used up. */
export interface RateState {
  bytes: number;
  operations: number;
}

export const rateField: state.Field<RateState> = state.record<RateState>({
  bytes: state.time,
  operations: state.time,
});

const SECOND = 1e9;
const BURST = 1e8;
/** Nothing waits longer than this: a guest's driver would give it up. */
const WAIT_MAX = 10 * SECOND;

/** Nanoseconds that so much takes at the full rate. */
function cost(amount: number, rate: number | undefined): number {
  return rate === undefined ? 0 : Math.ceil((amount * SECOND) / rate);
}

export class RateLimiter {
  private used: RateState = { bytes: 0, operations: 0 };
  private readonly burst: number;

  constructor(private readonly limit: RateLimit = {}) {
    const { bytesPerSecond, operationsPerSecond, burst = BURST } = limit;
    for (const [name, value] of Object.entries({ bytesPerSecond, operationsPerSecond, burst })) {
      if (value === undefined || (Number.isFinite(value) && value > 0)) continue;
      throw new VmmError('invalid-argument', `a rate limit needs a ${name} above 0`);
    }
    this.burst = burst;
  }

  /** Takes one operation of so many bytes at time `now`; returns nanoseconds to wait. */
  take(now: number, bytes: number): number {
    const { used } = this;
    const { bytesPerSecond, operationsPerSecond } = this.limit;
    used.bytes = this.after(used.bytes, now, cost(bytes, bytesPerSecond));
    used.operations = this.after(used.operations, now, cost(1, operationsPerSecond));
    const until = Math.max(used.bytes, used.operations);
    return Math.max(0, Math.min(WAIT_MAX, until - this.burst - now));
  }

  private after(used: number, now: number, cost: number): number {
    if (cost === 0) return 0;
    return Math.min(Math.max(used, now) + cost, now + this.burst + WAIT_MAX);
  }

  reset(): void {
    this.used = { bytes: 0, operations: 0 };
  }

  save(): RateState {
    return { ...this.used };
  }

  load(saved: RateState): void {
    this.used = { ...saved };
  }
}
