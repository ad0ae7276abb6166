/**
 * Clock and input port as one plugin has them: what its callbacks throw is reported under its name.
 */
import type { Clock, Doorbells, InputPort } from '../interfaces/index.js';

/** Takes what a callback threw. */
export type PortFault = (who: string, error: unknown) => void;

/** `clock`, with guarded callbacks. */
export function guardedClock(clock: Clock, fault: PortFault): Clock {
  return {
    get mode() {
      return clock.mode;
    },
    get epochSeconds() {
      return clock.epochSeconds;
    },
    now: () => clock.now(),
    at: (at, callback) =>
      clock.at(at, () => {
        try {
          callback();
        } catch (error) {
          fault('a timer', error);
        }
      }),
  };
}

/** `doorbells`, with guarded callbacks. */
export function guardedDoorbells(doorbells: Doorbells, fault: PortFault): Doorbells {
  return {
    watch: (place, rung) =>
      doorbells.watch(place, () => {
        try {
          rung();
        } catch (error) {
          fault('a doorbell', error);
        }
      }),
  };
}

/** `input`, with guarded deliveries. */
export function guardedInput(input: InputPort, fault: PortFault): InputPort {
  return {
    get live() {
      return input.live;
    },
    get replaying() {
      return input.replaying;
    },
    get recording() {
      return input.recording;
    },
    source(name, deliver, bound) {
      const guarded = (data: Uint8Array) => {
        try {
          deliver(data);
        } catch (error) {
          fault(`input source ${name}`, error);
        }
      };
      return input.source(name, guarded, bound);
    },
    snapshot: () => input.snapshot(),
    restore: (snapshot) => input.restore(snapshot),
  };
}
