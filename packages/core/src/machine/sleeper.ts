/**
 * Sleeping until a moment of host time or until somebody wakes the machine.
 *
 * Host timers are coarse (1 ms or more): the last part of a wait is spent in turns of the event
 * loop, so that a guest's timer is not late by a whole tick.
 */
import type { HostPort } from '../time/host-port.js';

/** Below this, a host timer would oversleep. */
const TIMER_MIN_MS = 1.5;

export class Sleeper {
  private waker: (() => void) | null = null;
  private woken = false;

  constructor(private readonly host: HostPort) {}

  /** Ends the sleep under way; without one, the next sleep does not begin. */
  wake(): void {
    this.woken = true;
    this.waker?.();
  }

  /** Forgets an earlier `wake`: call before looking for a reason not to sleep. */
  arm(): void {
    this.woken = false;
  }

  /** Sleeps at most `ms` (Infinity: until woken). May return early. */
  async sleep(ms: number): Promise<void> {
    if (this.woken) return;
    if (ms < TIMER_MIN_MS) return this.host.turn();
    await new Promise<void>((resolve) => {
      const cancel = this.host.timeout(Math.floor(Math.min(ms - 1, 2 ** 30)), done);
      this.waker = done;
      function done(): void {
        cancel();
        resolve();
      }
    });
    this.waker = null;
  }
}
