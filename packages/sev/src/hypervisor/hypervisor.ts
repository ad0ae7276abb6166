/**
 * What the processor's world switch and the hypervisor have to say to each other about a guest with
 * encrypted registers: the VMCB, the guest's shared memory, and the machine behind an exit.
 */
import type { GuestMemory, Snapshotable, VmExit } from '@cloister/core';
import type { Vmcb } from '../abi/vmcb.js';

/** Four registers, each 32 bits, unsigned or not. */
export interface CpuidAnswer {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** An unsigned 64-bit value. */
export interface Pair {
  lo: number;
  hi: number;
}

/**
 * The machine as an unprotected guest's exit would reach it: the same models, devices and handlers.
 * Everything is answered before the call returns. `data` is little-endian.
 */
export interface Host {
  /** `size * count` bytes of `data`; for `in` the host fills it. */
  io(direction: 'in' | 'out', port: number, size: number, count: number, data: Uint8Array): void;
  /** The local APIC's page included; 1 to 8 bytes. */
  mmio(direction: 'read' | 'write', gpa: number, data: Uint8Array): void;
  /** Fills `value` for this leaf, of a guest with this CR4 and XCR0. */
  cpuid(
    leaf: number,
    subleaf: number,
    guest: { readonly cr4: number; readonly xcr0: number },
    value: CpuidAnswer,
  ): void;
  readMsr(index: number, value: Pair): 'ok' | 'gp';
  writeMsr(index: number, value: Pair): 'ok' | 'gp';
  /** RBX, RCX, RDX and RSI as lo/hi pairs; RAX of the caller goes into `result`. */
  hypercall(number: number, args: Uint32Array, result: Pair): void;
  rdtsc(value: Pair): void;
  rdpmc(index: number, value: Pair): 'ok' | 'gp';
  /** An exit as it is; `vcpu` and `instructions` are the host's to fill in. */
  deliver(exit: VmExit): void;
}

/** One virtual CPU as the hypervisor has it. */
export interface HostVcpu {
  readonly index: number;
  readonly vmcb: Vmcb;
  /** The host's view: private pages are ciphertext. */
  readonly memory: GuestMemory;
  readonly host: Host;
  /** What waits for this CPU: an NMI unless these are blocked, else an interrupt. */
  readonly pending: 'none' | 'interrupt' | 'nmi';
  /** Takes what waits: an interrupt's vector, 2 for an NMI. */
  acknowledge(): number;
  /** The hypervisor's own: from an NMI that it injected to the guest's NMI complete. */
  nmiBlocked: boolean;
}

/** What the CPU does after an exit. */
export type Next =
  /** VMRUN, after `prepare`. */
  | 'run'
  /** Sleeps until an interrupt or NMI waits, then `prepare` and VMRUN. */
  | 'halt'
  /** Sleeps until the next SIPI, which goes to `startup`. */
  | 'reset-hold'
  /** The VM ended; the exit that says why was delivered. */
  | 'terminated';

export interface Hypervisor extends Snapshotable {
  /** VMCB controls that this hypervisor wants from the start, for a CPU that has not run yet. */
  initialize(vcpu: HostVcpu): void;
  /** Whether the MSR permission map makes RDMSR or WRMSR of `index` an exit. */
  interceptsMsr(direction: 'read' | 'write', index: number): boolean;
  /**
   * Before each VMRUN: sets EVENTINJ to what waits and may come, or asks for a window (VINTR) in
   * which it may.
   */
  prepare(vcpu: HostVcpu): void;
  /** Answers the exit that the VMCB holds. */
  handleExit(vcpu: HostVcpu): Next;
  /**
   * A SIPI for a CPU that waits for one: it ends the CPU's reset hold. Without one the CPU goes on
   * as its VMSA says, the first time at the state of the launch: the vector is not the host's to
   * use.
   */
  startup(vcpu: HostVcpu): Next;
  /** Counts for people: one line per kind of exit, NAE and MSR request that came. */
  summary(): readonly string[];
}
