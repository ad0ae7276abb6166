/**
 * Leaving KVM_RUN on request: one real-time signal, blocked in this thread except inside KVM_RUN,
 * so that one that comes before the entry is not lost. A timer sends it to the thread itself for
 * deadlines, tgkill from other threads for kicks. Its handler does nothing, so that a kick that
 * comes too late for its thread hurts nobody.
 *
 * To change the mask twice costs a fiftieth of an exit. Where exits are frequent the signal may be
 * let through everywhere instead (`open`): one that comes between two entries is lost then, so
 * whoever opens looks at requests at exits, and has the timer repeat its signal until it has met
 * KVM_RUN.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_SET_SIGNAL_MASK), timer_create(2), sigwaitinfo(2).
 */
import {
  CLOCK_MONOTONIC,
  ITIMERSPEC,
  NR,
  SI_TIMER,
  SIG_BLOCK,
  SIG_IGN,
  SIG_UNBLOCK,
  SIGACTION,
  SIGEV_THREAD_ID,
  SIGEVENT,
  SIGINFO,
  TIMESPEC,
} from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { SIGNAL_MASK } from './abi/structs.js';
import { handleByNothing } from './empty-handler.js';
import { deleteStaleTimers } from './stale-timers.js';
import { checked, ioctl, type Sys } from './sys/sys.js';

/** A real-time signal that neither Node, glibc nor musl uses. */
export const KICK_SIGNAL = 42;

const SIGSET_BYTES = 8;
const BILLION = 1_000_000_000;

function signalSet(): BigUint64Array {
  return BigUint64Array.of(1n << BigInt(KICK_SIGNAL - 1));
}

const bytesOf = (words: BigUint64Array): Uint8Array => new Uint8Array(words.buffer);

/**
 * Where no handler can be. Once in a process: it takes away signals that wait, also those of other
 * threads.
 */
function ignoreOutside(sys: Sys): void {
  const action = new StructView(SIGACTION);
  sys.syscall(NR.rt_sigaction, KICK_SIGNAL, 0, action.bytes, SIGSET_BYTES);
  if (action.get64('sa_handler') === BigInt(SIG_IGN)) return;
  const ignore = new StructView(SIGACTION).set('sa_handler', SIG_IGN);
  const result = sys.syscall(NR.rt_sigaction, KICK_SIGNAL, ignore.bytes, 0, SIGSET_BYTES);
  checked('cannot ignore the signal of kicks', result);
}

/** Whose deadline the timer serves. */
export interface DeadlineHolder {
  /** Sets the timer again, which another run had meanwhile. */
  again(): void;
  /** Has signals wait until KVM_RUN again, as another run expects it. */
  close(): void;
}

/** What a thread shares among the VMs that it runs. */
const perSys = new WeakMap<Sys, ThreadSignals>();

export class ThreadSignals {
  readonly tid: number;
  readonly pid: number;
  /** The run under way: the innermost, where an exit handler runs another VM. */
  holder: DeadlineHolder | null = null;
  /** Whether `open` may be called. */
  readonly opens: boolean;
  private readonly timer: number;
  /** The mask inside KVM_RUN: the thread's own, with the signal let through. */
  private readonly mask: Uint8Array;
  private readonly set = bytesOf(signalSet());
  private readonly info = new StructView(SIGINFO);
  private readonly now = new StructView(TIMESPEC);
  private readonly time = new StructView(ITIMERSPEC);
  private users = 0;

  private constructor(private readonly sys: Sys) {
    this.pid = checked('getpid', sys.syscall(NR.getpid));
    this.tid = checked('gettid', sys.syscall(NR.gettid));
    this.opens = handleByNothing(sys, KICK_SIGNAL);
    if (!this.opens) ignoreOutside(sys);
    deleteStaleTimers(sys, KICK_SIGNAL);
    const old = new BigUint64Array(1);
    checked('cannot block the signal of kicks', this.change(SIG_BLOCK, bytesOf(old)));
    const inside = BigUint64Array.of(old[0]! & ~signalSet()[0]!);
    this.mask = new Uint8Array(SIGNAL_MASK.size + SIGSET_BYTES);
    new StructView(SIGNAL_MASK, this.mask).set('len', SIGSET_BYTES);
    this.mask.set(bytesOf(inside), SIGNAL_MASK.size);
    const event = new StructView(SIGEVENT)
      .set('sigev_signo', KICK_SIGNAL)
      .set('sigev_notify', SIGEV_THREAD_ID)
      .set('tid', this.tid);
    const id = new Uint8Array(4);
    const made = sys.syscall(NR.timer_create, CLOCK_MONOTONIC, event.bytes, id);
    checked('cannot make a timer for deadlines', made);
    this.timer = new DataView(id.buffer).getInt32(0, true);
  }

  /** Those of the calling thread; give them back with `release`. */
  static acquire(sys: Sys): ThreadSignals {
    let signals = perSys.get(sys);
    if (signals === undefined) {
      signals = new ThreadSignals(sys);
      perSys.set(sys, signals);
    }
    signals.users++;
    return signals;
  }

  /** Has signals wait, whichever run is under way in the calling thread: for calls they end. */
  static quiet(sys: Sys): void {
    perSys.get(sys)?.holder?.close();
  }

  release(): void {
    if (--this.users > 0) return;
    this.disarm();
    this.sys.syscall(NR.timer_delete, this.timer);
    perSys.delete(this.sys);
  }

  /** Lets the signal through in the runs of a vCPU. */
  admit(vcpuFd: number): void {
    ioctl(this.sys, vcpuFd, 'SET_SIGNAL_MASK', this.mask);
  }

  /** Lets the signal through everywhere, and has the runs of a vCPU change no mask. */
  open(vcpuFd: number): void {
    ioctl(this.sys, vcpuFd, 'SET_SIGNAL_MASK');
    this.change(SIG_UNBLOCK);
  }

  /** As before `open`. */
  close(vcpuFd: number): void {
    this.change(SIG_BLOCK);
    this.admit(vcpuFd);
  }

  private change(how: number, old: Uint8Array | 0 = 0): number {
    return this.sys.syscall(NR.rt_sigprocmask, how, this.set, old, SIGSET_BYTES);
  }

  /**
   * Sends the signal after `ns` nanoseconds from now, and again every `repeat` (0: never). Replaces
   * an earlier deadline.
   */
  arm(ns: number, repeat = 0): void {
    this.setTimer(repeat, Math.max(1, Math.round(ns)));
  }

  /** Sends the signal every `ns` nanoseconds, if the one before was taken. */
  armEvery(ns: number): void {
    this.setTimer(ns, ns);
  }

  /** No deadline any more, and nothing of an earlier one is left. */
  disarm(): void {
    this.setTimer(0, 0);
    this.drain();
  }

  private setTimer(interval: number, value: number): void {
    const { view } = this.time;
    view.setUint32(0, Math.floor(interval / BILLION), true);
    view.setUint32(8, interval % BILLION, true);
    view.setUint32(16, Math.floor(value / BILLION), true);
    view.setUint32(24, value % BILLION, true);
    this.sys.syscall(NR.timer_settime, this.timer, 0, this.time.bytes, 0);
  }

  /** Takes the signals that wait; true when the deadline's was among them. */
  drain(): boolean {
    let timer = false;
    for (;;) {
      const result = this.sys.syscall(
        NR.rt_sigtimedwait,
        this.set,
        this.info.bytes,
        this.now.bytes,
        SIGSET_BYTES,
      );
      if (result < 0) return timer;
      if (this.info.view.getInt32(8, true) === SI_TIMER) timer = true;
    }
  }

  /** Sends the signal to this thread: the next KVM_RUN ends as soon as it can. */
  raise(): void {
    this.sys.syscall(NR.tgkill, this.pid, this.tid, KICK_SIGNAL);
  }
}
