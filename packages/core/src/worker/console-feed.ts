/**
 * Hands console pieces to the host's sink, one at a time, and says when each is taken. How much
 * can wait here is bounded by the other side, which counts what is not taken.
 */
import type { ConsoleEvent } from '../interfaces/index.js';

export type ConsoleSink = (event: ConsoleEvent) => void | Promise<void>;

interface FeedHooks {
  taken(bytes: Uint8Array): void;
  failed(error: unknown): void;
}

export class ConsoleFeed {
  private queue: ConsoleEvent[] = [];
  private busy = false;
  private closed = false;
  private whenDone: () => void = () => {};

  constructor(
    private readonly sink: ConsoleSink,
    private readonly hooks: FeedHooks,
  ) {}

  put(event: ConsoleEvent): void {
    if (this.closed) return;
    this.queue.push(event);
    if (!this.busy) void this.drain();
  }

  /** Calls back once everything so far is taken or dropped. */
  whenEmpty(callback: () => void): void {
    if (this.busy && !this.closed) this.whenDone = callback;
    else callback();
  }

  /** Forgets what is not taken, and all that comes. */
  drop(): void {
    this.closed = true;
    this.queue = [];
    this.done();
  }

  private async drain(): Promise<void> {
    this.busy = true;
    for (let event = this.queue.shift(); event !== undefined; event = this.queue.shift()) {
      try {
        await this.sink(event);
      } catch (error) {
        this.hooks.failed(error);
        this.drop();
      }
      if (!this.closed) this.hooks.taken(event.bytes);
    }
    this.busy = false;
    this.done();
  }

  private done(): void {
    const { whenDone } = this;
    this.whenDone = () => {};
    whenDone();
  }
}
