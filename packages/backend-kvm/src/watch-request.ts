/**
 * What a thread that runs VMs and the one that waits for it (`event-watch.ts`) share: which wait is
 * asked for, and which found something readable.
 *
 * Every wait has a number of its own. The other thread may find something just as the run ends that
 * asked, and say so when the next one is under way: that is nobody's, and what is still readable
 * is found again by whoever asks next.
 */

const ASKED = 0;
const RUNG = 1;

const NONE = 0;
const END = -1;
const LAST = 0x7fffffff;

export interface WatchWorkerData {
  readonly words: SharedArrayBuffer;
  /** Readable when anything that is waited for is. */
  readonly epoll: number;
  /** Who is interrupted. */
  readonly pid: number;
  readonly tid: number;
}

/** The side of the thread that runs VMs. */
export class WatchRequest {
  readonly memory = new SharedArrayBuffer(8);
  private readonly words = new Int32Array(this.memory);
  private number = 0;
  /** The number of the wait that is on or was answered, until `take` or `drop`. */
  private current = NONE;

  /** A wait begins, in place of the one before. */
  ask(): void {
    this.number = this.number === LAST ? 1 : this.number + 1;
    this.current = this.number;
    this.set(this.number);
  }

  /** Nothing is waited for. */
  drop(): void {
    this.current = NONE;
    Atomics.store(this.words, ASKED, NONE);
    Atomics.store(this.words, RUNG, NONE);
  }

  /** The waiting thread is to end. */
  end(): void {
    this.current = NONE;
    this.set(END);
  }

  /** Whether something was readable in this wait; true once. */
  take(): boolean {
    const rung = Atomics.load(this.words, RUNG);
    if (rung === NONE || rung !== this.current) return false;
    this.current = NONE;
    Atomics.store(this.words, RUNG, NONE);
    return true;
  }

  private set(value: number): void {
    Atomics.store(this.words, ASKED, value);
    Atomics.notify(this.words, ASKED);
  }
}

/** The waiting thread's side. */
export class WatchAnswer {
  private readonly words: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory);
  }

  /** Sleeps until a wait is asked for, and gives its number; null when it is time to end. */
  next(): number | null {
    for (;;) {
      const asked = Atomics.load(this.words, ASKED);
      if (asked === END) return null;
      if (asked !== NONE) return asked;
      Atomics.wait(this.words, ASKED, NONE);
    }
  }

  /** Something is readable. False when this wait is over: nobody has to be interrupted. */
  ring(number: number): boolean {
    if (Atomics.compareExchange(this.words, ASKED, number, NONE) !== number) return false;
    Atomics.store(this.words, RUNG, number);
    return true;
  }

  /** Behind `ring`: waits `ms` milliseconds; whether it was heard, or is nobody's any more. */
  heard(number: number, ms: number): boolean {
    Atomics.wait(this.words, RUNG, number, ms);
    return Atomics.load(this.words, RUNG) !== number || Atomics.load(this.words, ASKED) !== NONE;
  }
}
