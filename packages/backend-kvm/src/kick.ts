/**
 * Ending a vCPU's run from any thread. A word in shared memory is the request; the signal only
 * makes KVM_RUN return, so that it is looked at. A request made when no run is under way ends the
 * next.
 */
import { ERRNO, NR } from './abi/linux.js';
import type { Sys } from './sys/sys.js';
import { KICK_SIGNAL } from './thread-signals.js';

const REQUEST = 0;
/** The thread inside of `run`, 0 while there is none. */
const THREAD = 1;

/** What another thread needs to kick a vCPU; plain data that may be posted to a Worker. */
export interface KickHandle {
  readonly pid: number;
  readonly words: SharedArrayBuffer;
}

/** Kicks the vCPU of `handle`. From any thread of its process. */
export function kick(sys: Sys, handle: KickHandle): void {
  const words = new Int32Array(handle.words);
  Atomics.store(words, REQUEST, 1);
  const tid = Atomics.load(words, THREAD);
  if (tid === 0) return;
  const result = sys.syscall(NR.tgkill, handle.pid, tid, KICK_SIGNAL);
  // A Worker that was terminated in the middle of a run: its number may become another thread's.
  if (result === -ERRNO.ESRCH) Atomics.compareExchange(words, THREAD, tid, 0);
}

/** The vCPU's side. */
export class KickRequest {
  private readonly words = new Int32Array(new SharedArrayBuffer(8));

  handle(pid: number): KickHandle {
    return { pid, words: this.words.buffer as SharedArrayBuffer };
  }

  /** From the vCPU's own thread: nothing has to be interrupted. */
  ask(): void {
    Atomics.store(this.words, REQUEST, 1);
  }

  /** Whether there is a request that `take` has not taken. */
  get pending(): boolean {
    return Atomics.load(this.words, REQUEST) !== 0;
  }

  /** Whether there was a request since the last call. */
  take(): boolean {
    // A plain look first: almost always there is none.
    return this.words[REQUEST] !== 0 && Atomics.exchange(this.words, REQUEST, 0) !== 0;
  }

  enter(tid: number): void {
    Atomics.store(this.words, THREAD, tid);
  }

  leave(): void {
    Atomics.store(this.words, THREAD, 0);
  }
}
