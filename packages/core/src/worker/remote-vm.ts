/**
 * A `WorkerVm` over a thread: sends what is asked, settles what waits, and keeps the process alive
 * while the guest runs or an answer is due, and no longer.
 */
import type { Snapshot, VmEnd } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { VmSummary } from '../machine/vm.js';
import { systemHost } from '../time/host-port.js';
import { ConsoleFeed } from './console-feed.js';
import { PendingCalls, type Settling } from './pending-calls.js';
import {
  type CallName,
  type Calls,
  costOf,
  type FromWorker,
  INPUT_MAX,
  marked,
  PROTOCOL,
  type ToWorker,
  unmarked,
} from './protocol.js';
import type { Thread, ThreadFailure } from './thread.js';
import { messageOf, unpackError } from './wire-error.js';
import type { WorkerVm, WorkerVmOptions } from './worker-vm.js';

const DISPOSE_TIMEOUT_MS = 5000;

/** Starts the VM at the other end; a thread whose VM does not start is ended. */
export async function connectVm(
  thread: Thread,
  options: unknown,
  host: WorkerVmOptions,
): Promise<WorkerVm> {
  const vm = new RemoteVm(thread, host);
  try {
    if (host.pauseAt !== undefined) checkInstruction(host.pauseAt, 'pauseAt');
    await vm.start(options);
    return vm;
  } catch (error) {
    await thread.terminate();
    throw error;
  }
}

class RemoteVm implements WorkerVm {
  readonly ended: Promise<VmEnd>;
  private settleEnd!: Settling<VmEnd>;
  private starting!: Settling<void>;
  private greeted = false;
  private readonly calls = new PendingCalls(() => this.updateKeepAlive());
  private inputUnderWay = 0;
  private running = true;
  private over = false;
  private failure: VmmError | null = null;
  private disposing: Promise<void> | null = null;
  private readonly feed: ConsoleFeed | null;

  constructor(
    private readonly thread: Thread,
    private readonly host: WorkerVmOptions,
  ) {
    this.ended = new Promise((resolve, reject) => {
      this.settleEnd = { resolve, reject };
    });
    // Whoever awaits it sees a failure; nobody has to.
    this.ended.catch(() => {});
    this.feed = this.makeFeed();
  }

  start(options: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      this.starting = { resolve, reject };
      this.thread.onMessage((data) => {
        const message = unmarked<FromWorker>(data);
        if (message?.kind === 'ready') this.greet(message.protocol, options);
        else if (message !== null) this.received(message);
      });
      this.thread.onFailure((failure) => this.fail(this.errorOf(failure)));
    });
  }

  summary(): Promise<VmSummary> {
    return this.call('summary');
  }

  async input(bytes: Uint8Array): Promise<void> {
    if (this.inputUnderWay > 0 && this.inputUnderWay + bytes.length > INPUT_MAX) {
      throw new VmmError('invalid-state', 'too much input waits for the guest', {
        remedy: 'wait until an earlier input() resolves',
      });
    }
    this.inputUnderWay += bytes.length;
    try {
      // A copy: cloning a view takes all of its buffer along.
      await this.call('input', new Uint8Array(bytes));
    } finally {
      this.inputUnderWay -= bytes.length;
    }
  }

  closeInput(): Promise<void> {
    return this.call('closeInput');
  }

  async pause({ at }: { readonly at?: number } = {}): Promise<void> {
    if (at !== undefined) checkInstruction(at, 'at');
    const held = await this.call('pause', at);
    this.setRunning(!held);
  }

  async resume(): Promise<void> {
    await this.call('resume');
    this.setRunning(true);
  }

  reset(): Promise<void> {
    return this.call('reset');
  }

  stop(reason: 'stopped' | 'timeout' = 'stopped', message?: string): Promise<VmEnd> {
    return this.call('stop', reason, message);
  }

  save(): Promise<Snapshot> {
    return this.call('save');
  }

  dispose(): Promise<void> {
    this.disposing ??= this.disposeOnce();
    return this.disposing;
  }

  private makeFeed(): ConsoleFeed | null {
    const { console } = this.host;
    if (console === undefined) return null;
    return new ConsoleFeed(console, {
      taken: (bytes) => this.send({ kind: 'taken', cost: costOf(bytes) }),
      failed: (error) => this.sinkFailed(error),
    });
  }

  private async disposeOnce(): Promise<void> {
    this.feed?.drop();
    let why = 'the VM and its Worker were disposed';
    try {
      if (this.failure === null && !(await this.withinTimeout(this.ask('dispose')))) {
        why = 'the Worker did not answer and was ended';
      }
    } finally {
      this.fail(new VmmError('invalid-state', why, { remedy: 'ask before calling dispose' }));
      await this.thread.terminate();
    }
  }

  /** False when the answer did not come in time. */
  private async withinTimeout(answer: Promise<void>): Promise<boolean> {
    const { disposeTimeout = DISPOSE_TIMEOUT_MS } = this.host;
    let cancel = () => {};
    const timeout = new Promise<boolean>((resolve) => {
      cancel = systemHost().timeout(disposeTimeout, () => resolve(false));
    });
    try {
      return await Promise.race([answer.then(() => true), timeout]);
    } finally {
      cancel();
    }
  }

  private greet(protocol: number, options: unknown): void {
    this.greeted = true;
    if (protocol !== PROTOCOL) {
      const message =
        `the VM module speaks version ${protocol} of the Worker protocol, ` +
        `the host version ${PROTOCOL}`;
      const remedy = 'use one version of @cloister/core on both sides';
      this.starting.reject(new VmmError('version-mismatch', message, { remedy }));
      return;
    }
    try {
      this.send({
        kind: 'start',
        options,
        console: this.feed !== null,
        liveInput: this.host.liveInput === true,
        restore: this.host.restore ?? null,
        pauseAt: this.host.pauseAt ?? null,
      });
    } catch (error) {
      this.starting.reject(uncloneable(error));
    }
  }

  private received(message: Exclude<FromWorker, { readonly kind: 'ready' }>): void {
    switch (message.kind) {
      case 'started':
        this.started();
        break;
      case 'failed':
        this.starting.reject(unpackError(message.error));
        break;
      case 'answer':
        this.calls.resolve(message.id, message.value);
        break;
      case 'refusal':
        this.calls.reject(message.id, unpackError(message.error));
        break;
      case 'console':
        this.feed?.put({ source: message.source, bytes: message.bytes });
        break;
      case 'ended':
        this.runOver(() => this.settleEnd.resolve(Object.freeze(message.end)));
        break;
      case 'broken':
        this.runOver(() => this.settleEnd.reject(unpackError(message.error)));
    }
  }

  private started(): void {
    this.starting.resolve();
    const { pauseAt } = this.host;
    // The Worker knows; what is asked here is when it comes about.
    if (pauseAt !== undefined) this.pause({ at: pauseAt }).catch(() => {});
  }

  /** The VM has ended: that is told once the sink has all bytes before it. */
  private runOver(tell: () => void): void {
    this.over = true;
    this.updateKeepAlive();
    if (this.feed === null) tell();
    else this.feed.whenEmpty(tell);
  }

  private sinkFailed(error: unknown): void {
    const failure = new VmmError('io-failed', `the console sink failed: ${messageOf(error)}`, {
      cause: error,
    });
    this.settleEnd.reject(failure);
    this.stop('stopped', failure.message).catch(() => {});
  }

  private async call<Name extends CallName>(
    name: Name,
    ...args: Parameters<Calls[Name]>
  ): Promise<ReturnType<Calls[Name]>> {
    if (this.failure !== null) throw this.failure;
    if (this.disposing !== null) {
      throw new VmmError('invalid-state', `no ${name}: the VM is being disposed`);
    }
    return this.ask(name, ...args);
  }

  private async ask<Name extends CallName>(
    name: Name,
    ...args: Parameters<Calls[Name]>
  ): Promise<ReturnType<Calls[Name]>> {
    return this.calls.open((id) => {
      try {
        this.send({ kind: 'call', id, name, args });
      } catch (error) {
        throw uncloneable(error);
      }
    });
  }

  private send(message: ToWorker): void {
    this.thread.send(marked(message));
  }

  private setRunning(running: boolean): void {
    this.running = running;
    this.updateKeepAlive();
  }

  /** A run lets the process live as a loop of its own would; a VM that stands still does not. */
  private updateKeepAlive(): void {
    const runs = this.running && !this.over && this.failure === null;
    this.thread.keepAlive(runs || this.calls.any);
  }

  /** Nothing comes any more: everybody who waits is told. The first reason counts. */
  private fail(error: VmmError): void {
    if (this.failure !== null) return;
    this.failure = error;
    // An end that only waits for its console bytes is the end that it was.
    this.feed?.drop();
    this.settleEnd.reject(error);
    this.starting.reject(error);
    this.calls.rejectAll(error);
    void this.thread.terminate();
  }

  private errorOf({ code, message, cause }: ThreadFailure): VmmError {
    const because = cause === undefined ? {} : { cause };
    if (this.greeted) return new VmmError(code, `the VM's Worker failed: ${message}`, because);
    return new VmmError('unavailable', `the VM module served no VM: ${message}`, {
      remedy: 'let the module load without errors and call serveVm',
      ...because,
    });
  }
}

function checkInstruction(at: number, path: string): void {
  if (Number.isSafeInteger(at) && at >= 0) return;
  throw new VmmError('invalid-argument', `${at} is no instruction count`, { path });
}

function uncloneable(error: unknown): VmmError {
  return new VmmError('invalid-argument', `cannot be sent to a Worker: ${messageOf(error)}`, {
    remedy: 'pass plain data only; build what has functions in the VM module',
    cause: error,
  });
}
