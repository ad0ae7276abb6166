/**
 * The input port of a machine: one queue over all sources, delivered between two instructions,
 * recorded with its stamps or replayed from them.
 *
 * At a boundary timers fire first, then input is delivered; a replay keeps that order, therefore
 * instruction count and virtual time together say exactly where an input belongs.
 */
import type { InputPort, InputRecord, InputSource, Snapshot } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

const DEFAULT_BOUND = 65_536;
const TYPE = 'input-port';

class Source implements InputSource {
  queued = 0;
  full = false;
  live = false;
  held = false;
  stalling = false;
  readonly listeners: (() => void)[] = [];

  constructor(
    readonly name: string,
    readonly deliver: (data: Uint8Array) => void,
    readonly bound: number,
    private readonly port: MachineInput,
  ) {}

  push(data: Uint8Array, how?: 'given' | 'lent'): boolean {
    return this.port.push(this, how === undefined ? data.slice() : data, how === 'lent');
  }

  onRoom(listener: () => void): void {
    this.listeners.push(listener);
  }

  setLive(live: boolean): void {
    if (this.live === live) return;
    this.live = live;
    this.port.changed();
  }

  hold(on: boolean): void {
    if (this.held === on) return;
    this.held = on;
    if (!on && this.queued > 0) this.port.changed();
  }

  stall(on: boolean): void {
    if (this.stalling === on) return;
    this.stalling = on;
    this.port.changed();
  }
}

interface Pending {
  readonly source: Source;
  readonly data: Uint8Array;
  /** Its owner writes to it again once it is delivered. */
  readonly lent: boolean;
}

/** What the machine does when input arrives or a source changes: wake up, end the slice. */
export interface InputHooks {
  changed(): void;
  fault(source: string, error: unknown): void;
}

export class MachineInput implements InputPort {
  private readonly sources = new Map<string, Source>();
  private queue: Pending[] = [];
  private replay: readonly InputRecord[] | null = null;
  private replayed = 0;
  private record: ((input: InputRecord) => void) | null = null;

  constructor(private readonly hooks: InputHooks) {}

  get live(): boolean {
    if (this.replay !== null) return false;
    for (const source of this.sources.values()) if (source.live) return true;
    return false;
  }

  get replaying(): boolean {
    return this.replay !== null;
  }

  get recording(): boolean {
    return this.record !== null;
  }

  /** Whether the guest has to wait for what some source is about to bring. */
  get stalled(): boolean {
    if (this.replay !== null) return false;
    for (const source of this.sources.values()) if (source.stalling) return true;
    return false;
  }

  source(
    name: string,
    deliver: (data: Uint8Array) => void,
    bound: number = DEFAULT_BOUND,
  ): InputSource {
    if (this.sources.has(name)) {
      throw new VmmError('plugin-conflict', `there are two input sources named ${name}`, {
        remedy: 'give one of the devices another name',
      });
    }
    if (!Number.isSafeInteger(bound) || bound <= 0) {
      throw new VmmError('invalid-argument', `the bound of input source ${name} is no count`);
    }
    const source = new Source(name, deliver, bound, this);
    this.sources.set(name, source);
    return source;
  }

  /** Hands over every input from now on, just before it is delivered. */
  startRecording(record: (input: InputRecord) => void): void {
    this.record = record;
  }

  /** Delivers these and nothing else from now on. */
  startReplay(inputs: readonly InputRecord[]): void {
    this.replay = inputs;
    this.replayed = 0;
    this.queue = [];
  }

  /** A replay goes on from here: what lies before was delivered before the state was saved. */
  seek(at: number, time: number): void {
    for (let next = this.nextReplayed; next !== null; next = this.nextReplayed) {
      if (next.at > at || (next.at === at && next.time >= time)) return;
      this.replayed++;
    }
  }

  /** The next input of a replay, null when there is none (left). */
  get nextReplayed(): InputRecord | null {
    return this.replay?.[this.replayed] ?? null;
  }

  push(source: Source, data: Uint8Array, lent: boolean): boolean {
    if (this.replay !== null) return true;
    if (source.queued > 0 && source.queued + data.length > source.bound) {
      source.full = true;
      return false;
    }
    source.queued += data.length;
    this.queue.push({ source, data, lent });
    this.hooks.changed();
    return true;
  }

  changed(): void {
    this.hooks.changed();
  }

  /** Delivers what is due before instruction `at` at virtual time `time`. */
  deliver(at: number, time: number): void {
    if (this.replay !== null) this.deliverReplayed(at, time);
    else if (this.queue.length > 0) this.deliverQueued(at, time);
  }

  snapshot(): Snapshot {
    return {
      type: TYPE,
      version: 1,
      state: {
        queue: this.queue.map(({ source, data }) => ({ source: source.name, data: data.slice() })),
        held: [...this.sources.values()].filter(({ held }) => held).map(({ name }) => name),
      },
    };
  }

  restore({ type, version, state }: Snapshot): void {
    if (type !== TYPE || version !== 1) {
      throw new VmmError('snapshot-mismatch', `not the state of an input port: ${type}`);
    }
    const { queue, held } = (state ?? {}) as { readonly queue?: unknown; readonly held?: unknown };
    if (!Array.isArray(queue) || !Array.isArray(held)) {
      throw new VmmError('snapshot-mismatch', 'the saved input queue is damaged');
    }
    const pending = (queue as readonly { source?: unknown; data?: unknown }[]).map((item) => {
      if (!(item?.data instanceof Uint8Array)) {
        throw new VmmError('snapshot-mismatch', 'the saved input queue is damaged');
      }
      return { source: this.known(item.source), data: item.data.slice(), lent: false };
    });
    const holding = new Set(held.map((name: unknown) => this.known(name)));
    for (const source of this.sources.values()) {
      source.queued = 0;
      source.held = holding.has(source);
    }
    for (const { source, data } of pending) source.queued += data.length;
    this.queue = pending;
  }

  private known(name: unknown): Source {
    const source = this.sources.get(String(name));
    if (source !== undefined) return source;
    throw new VmmError(
      'snapshot-mismatch',
      `the saved VM has input for ${String(name)}, which this one lacks`,
    );
  }

  private deliverQueued(at: number, time: number): void {
    // Only what is there now: a source that pushes while it is told of room waits for its turn.
    const due = this.queue;
    this.queue = [];
    const kept: Pending[] = [];
    for (const item of due) {
      const { source, data, lent } = item;
      if (source.held) {
        kept.push(item);
        continue;
      }
      source.queued -= data.length;
      this.record?.({ at, time, source: source.name, data: lent ? data.slice() : data });
      this.hand(source, data);
    }
    if (kept.length > 0) this.queue = [...kept, ...this.queue];
    for (const source of this.sources.values()) {
      if (!source.full || source.queued >= source.bound) continue;
      source.full = false;
      for (const listener of source.listeners) listener();
    }
  }

  private deliverReplayed(at: number, time: number): void {
    for (;;) {
      const next = this.nextReplayed;
      if (next === null || next.at > at || (next.at === at && next.time > time)) return;
      const source = this.sources.get(next.source);
      if (next.at !== at || next.time !== time || source === undefined) {
        throw new VmmError(
          'replay-diverged',
          source === undefined
            ? `the recording has input for ${next.source}, which this VM lacks`
            : `input ${this.replayed} was recorded at instruction ${next.at}, time ${next.time};` +
                ` the replay is at ${at}, ${time}`,
          { remedy: 'replay with the same kernel, devices and options as the recording' },
        );
      }
      this.replayed++;
      this.hand(source, next.data);
    }
  }

  private hand(source: Source, data: Uint8Array): void {
    try {
      source.deliver(data);
    } catch (error) {
      this.hooks.fault(source.name, error);
    }
  }
}
