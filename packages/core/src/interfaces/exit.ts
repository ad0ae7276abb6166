/**
 * Why a vCPU left the guest: one discriminated union for every backend.
 *
 * A handler gets an object that the backend reuses: it is valid until the handler returns. Streams
 * get a frozen copy, made only when somebody observes. 64-bit quantities of the guest (register and
 * MSR values, virtual addresses, hypercall arguments) are `lo`/`hi` pairs of unsigned 32-bit
 * numbers; guest-physical addresses and sizes are `number`s below 2^52. `data` is little-endian, as
 * the guest's memory or register holds it.
 */

interface ExitBase {
  /** Index of the vCPU, from 0. */
  vcpu: number;
  /**
   * Instructions executed by the VM before the one that exits (emulated backend);
   * -1 where the backend cannot count them.
   */
  instructions: number;
}

/** IN, OUT, INS, OUTS. String forms carry all their items in `data`. */
export interface IoExit extends ExitBase {
  kind: 'io';
  direction: 'in' | 'out';
  /** Port number, 0 to 0xffff. */
  port: number;
  /** Bytes per item: 1, 2 or 4. */
  size: number;
  /** Number of items, 1 for IN and OUT. */
  count: number;
  /** `size * count` bytes. For `in` the handler fills it; it starts as all ones. */
  data: Uint8Array;
}

/** An access to guest-physical addresses without memory behind them, or a write to ROM. */
export interface MmioExit extends ExitBase {
  kind: 'mmio';
  direction: 'read' | 'write';
  gpa: number;
  /** Bytes: 1 to 8 (16 for SSE accesses that a backend does not split). */
  size: number;
  /** `size` bytes. For `read` the handler fills it; it starts as all ones. */
  data: Uint8Array;
}

/** HLT executed with interrupts enabled or disabled; the vCPU sleeps until an event wakes it. */
export interface HltExit extends ExitBase {
  kind: 'hlt';
  /** Whether RFLAGS.IF was set: if not, only NMI, SMI, INIT or RESET can wake it. */
  interruptible: boolean;
}

/** CPUID, where the VM asked to see it; the handler may change the four outputs. */
export interface CpuidExit extends ExitBase {
  kind: 'cpuid';
  leaf: number;
  subleaf: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** RDMSR or WRMSR of an index that the backend does not implement itself. */
export interface MsrExit extends ExitBase {
  kind: 'msr';
  direction: 'read' | 'write';
  index: number;
  lo: number;
  hi: number;
  /** Set by the backend to true: #GP(0) unless a handler claims the access by clearing it. */
  fault: boolean;
}

/** VMMCALL or VMCALL. The handler sets `result`; unclaimed calls return -ENOSYS (-1000). */
export interface HypercallExit extends ExitBase {
  kind: 'hypercall';
  /** RAX at the call, low 32 bits. */
  number: number;
  /** RBX, RCX, RDX, RSI as lo/hi pairs: 8 numbers. */
  args: Uint32Array;
  resultLo: number;
  resultHi: number;
}

/** A private/shared mismatch or an access that the memory plan forbids. */
export interface MemoryFaultExit extends ExitBase {
  kind: 'memory-fault';
  gpa: number;
  size: number;
  access: 'read' | 'write' | 'execute';
  /** Whether the guest meant private (encrypted) memory. */
  private: boolean;
}

/** Triple fault, or INIT in a state that shuts the processor down. */
export interface ShutdownExit extends ExitBase {
  kind: 'shutdown';
  reason: 'triple-fault' | 'init';
}

/** VMGEXIT of an SEV-ES or SNP guest. */
export interface VmgexitExit extends ExitBase {
  kind: 'vmgexit';
  /** Value of the GHCB MSR: a GPA, or a request of the MSR protocol. */
  ghcbLo: number;
  ghcbHi: number;
}

/** The guest or the platform asked for something that ends or resets the VM. */
export interface SystemEventExit extends ExitBase {
  kind: 'system-event';
  event: 'shutdown' | 'reset' | 'crash' | 'wakeup' | 'suspend' | 'sev-term';
  /** Event-specific words, as KVM_SYSTEM_EVENT has them. */
  data: readonly number[];
  /** What happened, in words, where the backend or an extension knows more than the event says. */
  message?: string;
}

/** The run ended because the host asked for it (kick, end of slice). */
export interface InterruptedExit extends ExitBase {
  kind: 'interrupted';
}

/** A breakpoint or single step that the host set. */
export interface DebugExit extends ExitBase {
  kind: 'debug';
  /** 1 #DB, 3 #BP. */
  vector: number;
  ripLo: number;
  ripHi: number;
  dr6: number;
  dr7: number;
}

/** The backend cannot go on: the VM stops and reports it. Never a host exception. */
export interface ErrorExit extends ExitBase {
  kind: 'error';
  /** Stable word, e.g. `emulation-failure`, `fail-entry`, `internal`. */
  code: string;
  message: string;
  /** Instruction bytes at RIP where known. */
  bytes: Uint8Array;
}

export type VmExit =
  | IoExit
  | MmioExit
  | HltExit
  | CpuidExit
  | MsrExit
  | HypercallExit
  | MemoryFaultExit
  | ShutdownExit
  | VmgexitExit
  | SystemEventExit
  | InterruptedExit
  | DebugExit
  | ErrorExit;

export type VmExitKind = VmExit['kind'];

/** The exit of one kind. */
export type VmExitOf<Kind extends VmExitKind> = Extract<VmExit, { kind: Kind }>;

/** Where a vCPU delivers its exits, synchronously, while the instruction waits. */
export type ExitSink = (exit: VmExit) => void;
