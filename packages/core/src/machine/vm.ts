/**
 * What a host program holds: a VM, its options and its summary.
 */
import type { InputRecording, ReplaySource } from '../input/recording.js';
import type {
  Clock,
  GuestMemory,
  InputRecord,
  SaveOptions,
  ServiceToken,
  Snapshot,
  Vcpu,
  VmEnd,
  VmEvents,
  VmExitKind,
  VmStatus,
} from '../interfaces/index.js';
import type { PortCount } from '../summary/exit-counters.js';
import type { HostPort } from '../time/host-port.js';

export interface VmOptions {
  /** Bytes of RAM, or a size such as `256M` (K, M, G, binary). Default 256M. */
  readonly memory?: number | string;
  /** Default 1. */
  readonly cpus?: number;
  /** Makes a run repeatable; fresh and reported unless given. Fixes the guest's date as well. */
  readonly seed?: number | bigint | string;
  /**
   * `auto` (default): counted instructions, unless live input is attached when the VM starts. A
   * recorded or replayed run always counts.
   */
  readonly clock?: Clock['mode'] | 'auto';
  /** Seconds since 1970 at the VM's start; by default the seed's, or now for a fresh seed. */
  readonly epochSeconds?: number;
  /**
   * Keeps external input for `Vm.recording()`, or hands over each piece as it is delivered: to a
   * `RecordingWriter`, for one.
   */
  readonly record?: boolean | ((input: InputRecord) => void);
  /** Runs with this input and nothing else, and ends where the recorded run ended. */
  readonly replay?: ReplaySource;
  /** What a reset by the guest does; default `stop`: the run ends. */
  readonly onReset?: 'stop' | 'reboot';
  /** Refuses a protection whose strength is only `emulated`. */
  readonly requireHardware?: boolean;
  /** Most instructions between two looks at timers and input; default 200000. */
  readonly slice?: number;
  /** Instructions for one CPU before the next one's turn, with several; default 20000. */
  readonly quantum?: number;
  /** Time, chance and event loop of the host; for tests. */
  readonly host?: HostPort;
}

export interface VmSummary {
  readonly instructions: number;
  /** Virtual nanoseconds since the VM's start. */
  readonly virtualTime: number;
  /** Virtual time at which the guest first entered user mode; null if it has not, or unknown. */
  readonly userModeAt: number | null;
  /** Host milliseconds spent executing the guest. */
  readonly busyMs: number;
  readonly memory: number;
  readonly cpus: number;
  readonly clock: { readonly mode: Clock['mode']; readonly why: string };
  /** Decimal. */
  readonly seed: string;
  readonly epochSeconds: number;
  readonly exits: {
    readonly total: number;
    readonly byKind: readonly (readonly [VmExitKind, number])[];
    /** The busiest ports. */
    readonly byPort: readonly PortCount[];
    readonly unclaimedIo: number;
    readonly unclaimedMmio: number;
  };
  readonly backend: {
    readonly name: string;
    readonly statistics: readonly (readonly [string, number])[];
  };
  /** Name of the boot source and how the guest was entered; null after a restore. */
  readonly boot: { readonly source: string; readonly entry: string } | null;
  /** Null without protection. */
  readonly protection: {
    readonly name: string;
    readonly strength: 'hardware' | 'emulated';
    readonly lines: readonly (readonly [string, string])[];
  } | null;
  readonly console: { readonly written: number; readonly unobserved: number };
  readonly faults: number;
  readonly resets: number;
  /** What plugins added. */
  readonly lines: readonly (readonly [string, string])[];
  /** Why it ended, null while it has not. */
  readonly end: VmEnd | null;
}

export interface Vm {
  readonly status: VmStatus;
  readonly events: VmEvents;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  /** The seed in use, decimal. */
  readonly seed: string;
  /** Instructions executed so far. */
  readonly instructions: number;
  /**
   * Starts or resumes the VM and waits for its end. Rejects with a `VmmError` when it can't be
   * started, and when the host fails while it runs; whatever the guest does resolves.
   */
  run(): Promise<VmEnd>;
  /** Starts the VM and returns when its first instruction is about to run. */
  start(): Promise<void>;
  /**
   * Stops between two instructions: as soon as possible, or before instruction `at`, whatever
   * other pauses there are before. Resolves when it stands still, or has ended, or (without `at`)
   * when `resume` came first. Waiting for it in a handler would never end.
   */
  pause(options?: { readonly at?: number }): Promise<void>;
  /** Goes on after `pause` or `restore`. */
  resume(): void;
  /** Ends the run from outside and returns why it ended (earlier reasons win). */
  stop(reason?: 'stopped' | 'timeout', message?: string): Promise<VmEnd>;
  /** Presses the reset button: the guest starts again, whatever `onReset` says. */
  reset(): void;
  /**
   * Saves everything; a running VM pauses meanwhile, a stopped one can still be saved. With
   * `leave` a protected guest has left afterwards: its run here ends where it would go on. With
   * `keep` too it leaves only when what was saved is kept.
   */
  save(options?: SaveOptions): Promise<Snapshot>;
  /** Takes a saved state in place of a boot; the VM is paused afterwards. */
  restore(snapshot: Snapshot): Promise<void>;
  /**
   * External input so far, with the option `record`; its end is where the VM is now. A function
   * that took the input has it all: none is in here.
   */
  recording(): InputRecording;
  /** A service that a plugin provides; `VmmError('missing-capability')` if none does. */
  get<T>(token: ServiceToken<T>): T;
  summary(): VmSummary;
  /** Ends the run and releases everything, in reverse order; all errors in an AggregateError. */
  dispose(): Promise<void>;
}
