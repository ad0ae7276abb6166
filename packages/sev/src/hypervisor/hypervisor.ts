/**
 * What the processor's world switch and the hypervisor have to say to each other about a guest with
 * encrypted registers: the VMCB, the guest's shared memory, and the machine behind an exit.
 */
import type { ExtensionHost, GuestMemory, Snapshotable } from '@cloister/core';
import type { Vmcb } from '../abi/vmcb.js';

/** One virtual CPU as the hypervisor has it. */
export interface HostVcpu {
  readonly index: number;
  readonly vmcb: Vmcb;
  /** The host's view: private pages are ciphertext. */
  readonly memory: GuestMemory;
  /** The machine as an unprotected guest's exit would reach it. */
  readonly host: ExtensionHost;
  /** What waits for this CPU: an NMI unless these are blocked, else an interrupt. */
  readonly pending: 'none' | 'interrupt' | 'nmi';
  /** Takes what waits: an interrupt's vector, 2 for an NMI. */
  acknowledge(): number;
  /** The hypervisor's own: from an NMI that it injected to the guest's NMI complete. */
  nmiBlocked: boolean;
  /** Ends the run before the next instruction: the host's other work gets its turn. */
  yield(): void;
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
