/**
 * CPU backends: what runs guest instructions. The emulated processor and KVM both implement these.
 */
import type { Clock, Random } from './clock.js';
import type { CpuExtension } from './cpu-extension.js';
import type { Doorbells } from './doorbells.js';
import type { ExitSink, VmExitKind } from './exit.js';
import type { InstructionAssist } from './instruction-assist.js';
import type { GuestMemory, MemorySlot } from './memory.js';
import type { NativeVmControl } from './native-vm-control.js';
import type { Snapshot, Snapshotable } from './snapshot.js';
import type { VcpuState } from './vcpu-state.js';

/** What `probe` found. `capabilities` are words plugins may require, e.g. `cpu.long-mode`. */
export interface BackendProbe {
  readonly name: string;
  readonly available: boolean;
  /** Why not, and what to do, when not available. */
  readonly reason?: string;
  readonly remedy?: string;
  readonly capabilities: readonly string[];
  /** C-bit's position in the tables of guests whose memory the host's processor encrypts. */
  readonly cBit?: number;
  /** Facts for `cloister probe`, in order: `[name, value]`. */
  readonly details: readonly (readonly [string, string])[];
}

export interface CpuBackend {
  readonly name: string;
  /**
   * What selects the processor that guests get (`selectCpu` of `@cloister/core/cpu`), where there
   * is a choice. A saved VM is restored on the same one only.
   */
  readonly cpu?: string;
  /** Looks at the host; never throws, never leaves anything open. */
  probe(): Promise<BackendProbe>;
  /** Creates an empty VM. Leaves nothing behind when it throws. */
  createVm(options: BackendVmOptions): Promise<BackendVm>;
}

export interface BackendVmOptions {
  /** Bytes of system memory to provide for slots in all (RAM and ROM). */
  readonly memorySize: number;
  readonly cpus: number;
  readonly clock: Clock;
  readonly random: Random;
  /** What plugins give an emulated processor; a native backend refuses any. */
  readonly extensions: readonly CpuExtension[];
  /** Kinds whose exits some handler wants although the backend could answer them (cpuid, msr). */
  readonly intercept: ReadonlySet<VmExitKind>;
  /** VM type that a protection requires (KVM's); a backend that has it not refuses. */
  readonly vmType?: number;
  /** Runs what the backend cannot; a backend that can run everything ignores it. */
  readonly assist?: InstructionAssist;
}

/** Answers interrupt acknowledge cycles: the i8259 pair. */
export interface ExternalInterruptSource {
  /** The vector of the highest-priority request; spurious (vector 7 of its base) if none. */
  acknowledge(): number;
}

/** How interrupts reach vCPUs. */
export interface InterruptPort {
  /** Where the PIC and IOAPIC live: devices of core (`external`) or the backend (`internal`). */
  readonly irqchip: 'external' | 'internal';
  /** Drives a GSI of an internal irqchip. */
  setGsi(gsi: number, level: boolean): void;
  /** Delivers a message-signalled interrupt (address and data as PCI MSI, xAPIC format). */
  sendMsi(address: number, data: number): void;
  /** Connects the i8259's INTR to LINT0 of the boot CPU (ExtINT). */
  connectExternal(source: ExternalInterruptSource): void;
  /** Drives INTR. */
  setExternal(level: boolean): void;
  /** Called with the vector when a local APIC broadcasts an EOI (level-triggered interrupts). */
  onEoi(listener: (vector: number) => void): void;
}

export interface BackendVm extends Snapshotable {
  readonly memory: GuestMemory;
  readonly interrupts: InterruptPort;
  readonly vcpus: readonly Vcpu[];
  /** Present where the host's kernel runs the VM. */
  readonly native?: NativeVmControl;
  /** Present where a write to a doorbell costs the guest less than an exit. */
  readonly doorbells?: Doorbells;
  /** Instructions executed by all vCPUs, exact at any moment; -1 where not counted. */
  instructions(): number;
  /**
   * Virtual time at which a vCPU first entered user mode (CPL 3), null as long as none has: how
   * long the guest took to boot. Absent where the backend cannot tell.
   */
  userModeAt?(): number | null;
  /** Maps a slot. Slots do not overlap and are page-aligned, else `VmmError`. */
  addSlot(slot: MemorySlot): void;
  removeSlot(id: number): void;
  /**
   * Maps the page of `gpa` to another system-physical page (both multiples of 4096), as a
   * hypervisor may at any time. Absent where the backend cannot.
   */
  remap?(gpa: number, spa: number): void;
  /**
   * Present where the VM's vCPUs execute at the same time, each but the first in a thread of its
   * own: `run` of the first lets the others go, delivers their exits too, and ends as soon as one
   * of them does so. They go on between its runs, and their exits wait. `park` stops them all
   * between two instructions; what they exit for until then is delivered to `sink`. The machine
   * calls it when its run loop leaves off and before a reset. Registers of others than the first
   * are read and written as ever, `runnable` of those is false.
   */
  park?(sink: ExitSink): void;
  /** Puts every vCPU into its reset state: the boot CPU runnable, others waiting for SIPI. */
  reset(): void;
  /** Counters for the summary, in order: `[name, value]`. */
  statistics(): readonly (readonly [string, number])[];
  /**
   * `saves`, where it is given, says of each page of guest memory whether it is to be saved; others
   * are zeros in the record.
   */
  snapshot(saves?: (gpa: number) => boolean): Snapshot;
  dispose(): Promise<void>;
}

/** Why `run` returned. */
export type RunEnd =
  /** The slice is used up, or something asked for the host's attention. */
  | 'slice'
  /**
   * A kick ended it, or the host's event loop has something to do, on a backend that looks after
   * it while a guest keeps it waiting. That is to have a turn; then run again.
   */
  | 'kicked'
  /** HLT; run again when `runnable` is true. */
  | 'halted'
  /** Waiting for INIT/SIPI. */
  | 'waiting'
  /** Triple fault or shutdown; a `shutdown` exit was delivered. */
  | 'shutdown'
  /** The backend cannot go on; an `error` exit was delivered. */
  | 'error';

export interface Vcpu {
  readonly index: number;
  /**
   * Runs at most `slice` instructions, or nanoseconds of host time where the backend counts no
   * instructions (`BackendVm.instructions()` is -1), delivering exits to `sink` synchronously: an
   * exit's handler runs while its instruction waits, so that string I/O and read-modify-write MMIO
   * are one instruction on every backend.
   */
  run(slice: number, sink: ExitSink): RunEnd;
  /**
   * From inside a sink, a timer or a port: end the running slice after at most `instructions` (in
   * the unit of `run`) more, 0 meaning before the next instruction. Does nothing when no slice
   * runs.
   */
  shorten(instructions: number): void;
  /** Ends a `run` from any thread, soon. A kick with no run under way ends the next one. */
  kick(): void;
  /** Whether `run` would execute: not halted or waiting, or an event is pending. */
  readonly runnable: boolean;
  /**
   * Registers, where the protection lets the host see them; otherwise
   * `VmmError('unsupported')`. Only between runs or inside a sink.
   */
  readState(): VcpuState;
  writeState(state: VcpuState): void;
  /** Non-maskable interrupt. */
  nmi(): void;
}
