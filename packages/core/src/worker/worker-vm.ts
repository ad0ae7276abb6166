/**
 * The host's side: a VM in a Worker as something to hold, with the members of `Vm` that make sense
 * from afar, all of them asynchronous.
 */
import type { ConsoleEvent, Snapshot, VmEnd } from '../interfaces/index.js';
import type { VmSummary } from '../machine/vm.js';
import { connectVm } from './remote-vm.js';
import { startThread, type VmModule } from './thread.js';

export interface WorkerVmOptions {
  /**
   * Takes the guest's console bytes, piece by piece and in order. While a promise that it returned
   * is pending no further piece comes, and a guest that writes more than 64 KiB meanwhile stands
   * still. One that throws stops the VM. Without a sink the bytes are only counted.
   */
  readonly console?: (event: ConsoleEvent) => void | Promise<void>;
  /** Whether `input` will be used: makes the VM's default clock the wall's. Default false. */
  readonly liveInput?: boolean;
  /** A saved state to go on from in place of a boot. */
  readonly restore?: Snapshot;
  /** The VM stops before this instruction until `resume`; 0 before its first. */
  readonly pauseAt?: number;
  /** Milliseconds that a disposal may take before the Worker is ended by force; default 5000. */
  readonly disposeTimeout?: number;
}

export interface WorkerVm {
  /**
   * Why the run ended; resolves when the sink has taken all that the guest wrote. Rejects with a
   * `VmmError` when VM, Worker or sink failed.
   */
  readonly ended: Promise<VmEnd>;
  summary(): Promise<VmSummary>;
  /**
   * Types bytes on COM1; resolves when the line's queue has taken all of them. Pieces arrive in
   * order. `VmmError('invalid-state')` when more than 1 MiB waits already.
   */
  input(bytes: Uint8Array): Promise<void>;
  /** No more input will come. */
  closeInput(): Promise<void>;
  /** Resolves when the VM stands still, before instruction `at` where given, or has ended. */
  pause(options?: { readonly at?: number }): Promise<void>;
  resume(): Promise<void>;
  reset(): Promise<void>;
  /** Ends the run and returns why it ended. */
  stop(reason?: 'stopped' | 'timeout', message?: string): Promise<VmEnd>;
  save(): Promise<Snapshot>;
  /**
   * Ends the run, releases everything and ends the Worker. Console bytes that the sink has not
   * taken are dropped. May be called again.
   */
  dispose(): Promise<void>;
}

/**
 * Starts a Worker with a VM module, which calls `serveVm`, and starts the VM that it builds from
 * `options`: plain data, for nothing function-valued crosses threads. Resolves when the first
 * instruction is about to run.
 *
 * In Node `module` is a URL. In a browser it may also be a function that makes the (module) Worker:
 * a bundler finds the module in `() => new Worker(new URL('./vm.js', import.meta.url), …)`.
 */
export async function runInWorker(
  module: VmModule,
  options?: unknown,
  host: WorkerVmOptions = {},
): Promise<WorkerVm> {
  return connectVm(startThread(module), options, host);
}
