/**
 * A virtual machine as the `run` command handles it. assemble.ts makes one; tests fake it.
 */
import type { FaultEvent, VmEnd, VmExit, WorldSwitch } from '@cloister/core';

/** A stream to observe; the returned function ends the subscription. */
export type Observe<T> = (listener: (value: T) => void) => () => void;

export interface Machine {
  readonly exits: Observe<VmExit>;
  /** World switches, in order with the exits. */
  readonly switches: Observe<WorldSwitch>;
  readonly faults: Observe<FaultEvent>;
  /** Runs until the guest ends or `stop`. */
  run(): Promise<VmEnd>;
  /** Ends the run soon, or before it began; `message` is for people. */
  stop(reason: 'stopped' | 'timeout', message: string): void;
  /** Halts the guest until `resume`, without any effect that it can see. */
  pause(): void;
  resume(): void;
  /**
   * Writes the whole VM to a file. Between runs or during one; with `leave` the guest does not go
   * on here, once it is in the file.
   */
  save(path: string, options?: { readonly leave?: boolean }): Promise<void>;
  /** Ends the file of `--record`, which is there from now on; does nothing without that option. */
  finishRecording(): void;
  /** Takes back what is written of that file, unless it was ended; so does `dispose`. */
  dropRecording(): void;
  /** Writes the host's view of guest RAM to the file of `--dump-memory`, where one is named. */
  dumpMemory(): void;
  /** Instructions executed so far. */
  instructions(): number;
  /** Seconds of the host's time spent executing the guest, without those that it slept. */
  busySeconds(): number;
  /** Exits by kind, most frequent first. */
  exitCounts(): readonly (readonly [string, number])[];
  /** Facts for the end of the run, in order: `[name, value]`. */
  facts(): readonly (readonly [string, string])[];
  dispose(): Promise<void>;
}
