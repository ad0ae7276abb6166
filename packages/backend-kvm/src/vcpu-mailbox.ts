/**
 * What a vCPU's own thread and the thread of its VM tell each other: words in shared memory, one
 * set for each vCPU, and one bell for all of them. An exit's contents need no copy: they lie in the
 * page that KVM shares, which both threads see.
 *
 * At any time one side owns the vCPU. The VM's thread owns it while its state is PARKED or EXIT
 * and hands it over by GO; the vCPU's thread makes RUN of that and hands it back by PARKED, when it
 * was asked to, or by EXIT. A GO that nobody took yet may be taken back.
 */

/** Indices of a vCPU's words. */
export const WORD = {
  STATE: 0,
  /** Not 0: the vCPU's thread is to park. */
  REQUEST: 1,
  /** The thread's number in the kernel, 0 before it is up. */
  THREAD: 2,
  /** With EXIT: what KVM_RUN returned, 0 or `-errno`. */
  RESULT: 3,
  /** Times that KVM_RUN was called, and that a signal ended it. */
  ENTRIES: 4,
  INTERRUPTIONS: 5,
  /** Not 0: at the last look the guest slept, and no timer was to wake it soon. */
  ASLEEP: 6,
} as const;

export const MAILBOX_BYTES = 4 * 7;

export const STATE = { PARKED: 0, GO: 1, RUN: 2, EXIT: 3, END: 4 } as const;

const RINGS = 0;
/** The VM's thread as long as it is in KVM_RUN, or about to enter it; else 0. */
const INSIDE = 1;

/** The bell of a VM: rung by the threads of vCPUs, heard by the VM's. */
export class Bell {
  private readonly words: Int32Array;

  constructor(readonly memory = new SharedArrayBuffer(8)) {
    this.words = new Int32Array(memory);
  }

  /** How often it was rung so far. */
  get rings(): number {
    return Atomics.load(this.words, RINGS);
  }

  /** Returns the thread that has to be interrupted so that it hears, 0 for none. */
  ring(): number {
    Atomics.add(this.words, RINGS, 1);
    Atomics.notify(this.words, RINGS);
    return Atomics.load(this.words, INSIDE);
  }

  /**
   * Before KVM_RUN in thread `tid`; false when the bell was rung after `heard`. `anyway`: only what
   * rings from now on is to interrupt it.
   */
  enter(tid: number, heard: number, anyway = false): boolean {
    Atomics.store(this.words, INSIDE, tid);
    if (anyway || this.rings === heard) return true;
    this.leave();
    return false;
  }

  leave(): void {
    Atomics.store(this.words, INSIDE, 0);
  }

  /** Blocks until it is rung after `heard`, at most `ms` milliseconds. */
  wait(heard: number, ms: number): void {
    Atomics.wait(this.words, RINGS, heard, ms);
  }
}

/** What a vCPU's Worker is started with. */
export interface VcpuWorkerData {
  readonly mailbox: SharedArrayBuffer;
  readonly bell: SharedArrayBuffer;
  readonly fd: number;
  readonly tscKhz: number;
}
