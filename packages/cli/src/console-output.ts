/**
 * The guest's console bytes on their way to standard output. Bounded in two steps: above `PAUSE`
 * bytes the VM is asked to pause, which the guest cannot see, so that a slow reader does not
 * change what the guest does; above `BOUND` (a guest that writes faster than a pause takes hold)
 * `put` refuses bytes and the UART stalls.
 */
import type { ByteSink } from '@cloister/core';

/** The part of a writable stream that is used: `done` is called when the chunk has left. */
export interface ChunkWriter {
  write(chunk: Uint8Array, done: (error?: Error | null) => void): unknown;
}

/** Runs `flush` soon, when the event loop comes round. */
export type Defer = (flush: () => void) => void;

/** What happens around the stream. */
export interface OutputEvents {
  /** The reader is gone. Called at most once. */
  failed(error: Error): void;
  /** Too much is waiting; `room` follows. */
  full(): void;
  room(): void;
}

const CHUNK = 4096;
const PAUSE = 64 * 1024;
const BOUND = 1024 * 1024;

export class ConsoleOutput implements ByteSink {
  readonly #writer: ChunkWriter;
  readonly #defer: Defer;
  readonly #events: OutputEvents;
  #chunk = new Uint8Array(CHUNK);
  #used = 0;
  /** Bytes handed to the stream that have not left yet. */
  #outstanding = 0;
  #scheduled = false;
  #full = false;
  #closed = false;
  #waiters: (() => void)[] = [];
  /** The guest's last byte, so that a message can start on a line of its own. */
  lastByte = 0x0a;

  constructor(writer: ChunkWriter, defer: Defer, events: OutputEvents) {
    this.#writer = writer;
    this.#defer = defer;
    this.#events = events;
  }

  put(byte: number): boolean {
    // With no reader left the run is being ended; its bytes go nowhere.
    if (this.#closed) return true;
    if (this.#outstanding + this.#used >= BOUND) return false;
    this.#chunk[this.#used++] = byte;
    this.lastByte = byte;
    if (this.#used === CHUNK) this.#flush();
    else this.#schedule();
    return true;
  }

  /** Resolves when every byte has left, or the reader is gone. */
  drained(): Promise<void> {
    this.#flush();
    if (this.#outstanding === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** The reader is gone (EPIPE): nothing more can be written. */
  fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#used = 0;
    this.#outstanding = 0;
    this.#release();
    this.#events.failed(error);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#defer(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#used === 0 || this.#closed) return;
    const chunk = this.#chunk.subarray(0, this.#used);
    this.#chunk = new Uint8Array(CHUNK);
    this.#used = 0;
    this.#outstanding += chunk.length;
    this.#writer.write(chunk, (error) => this.#left(chunk.length, error));
    if (this.#outstanding >= PAUSE && !this.#full) {
      this.#full = true;
      this.#events.full();
    }
  }

  #left(length: number, error: Error | null | undefined): void {
    if (this.#closed) return;
    if (error) {
      this.fail(error);
      return;
    }
    this.#outstanding -= length;
    if (this.#outstanding < PAUSE / 2 && this.#full) {
      this.#full = false;
      this.#events.room();
    }
    if (this.#outstanding === 0) this.#release();
  }

  #release(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}
