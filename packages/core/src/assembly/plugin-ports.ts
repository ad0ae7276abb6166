/**
 * Clock and input port as one plugin has them: what its callbacks throw is reported under its name.
 */
import type {
  Clock,
  Doorbells,
  InputPort,
  InputSource,
  Snapshot,
  Timer,
} from '../interfaces/index.js';

/** Takes what a callback threw. */
export type PortFault = (who: string, error: unknown) => void;

/** A class, since V8 is slow to find what an object literal with getters has. */
class GuardedClock implements Clock {
  readonly #clock: Clock;
  readonly #fault: PortFault;

  constructor(clock: Clock, fault: PortFault) {
    this.#clock = clock;
    this.#fault = fault;
  }

  get mode(): Clock['mode'] {
    return this.#clock.mode;
  }

  get epochSeconds(): number {
    return this.#clock.epochSeconds;
  }

  now(): number {
    return this.#clock.now();
  }

  at(at: number, callback: () => void): Timer {
    return this.#clock.at(at, () => {
      try {
        callback();
      } catch (error) {
        this.#fault('a timer', error);
      }
    });
  }
}

/** `clock`, with guarded callbacks. */
export function guardedClock(clock: Clock, fault: PortFault): Clock {
  return new GuardedClock(clock, fault);
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

/** A class for the reason that `GuardedClock` is one. */
class GuardedInput implements InputPort {
  readonly #input: InputPort;
  readonly #fault: PortFault;

  constructor(input: InputPort, fault: PortFault) {
    this.#input = input;
    this.#fault = fault;
  }

  get live(): boolean {
    return this.#input.live;
  }

  get replaying(): boolean {
    return this.#input.replaying;
  }

  get recording(): boolean {
    return this.#input.recording;
  }

  source(name: string, deliver: (data: Uint8Array) => void, bound?: number): InputSource {
    const guarded = (data: Uint8Array) => {
      try {
        deliver(data);
      } catch (error) {
        this.#fault(`input source ${name}`, error);
      }
    };
    return this.#input.source(name, guarded, bound);
  }

  snapshot(): Snapshot {
    return this.#input.snapshot();
  }

  restore(snapshot: Snapshot): void {
    this.#input.restore(snapshot);
  }
}

/** `input`, with guarded deliveries. */
export function guardedInput(input: InputPort, fault: PortFault): InputPort {
  return new GuardedInput(input, fault);
}
