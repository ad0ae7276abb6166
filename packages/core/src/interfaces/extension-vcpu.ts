/**
 * What an extension may do to the vCPU that called it, and what the host behind that vCPU gives.
 *
 * Everything is synchronous and allowed inside the extension's hooks only, on the thread that runs
 * the vCPU. Misuse by an extension is a `VmmError`; no value of the guest's is one.
 */
import type { CpuidValue, MsrValue } from './cpu-extension.js';
import type { VmExit } from './exit.js';
import type { InjectedEvent } from './extension-exception.js';
import type { InterceptName } from './intercepts.js';
import type { VcpuState } from './vcpu-state.js';

/** What of the guest's state CPUID's answer depends on. */
export interface CpuidGuestState {
  /** Low 32 bits. */
  readonly cr4: number;
  readonly xcr0: number;
}

/**
 * What an unprotected guest's exit would have got: the same devices, exit handlers, local APIC,
 * MSRs and CPUID, for hypervisor code of an extension to answer from. Exits go to the sink of the
 * run under way, with `vcpu` and `instructions` filled in; they show no register.
 */
export interface ExtensionHost {
  /**
   * `count` items of `size` bytes (1, 2 or 4) at `port`; `data` is `size * count` bytes. For `in`
   * it is set to ones and then filled by whoever answers.
   */
  io(direction: 'in' | 'out', port: number, size: number, count: number, data: Uint8Array): void;
  /**
   * An access of 1 to 64 bytes to guest-physical `gpa`, which need not be without memory: memory is
   * not looked at. The page of the local APIC answers as it does to the processor. `data` as in
   * `io`.
   */
  mmio(direction: 'read' | 'write', gpa: number, data: Uint8Array): void;
  /** The model's table, what extensions change, and `cpuid` exits. */
  cpuid(leaf: number, subleaf: number, guest: CpuidGuestState, value: CpuidValue): void;
  /**
   * RDMSR, as by an unprotected guest: MSRs of extensions, of the processor, then `msr` exits. Of
   * MSRs that are registers of the guest it sees what is loaded at the moment.
   */
  readMsr(index: number, value: MsrValue): 'ok' | 'gp';
  writeMsr(index: number, value: MsrValue): 'ok' | 'gp';
  /**
   * A `hypercall` exit: the number, four arguments as eight halves, lo first; the result to
   * `result` (-1000 where nobody answers).
   */
  hypercall(number: number, args: Uint32Array, result: MsrValue): void;
  /** The time-stamp counter. */
  rdtsc(value: MsrValue): void;
  /** RDPMC of counter `index`. */
  rdpmc(index: number, value: MsrValue): 'ok' | 'gp';
  /** Any exit as it is, e.g. `vmgexit`, `system-event`, `hlt`, `shutdown` or `error`. */
  deliver(exit: VmExit): void;
}

/** How a vCPU ends: `shutdown` until RESET or INIT, `error` until RESET. */
export type StopReason = 'shutdown' | 'error';

export interface ExtensionVcpu {
  readonly index: number;
  readonly host: ExtensionHost;

  // Registers. Not in `fill`: registers are not settled there.

  /** Which of the vCPU's contexts is active (e.g. a VMPL), from 0. */
  readonly context: number;
  /**
   * The general registers, live: 32 unsigned words, lo and hi of each in the order of encoding.
   * Valid while registers are settled: in every hook but `fill`.
   */
  readonly gpr: Uint32Array;
  /**
   * The value of `CpuExtension.keptMsr`, live: lo and hi. Zero after RESET; whoever owns it loads
   * and saves it.
   */
  readonly keptMsr: Uint32Array;
  readState(): VcpuState;
  writeState(state: VcpuState): void;
  /**
   * Fills `window` (`REGISTER_WINDOW_SIZE` bytes) with the registers as `REGISTER_WINDOW` has them.
   * Inside `intercept` and `execute` RIP is that of the instruction until `complete` is called.
   */
  saveRegisters(window: Uint8Array): void;
  /**
   * Makes the registers what `window` says, from the next instruction on. Translations stay where
   * CR0, CR3, CR4 and EFER are those of the registers that were loaded before. Values that this
   * processor cannot hold are cut to what it can: nothing that a window says is an error.
   */
  loadRegisters(window: Uint8Array): void;
  /** Makes the registers those of RESET: what the host works with between two guests. */
  clearRegisters(): void;
  /**
   * In `leave`, with `CpuExtension.registersHidden`: the processor does not clear the registers.
   * They stay what they are, hidden, up to the next `enter`, which need not load them, or until the
   * extension is told to save them (`CpuExtension.release`).
   */
  keepRegisters(): void;
  /**
   * The intercepted instruction has ended, as for exits that are traps: RIP moves behind it at
   * once, and a window saved afterwards shows that. The verdict must be `resume`.
   */
  complete(): void;
  /**
   * Makes `context` the active one: the registers of the present one are kept and those of the
   * other become current, RIP included. One that was never active has the registers of RESET. With
   * `CpuExtension.registersHidden` nothing is kept: the registers are cleared, and the extension
   * loads those of `context`. Below `CpuExtension.contexts`. Drops the translations.
   */
  switchContext(context: number): void;
  /**
   * Drops every cached translation of this vCPU, and what is remembered of verdicts
   * (`CpuExtension.lastingVerdicts`) of any.
   */
  flushTlb(): void;
  /** Sets the events that are intercepted: some of `CpuExtension.intercepts`. */
  setIntercepts(names: ReadonlySet<InterceptName>): void;

  // Interrupts.

  /** RFLAGS.IF. */
  readonly interruptFlag: boolean;
  /** The next instruction is in an interrupt shadow. */
  readonly interruptShadow: boolean;
  /**
   * What waits: an NMI unless these are blocked, else an interrupt of the local APIC that its
   * priorities let through; whether the guest could take it now or not.
   */
  readonly pending: 'none' | 'interrupt' | 'nmi';
  /** Takes what `pending` tells from where it waits; answers its vector (2 for an NMI). */
  acknowledge(): number;
  /**
   * Delivers `event` before the next instruction, in place of any injected before; also where the
   * run ends before that: `leave` saves the registers of its handler.
   */
  inject(event: InjectedEvent): void;
  /** From the delivery of an NMI to IRET. */
  nmiBlocked: boolean;
  /** Whether IRET ends the blocking of NMIs; true after RESET. */
  iretUnblocksNmi: boolean;

  // What the vCPU does next.

  /**
   * Halted until an event: an NMI that is not blocked, or, where `interruptible`, an interrupt. It
   * then enters again, and `interrupt` is called; the vCPU sleeps on unless that injects something
   * or calls `run`. The single-step trap of the instruction that halts is lost.
   */
  halt(interruptible: boolean): void;
  /** Waits for a start-up IPI (`CpuExtension.startup`, or as an unprotected processor). */
  waitForStartup(): void;
  /** Ends `halt` and `waitForStartup`: instructions are executed. */
  run(): void;
  /** The run ends before the next instruction, as by `Vcpu.kick`. */
  yield(): void;
  /**
   * The run ends before the next instruction, for the reason that `Vcpu.run` then returns. What
   * the host is told of it the extension delivers itself (`ExtensionHost.deliver`).
   */
  stop(reason: StopReason): void;
}
