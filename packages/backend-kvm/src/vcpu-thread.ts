/**
 * A vCPU's own thread, as the thread of the VM sees it: who has the vCPU, and how to get it back.
 * See `vcpu-mailbox.ts`. The Worker is started with the first `go`: a CPU that the guest never
 * wakes costs none.
 */
import { Worker } from 'node:worker_threads';
import { ERRNO, NR } from './abi/linux.js';
import type { Sys } from './sys/sys.js';
import { KICK_SIGNAL } from './thread-signals.js';
import { type Bell, MAILBOX_BYTES, STATE, type VcpuWorkerData, WORD } from './vcpu-mailbox.js';
import { workerFlags, workerUrl } from './worker-url.js';

/** Between two looks whether a thread that does not answer still exists. */
const PATIENCE_MS = 100;
/** A thread that ends has so long before it is ended. */
const END_MS = 1000;

/** What runs the vCPU's loop: a Worker, or in tests what stands for one. */
export interface VcpuRunner {
  /** Called at most once, when it fails or ends by itself. */
  onEnd(listener: (reason: string) => void): void;
  /** Resolves once it is gone; ended by force after a second. */
  end(): Promise<void>;
  /** Ends it by force. */
  terminate(): Promise<void>;
}

export interface ThreadPorts {
  readonly sys: Sys;
  readonly pid: number;
  readonly bell: Bell;
  start(data: VcpuWorkerData): VcpuRunner;
}

export class VcpuThread {
  /** Why it can go on no more; null as long as it can. */
  failure: string | null = null;
  private readonly memory = new SharedArrayBuffer(MAILBOX_BYTES);
  private readonly words = new Int32Array(this.memory);
  private runner: VcpuRunner | null = null;
  private entriesBefore = 0;

  constructor(
    private readonly ports: ThreadPorts,
    private readonly fd: number,
    private readonly tscKhz: number,
  ) {}

  /** Whether the vCPU is the VM's thread's. */
  get owned(): boolean {
    const state = this.state;
    return state === STATE.PARKED || state === STATE.EXIT;
  }

  /** Owned, with an exit that is not answered yet. */
  get exited(): boolean {
    return this.state === STATE.EXIT;
  }

  /** With `exited`: what KVM_RUN returned. */
  take(): number {
    this.entriesBefore = this.entries;
    return this.words[WORD.RESULT]!;
  }

  get entries(): number {
    return this.words[WORD.ENTRIES]!;
  }

  get interruptions(): number {
    return this.words[WORD.INTERRUPTIONS]!;
  }

  /** Whether the vCPU slept when its thread last looked. */
  get seemsAsleep(): boolean {
    return Atomics.load(this.words, WORD.ASLEEP) !== 0;
  }

  /** Hands the vCPU over, `asleep` as it seems or not; stays here if its thread has failed. */
  go(asleep = false): void {
    if (this.failure !== null) return;
    Atomics.store(this.words, WORD.REQUEST, 0);
    Atomics.store(this.words, WORD.ASLEEP, asleep ? 1 : 0);
    this.entriesBefore = this.entries;
    this.state = STATE.GO;
    if (this.runner === null) this.start();
  }

  /** The exit is answered; the vCPU stays here. */
  keep(): void {
    this.state = STATE.PARKED;
  }

  /** Asks for the vCPU: it comes back by itself, see `await`. */
  ask(): void {
    const { words } = this;
    if (this.owned) return;
    Atomics.store(words, WORD.REQUEST, 1);
    if (Atomics.compareExchange(words, WORD.STATE, STATE.GO, STATE.PARKED) === STATE.GO) return;
    const { sys, pid } = this.ports;
    sys.syscall(NR.tgkill, pid, words[WORD.THREAD]!, KICK_SIGNAL);
  }

  /** Whether KVM was entered since the last `go` or `take`: what was under way is completed. */
  get ran(): boolean {
    return this.entries !== this.entriesBefore;
  }

  /** Blocks until the vCPU that was asked for is here. */
  await(): void {
    const { bell } = this.ports;
    for (;;) {
      const heard = bell.rings;
      if (this.owned) return;
      bell.wait(heard, PATIENCE_MS);
      if (!this.owned && this.gone()) this.fail('its thread has ended');
    }
  }

  /** Does what needs the vCPU here; then it goes on if it did before. */
  still<Result>(action: () => Result): Result {
    if (this.owned) return action();
    this.ask();
    this.await();
    try {
      return action();
    } finally {
      if (!this.exited) this.go();
    }
  }

  /** Ends the thread, which must not have the vCPU. */
  async end(): Promise<void> {
    const { runner } = this;
    this.runner = null;
    this.failure ??= 'it was ended';
    this.state = STATE.END;
    await runner?.end();
  }

  /** Ends the thread by force, as its crash would: the vCPU cannot go on. */
  async terminate(): Promise<void> {
    await this.runner?.terminate();
  }

  private get state(): number {
    return Atomics.load(this.words, WORD.STATE);
  }

  private set state(state: number) {
    Atomics.store(this.words, WORD.STATE, state);
    Atomics.notify(this.words, WORD.STATE);
  }

  private start(): void {
    const { bell } = this.ports;
    const { memory, fd, tscKhz } = this;
    try {
      this.runner = this.ports.start({ mailbox: memory, bell: bell.memory, fd, tscKhz });
      this.runner.onEnd((reason) => this.fail(reason));
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error));
    }
  }

  /** Whether the kernel knows its thread no longer. */
  private gone(): boolean {
    const tid = Atomics.load(this.words, WORD.THREAD);
    if (tid === 0) return false;
    const { sys, pid } = this.ports;
    return sys.syscall(NR.tgkill, pid, tid, 0) === -ERRNO.ESRCH;
  }

  private fail(reason: string): void {
    if (this.failure !== null) return;
    this.failure = reason;
    this.state = STATE.PARKED;
    this.ports.bell.ring();
  }
}

/** A Worker of Node's. */
export function startVcpuWorker(data: VcpuWorkerData): VcpuRunner {
  const worker = new Worker(workerUrl('vcpu-worker'), {
    name: 'cloister-vcpu',
    workerData: data,
    execArgv: workerFlags(),
  });
  worker.unref();
  let over = false;
  const gone = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      over = true;
      resolve();
    });
  });
  return {
    onEnd(listener) {
      worker.on('error', (error) => listener(`its Worker failed: ${error.message}`));
      worker.on('exit', () => listener('its Worker has ended'));
    },
    async end() {
      if (over) return;
      worker.ref();
      const timeout = setTimeout(() => void worker.terminate(), END_MS);
      await gone;
      clearTimeout(timeout);
    },
    terminate: async () => void (await worker.terminate()),
  };
}
