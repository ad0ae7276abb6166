/**
 * KVM_RUN, and HLT in it, block a thread's event loop. This is what calls the thread back: another
 * one waits for the loop's descriptor, and for others such as doorbells, and interrupts KVM_RUN as
 * soon as one is readable. Whatever Node can wait for thus reaches a guest that runs, at once.
 *
 * One for each thread that runs VMs. The waiting thread is started only for guests that keep the
 * event loop waiting, or that ring doorbells. Source: epoll(7), which may be nested.
 */
import { Worker } from 'node:worker_threads';
import { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_EVENT, EPOLLIN, NR, O_CLOEXEC } from './abi/linux.js';
import { make } from './abi/struct.js';
import { eventFd, signalEventFd } from './event-fds.js';
import { eventLoopFd } from './event-loop-fd.js';
import { checked, type Sys } from './sys/sys.js';
import { WATCH, WATCH_WORD, type WatchWorkerData } from './watch-words.js';
import { workerFlags, workerUrl } from './worker-url.js';

/** Runs that lasted until their deadline before the thread is started. */
const BUSY_RUNS = 10;
const END_MS = 1000;

const perSys = new WeakMap<Sys, EventWatch>();

export class EventWatch {
  /** Whether the waiting thread is no more, or never came. */
  failed = false;
  private readonly words = new Int32Array(new SharedArrayBuffer(8));
  private worker: Worker | null = null;
  private gone: Promise<void> = Promise.resolve();
  private busyRuns = 0;
  private users = 1;

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
    if (there !== undefined) {
      there.users++;
      return there;
    }
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

  /** Resolves when nothing of it is left; `now`: as this thread ends, no promise resolves. */
  async release(now = false): Promise<void> {
    if (--this.users > 0) return;
    const { sys, words, worker } = this;
    perSys.delete(sys);
    Atomics.store(words, WATCH_WORD.STATE, WATCH.END);
    Atomics.notify(words, WATCH_WORD.STATE);
    signalEventFd(sys, this.end);
    this.worker = null;
    // Not sooner: what it is about to wait for must not become another file. As this thread ends
    // it may all the same; it then waits for the wrong one, once, and does nothing about it.
    if (worker !== null && !now) await this.ended(worker);
    sys.syscall(NR.close, this.epoll);
    sys.syscall(NR.close, this.end);
  }

  /** From now on `fd` interrupts KVM_RUN while it is readable. */
  add(fd: number): void {
    const event = make(EPOLL_EVENT, { events: EPOLLIN });
    const result = this.sys.syscall(NR.epoll_ctl, this.epoll, EPOLL_CTL_ADD, fd, event.bytes);
    checked('epoll_ctl', result);
  }

  remove(fd: number): void {
    this.sys.syscall(NR.epoll_ctl, this.epoll, EPOLL_CTL_DEL, fd, 0);
  }

  /** A run begins. */
  begin(): void {
    if (this.worker === null) return;
    Atomics.store(this.words, WATCH_WORD.STATE, WATCH.ARMED);
    Atomics.notify(this.words, WATCH_WORD.STATE);
  }

  /** A run is over, `busy` if by its deadline. */
  finish(busy: boolean): void {
    if (this.worker !== null) Atomics.store(this.words, WATCH_WORD.STATE, WATCH.OFF);
    else if (busy && ++this.busyRuns >= BUSY_RUNS) this.start();
  }

  /** Whether something was readable since the last call. */
  take(): boolean {
    const { words } = this;
    return words[WATCH_WORD.RUNG] !== 0 && Atomics.exchange(words, WATCH_WORD.RUNG, 0) !== 0;
  }

  /** Starts the thread that waits, if there is none. */
  start(): void {
    if (this.worker !== null || this.failed) return;
    try {
      this.worker = this.startWorker();
    } catch {
      this.failed = true;
    }
  }

  private startWorker(): Worker {
    const { sys, epoll } = this;
    const workerData: WatchWorkerData = {
      words: this.words.buffer as SharedArrayBuffer,
      epoll,
      pid: sys.syscall(NR.getpid),
      tid: sys.syscall(NR.gettid),
    };
    Atomics.store(this.words, WATCH_WORD.STATE, WATCH.OFF);
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
