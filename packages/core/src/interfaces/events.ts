/**
 * Streams that observe a VM. They never decide anything; a throwing subscriber becomes a
 * `plugin-fault` event and cannot stop the VM. Unobserved streams cost a boolean test.
 */
import type { Observable } from 'rxjs';
import type { VmExit } from './exit.js';

/** Where a VM is in its life. */
export type VmStatus = 'created' | 'running' | 'paused' | 'stopped' | 'disposed';

export interface LifecycleEvent {
  readonly status: VmStatus;
  readonly instructions: number;
  readonly reason?: string;
}

/** Something that went wrong without stopping the VM, or that explains why it stopped. */
export interface FaultEvent {
  readonly kind: 'plugin-fault' | 'unclaimed' | 'rom-write' | 'undefined-opcode' | 'guest-fault';
  /** The plugin at fault where there is one. */
  readonly plugin?: string;
  readonly message: string;
  readonly instructions: number;
  readonly error?: unknown;
}

/** A chunk of console output. */
export interface ConsoleEvent {
  /** The device, e.g. `serial0`. */
  readonly source: string;
  readonly bytes: Uint8Array;
}

/**
 * One step between a guest and its host on a processor whose extension has a world switch: what an
 * exit alone does not tell. The names are the extension's architecture's.
 */
export interface WorldSwitch {
  readonly vcpu: number;
  readonly instructions: number;
  /**
   * `exit`: the processor left the guest by itself, without the guest's help (SEV-ES: an automatic
   * exit, VMGEXIT among them). `exception`: the guest gets an exception in place of an exit (#VC,
   * #VE). `request`: what a guest asks of its host, as the host reads it. `entry`: the guest goes
   * on.
   */
  readonly kind: 'exit' | 'exception' | 'request' | 'entry';
  /** Exit code; of an exception the code that it tells the guest; of an entry 0. */
  readonly code: number;
  /** The code in words, e.g. `IOIO`, `VMGEXIT`, `CPUID request`. */
  readonly name: string;
  /** Vector that the exception has, or that is injected by the entry. */
  readonly vector?: number;
  /** Operands, for people. */
  readonly detail?: string;
}

/** Where an extension tells its world switches. */
export interface WorldSwitchSink {
  /** Whether anybody listens: an event need not be made otherwise. */
  readonly observed: boolean;
  next(event: Omit<WorldSwitch, 'instructions'>): void;
}

export interface VmEvents {
  /** World switches in order with `exits`, where an extension tells them. */
  readonly switches: Observable<WorldSwitch>;
  /** Frozen copies of exits, in guest order, after they were answered. */
  readonly exits: Observable<VmExit>;
  readonly console: Observable<ConsoleEvent>;
  readonly lifecycle: Observable<LifecycleEvent>;
  readonly faults: Observable<FaultEvent>;
}

/** Why a run ended: what `Vm.run()` resolves to. */
export interface VmEnd {
  readonly reason:
    | 'power-off'
    | 'debug-exit'
    | 'reset'
    | 'triple-fault'
    | 'timeout'
    | 'stopped'
    | 'error';
  /** The exit status that a `debug-exit` asked for, else 0. */
  readonly status: number;
  /** One line for a person. */
  readonly message: string;
  readonly instructions: number;
}
