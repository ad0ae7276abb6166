/**
 * KVM_RUN, and HLT in it, block a thread's event loop. This is what calls the thread back: another
 * one waits for the loop's descriptor, and for others such as doorbells, and interrupts KVM_RUN as
 * soon as one is readable. Whatever Node can wait for thus reaches a guest that runs, at once.
 *
 * One for each thread that runs VMs. The waiting thread is started for the first VM that asks for
 * it (`run-watch.ts`), and stays some seconds for the next one that will: starting it takes more
 * processor time than thousands of exits. It interrupts only runs of VMs that asked, so that how
 * runs end depends on no other VM. Source: epoll(7), which may be nested.
 */
import { Worker } from 'node:worker_threads';
import { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_EVENT, EPOLLIN, NR, O_CLOEXEC } from './abi/linux.js';
import { make } from './abi/struct.js';
import { eventFd, signalEventFd } from './event-fds.js';
import { eventLoopFd } from './event-loop-fd.js';
import { checked, type Sys } from './sys/sys.js';
import { WatchRequest, type WatchWorkerData } from './watch-request.js';
import { workerFlags, workerUrl } from './worker-url.js';

const END_MS = 1000;
/** The waiting thread stays so long when its last VM is gone. */
const LINGER_MS = 5000;

const perSys = new WeakMap<Sys, EventWatch>();

export class EventWatch {
  /** Whether the waiting thread is no more, or never came. */
  failed = false;
  private readonly request = new WatchRequest();
  private worker: Worker | null = null;
  private gone: Promise<void> = Promise.resolve();
  private users = 1;
  /** Runs under way: more than one when a handler runs another VM. */
  private runs = 0;
  private lingering: NodeJS.Timeout | null = null;
  private closed = false;

  private constructor(
    private readonly sys: Sys,
    /** All that is waited for. */
    private readonly epoll: number,
    /** Ends the wait. */
    private readonly end: number,
  ) {}

  /** That of the calling thread; give it back with `release`. */
  static async acquire(sys: Sys): Promise<EventWatch> {
    const loop = await eventLoopFd(sys);
    const there = perSys.get(sys);
    if (there !== undefined) return there.again();
    const epoll = checked('epoll_create1', sys.syscall(NR.epoll_create1, O_CLOEXEC));
    const made = [epoll];
    try {
      const end = eventFd(sys);
      made.push(end);
      const watch = new EventWatch(sys, epoll, end);
      watch.add(end);
      if (loop >= 0) watch.add(loop);
      perSys.set(sys, watch);
      return watch;
    } catch (error) {
      for (const fd of made) sys.syscall(NR.close, fd);
      throw error;
    }
  }

  private again(): this {
    this.users++;
    if (this.lingering !== null) clearTimeout(this.lingering);
    this.lingering = null;
    return this;
  }

  /** `now`: as this thread ends, which fires no timers and resolves no promises. */
  release(now = false): void {
    if (--this.users > 0) return;
    if (now || this.worker === null || this.failed) this.close(now);
    else this.lingering = setTimeout(() => this.close(), LINGER_MS).unref();
  }

  /** Ends the waiting thread, then closes what it waited for. */
  private close(now = false): void {
    const { worker } = this;
    if (this.closed) return;
    perSys.delete(this.sys);
    this.worker = null;
    this.tellEnd();
    // Not sooner: what it is about to wait for must not become another file. As this thread ends
    // it may all the same; it then waits for the wrong one, once, and does nothing about it.
    if (worker === null || now) this.closeFiles();
    else void this.ended(worker).then(() => this.closeFiles());
  }

  private closeFiles(): void {
    if (this.closed) return;
    this.closed = true;
    process.off('exit', this.threadEnds);
    this.sys.syscall(NR.close, this.epoll);
    this.sys.syscall(NR.close, this.end);
  }

  /** The waiting thread returns, wherever it is. */
  private tellEnd(): void {
    this.request.end();
    signalEventFd(this.sys, this.end);
  }

  /** In the middle of a run, or with the waiting thread left over: Node waits for it. */
  private readonly threadEnds = (): void => {
    if (this.users === 0) this.close(true);
    else if (!this.closed) this.tellEnd();
  };

  /** From now on `fd` interrupts KVM_RUN while it is readable. */
  add(fd: number): void {
    const event = make(EPOLL_EVENT, { events: EPOLLIN });
    const result = this.sys.syscall(NR.epoll_ctl, this.epoll, EPOLL_CTL_ADD, fd, event.bytes);
    checked('epoll_ctl', result);
  }

  remove(fd: number): void {
    this.sys.syscall(NR.epoll_ctl, this.epoll, EPOLL_CTL_DEL, fd, 0);
  }

  /** A run begins; `asks`: it is to be interrupted. */
  begin(asks: boolean): void {
    this.runs++;
    if (asks) this.arm();
  }

  /** Something is waited for, from now until the run is over. */
  arm(): void {
    if (this.worker !== null) this.request.ask();
  }

  /** A run is over. */
  finish(): void {
    // That in whose handler it was may have asked, and have been told meanwhile.
    if (--this.runs > 0) this.arm();
    else if (this.worker !== null) this.request.drop();
  }

  /** Whether something was readable since this wait began; true once. */
  take(): boolean {
    return this.request.take();
  }

  /** A VM asks: starts the waiting thread if there is none, also for the run under way. */
  start(): void {
    if (this.failed) return;
    try {
      if (this.worker === null) {
        this.worker = this.startWorker();
        process.on('exit', this.threadEnds);
      }
      if (this.runs > 0) this.arm();
    } catch {
      this.failed = true;
    }
  }

  private startWorker(): Worker {
    const { sys, epoll } = this;
    const workerData: WatchWorkerData = {
      words: this.request.memory,
      epoll,
      pid: sys.syscall(NR.getpid),
      tid: sys.syscall(NR.gettid),
    };
    const worker = new Worker(workerUrl('watch-worker'), {
      name: 'cloister-watch',
      workerData,
      execArgv: workerFlags(),
    });
    worker.unref();
    // Without it the event loop still has its turn every 10 ms, and doorbells are looked at then.
    worker.on('error', () => {
      this.failed = true;
    });
    this.gone = new Promise((resolve) => void worker.once('exit', () => resolve()));
    return worker;
  }

  private async ended(worker: Worker): Promise<void> {
    worker.ref();
    const timeout = setTimeout(() => void worker.terminate(), END_MS);
    await this.gone;
    clearTimeout(timeout);
  }
}
