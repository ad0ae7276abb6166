/**
 * What the processor's world switch and the hypervisor have to say to each other about a guest with
 * encrypted registers: the VMCB, the guest's shared memory, and the machine behind an exit.
 */
import type { GuestMemory, Snapshotable } from '@cloister/core';
import type { Vmcb } from '../abi/vmcb.js';

/** Four registers, each 32 bits. */
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
  /** `size * count` bytes of `data`; for `in` the host fills it, starting from all ones. */
  io(direction: 'in' | 'out', port: number, size: number, count: number, data: Uint8Array): void;
  /** The local APIC's page included. */
  mmio(direction: 'read' | 'write', gpa: number, data: Uint8Array): void;
  /** Fills `answer` for this leaf. */
  cpuid(leaf: number, subleaf: number, answer: CpuidAnswer): void;
  readMsr(index: number, value: Pair): 'ok' | 'gp';
  writeMsr(index: number, value: Pair): 'ok' | 'gp';
  /** RBX, RCX, RDX and RSI as lo/hi pairs; RAX of the caller goes into `result`. */
  hypercall(number: number, args: Uint32Array, result: Pair): void;
  rdtsc(value: Pair): void;
  /** What waits at the local APIC. */
  readonly pending: 'none' | 'interrupt' | 'nmi';
  /** Takes the waiting interrupt (its vector) or NMI (2). */
  acknowledge(): number;
  /** The VM ends with this event. */
  systemEvent(event: 'sev-term', data: readonly number[]): void;
  /** A triple fault. */
  shutdown(): void;
  /** The host gives up: the VM ends with an error, in words that say what was not to be done. */
  fail(code: string, message: string): void;
}

/** One virtual CPU as the hypervisor has it. */
export interface HostVcpu {
  readonly index: number;
  readonly vmcb: Vmcb;
  /** The host's view: private pages are ciphertext. */
  readonly memory: GuestMemory;
  readonly host: Host;
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
  /**
   * Before each VMRUN: sets EVENTINJ to what waits and may come, or asks for a window (VINTR) in
   * which it may.
   */
  prepare(vcpu: HostVcpu): void;
  /** Answers the exit that the VMCB holds. */
  handleExit(vcpu: HostVcpu): Next;
  /**
   * A SIPI. The first one lets the CPU start as its VMSA says (the vector is not the host's to
   * use); a later one ends its reset hold, and is lost where it is in none.
   */
  startup(vcpu: HostVcpu): Next;
  /** Counts for people: one line per kind of exit, NAE and MSR request that came. */
  summary(): readonly string[];
}
