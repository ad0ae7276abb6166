/**
 * Work that the host does for a device while the guest goes on: its results reach the device
 * through the VM's input port, so that a recorded run replays without the host.
 *
 * With the instruction-counted clock a result falls at a fixed virtual time, however long the host
 * takes: the guest waits there for a host that is late (`InputSource.stall`), and results that are
 * due together come in the order of their starts. With the wall clock they come as they are done.
 * In a replay no work is begun: what it did to the world it does not do again.
 */
import type { Clock, InputPort, InputSource, Timer } from '@cloister/core';
import { state } from '@cloister/core/devices';
import type { BufferPool } from './buffer-pool.js';
import { UnderWay } from './under-way.js';

/** Results have room for their token in front, so that they are never copied. */
const HEADROOM = 4;

/**
 * Results up to here are copied where a view would do: V8 keeps so short an array beside its
 * object, but moves it to memory of the host's once there is a view of it.
 */
const SHORT = 32;

/** The result of work: `data` is to be filled, and left alone once the work is done. */
export class HostResult {
  readonly whole: Uint8Array;
  private view: Uint8Array | null = null;

  /** From `pool`, where there is one, it is not zeroed: `data` has to be filled as a whole. */
  constructor(length: number, pool?: BufferPool) {
    this.whole = pool?.take(HEADROOM + length) ?? new Uint8Array(HEADROOM + length);
  }

  /** A result of one byte. */
  static ofByte(byte: number): HostResult {
    const result = new HostResult(1);
    result.whole[HEADROOM] = byte;
    return result;
  }

  get data(): Uint8Array {
    this.view ??= this.whole.subarray(HEADROOM);
    return this.view;
  }
}

/** The work itself. Rejection counts as an empty result. */
export type Work = () => Promise<HostResult>;

export interface HostWorkOptions {
  /** Name of the input source: the device's. */
  readonly name: string;
  readonly input: InputPort;
  readonly clock: Clock;
  /** Bytes of results that may wait for the guest; the device bounds what it starts. */
  readonly bound: number;
  /** Where results come from: each goes back there once it was delivered. */
  readonly pool?: BufferPool;
  /** Takes a result, between two instructions; keeps none of it where there is a pool. */
  deliver(token: number, result: Uint8Array): void;
}

/** Work under way, as it is saved. */
export interface SavedWork {
  token: number;
  /** Virtual time at which the result is due; -1 for as soon as it is there. */
  due: number;
  /** 0: the host is at it, 1: the result is there, 2: it is in the input port's queue. */
  phase: number;
  result: Uint8Array;
}

const AT_HOST = 0;
const DONE = 1;
const QUEUED = 2;

export const savedWorkField: state.Field<SavedWork> = state.record<SavedWork>({
  token: state.u32,
  due: state.time,
  phase: state.int(AT_HOST, QUEUED),
  result: state.bytes(2 ** 32),
});

/** A class: literals that spread another object get a new hidden class from V8 time and again. */
class Entry implements SavedWork {
  timer: Timer | null = null;

  constructor(
    readonly token: number,
    readonly due: number,
    public phase: number,
    public result: Uint8Array,
  ) {}
}

const NOTHING = new Uint8Array(HEADROOM);

export class HostWork {
  private readonly source: InputSource;
  private readonly entries = new UnderWay<Entry>();
  /** Entries whose time has come, in that order. */
  private due: Entry[] = [];
  private readonly atHost = new Set<Promise<void>>();
  /** Work of before the last reset: nothing new begins until it is over. */
  private before: Promise<unknown> | null = null;

  constructor(private readonly options: HostWorkOptions) {
    const { input, name, bound } = options;
    this.source = input.source(name, (data) => this.arrived(data), bound);
    this.source.onRoom(() => this.settle());
  }

  /** Work whose result was not delivered yet. */
  get pending(): number {
    return this.entries.size;
  }

  /**
   * Begins work. `token` (32 bits) is not used by work that is pending. `after` nanoseconds of
   * virtual time is when the result is due; with the wall clock the earliest moment, 0 for none.
   */
  start(token: number, after: number, work: Work): void {
    const { clock } = this.options;
    const fixed = clock.mode === 'icount' || after > 0;
    const due = fixed ? clock.now() + after : -1;
    this.enter(new Entry(token, due, AT_HOST, NOTHING), work);
  }

  /** Work that is done already: its result is delivered when that of work would be. */
  startDone(token: number, after: number, result: HostResult): void {
    const due = this.options.clock.now() + after;
    this.enter(new Entry(token, due, DONE, result.whole), null);
  }

  /** Whether no work of before the last reset is under way. */
  get isClear(): boolean {
    return this.before === null;
  }

  /** Resolves when the host has finished all that it began. */
  async drain(): Promise<void> {
    while (this.atHost.size > 0) await Promise.all(this.atHost);
  }

  /** Forgets all work: no result of it is delivered. Later work begins after it. */
  reset(): void {
    for (const { timer } of this.entries) timer?.cancel();
    this.entries.clear();
    this.due = [];
    if (this.atHost.size > 0) this.before = Promise.all(this.atHost);
    this.settle();
  }

  save(): SavedWork[] {
    return Array.from(this.entries, ({ token, due, phase, result }) => {
      return { token, due, phase, result: result.slice() };
    });
  }

  /** Takes over saved work; `again` makes that anew which the host had not finished. */
  load(saved: readonly SavedWork[], again: (token: number) => Work): void {
    this.reset();
    for (const { token, due, phase, result } of saved) {
      // A token that comes again, in a damaged record, would be finished once only.
      if (this.entries.has(token)) continue;
      const work = phase === AT_HOST ? again(token) : null;
      this.enter(new Entry(token, due, phase, result), work);
    }
  }

  dispose(): void {
    this.reset();
    this.source.setLive(false);
  }

  private enter(entry: Entry, work: Work | null): void {
    const { clock, input } = this.options;
    this.entries.add(entry);
    if (input.replaying || entry.phase === QUEUED) return;
    if (entry.due >= 0 || work === null) {
      // What was restored as done goes out at the next boundary.
      entry.timer = clock.at(entry.due, () => this.timeHasCome(entry));
    } else {
      this.timeHasCome(entry);
    }
    if (work !== null) this.begin(entry, work);
    this.settle();
  }

  private begin(entry: Entry, work: Work): void {
    const ready = this.before === null ? work() : this.before.then(work);
    const run = ready.then(
      ({ whole }) => this.finished(entry, whole),
      () => this.finished(entry, NOTHING.slice()),
    );
    this.atHost.add(run);
    void run.then(() => {
      this.atHost.delete(run);
      if (this.atHost.size === 0) this.before = null;
    });
  }

  private timeHasCome(entry: Entry): void {
    entry.timer = null;
    this.due.push(entry);
    this.settle();
  }

  private finished(entry: Entry, result: Uint8Array): void {
    if (this.entries.get(entry.token) !== entry) return;
    entry.phase = DONE;
    entry.result = result;
    this.settle();
  }

  /** Hands over what is due and done; in order, with the counted clock. */
  private settle(): void {
    const counted = this.options.clock.mode === 'icount';
    if (this.due.length > 0) {
      const left: Entry[] = [];
      let open = true;
      for (const entry of this.due) {
        if (open && entry.phase === DONE && this.push(entry)) continue;
        left.push(entry);
        if (counted) open = false;
      }
      this.due = left;
    }
    this.source.stall(counted && this.due.length > 0);
    // A sleeping guest on the wall clock waits for the host; on the counted one for its timers.
    this.source.setLive(!counted && this.entries.size > 0);
  }

  private push(entry: Entry): boolean {
    // A result that was restored from a damaged record is none.
    const data = entry.result.length < HEADROOM ? NOTHING.slice() : entry.result;
    for (let at = 0; at < HEADROOM; at++) data[at] = entry.token >>> (8 * at);
    if (!this.source.push(data, this.options.pool === undefined ? 'given' : 'lent')) return false;
    entry.phase = QUEUED;
    entry.result = NOTHING;
    return true;
  }

  private arrived(data: Uint8Array): void {
    if (data.length < HEADROOM) return;
    const token = (data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24)) >>> 0;
    if (this.entries.take(token) === undefined) return;
    const isShort = data.length <= SHORT;
    this.options.deliver(token, isShort ? data.slice(HEADROOM) : data.subarray(HEADROOM));
    this.options.pool?.give(data);
    this.settle();
  }
}
