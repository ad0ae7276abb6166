/**
 * A virtual machine as the `run` command handles it. assemble.ts makes one; tests fake it.
 */
import type { FaultEvent, VmEnd, VmExit } from '@cloister/core';
import type { GuestInput } from './terminal.js';

/** A stream to observe; the returned function ends the subscription. */
export type Observe<T> = (listener: (value: T) => void) => () => void;

export interface Machine {
  readonly clock: 'icount' | 'wall';
  readonly seed: number;
  /** The serial port's receiving end. */
  readonly input: GuestInput;
  readonly exits: Observe<VmExit>;
  readonly faults: Observe<FaultEvent>;
  /** Runs until the guest ends or `stop`. */
  run(): Promise<VmEnd>;
  /** Ends the run soon; `reason` is for people. Does nothing when none is under way. */
  stop(reason: string): void;
  /** Halts the guest until `resume`, without any effect that it can see. */
  pause(): void;
  resume(): void;
  /** Writes the whole VM to a file. Between runs or during one. */
  save(path: string): Promise<void>;
  /** Instructions executed so far. */
  instructions(): number;
  /** Facts for the end of the run, in order: `[name, value]`. */
  summary(): readonly (readonly [string, string])[];
  dispose(): Promise<void>;
}
