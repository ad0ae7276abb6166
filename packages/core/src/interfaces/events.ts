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

export interface VmEvents {
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
