/**
 * Gathers the bytes of consoles into chunks for the console stream.
 *
 * A chunk leaves when it is full, and when the machine is between two slices. Bytes that nobody
 * observed are counted and gone: the buffer never grows beyond one chunk for each console.
 */
import type { ConsoleEvent } from '../interfaces/index.js';

const CHUNK_BYTES = 4096;
/** Consoles with a buffer; a plugin that invents names without end is cut off here. */
const SOURCES_MAX = 64;

export interface ConsoleTarget {
  readonly observed: boolean;
  next(event: ConsoleEvent): void;
}

interface Chunk {
  readonly bytes: Uint8Array;
  length: number;
}

export class ConsoleBuffer {
  private readonly chunks = new Map<string, Chunk>();
  private pending = false;
  /** Bytes written to consoles in all. */
  written = 0;
  /** Bytes that no stream took. */
  dropped = 0;

  constructor(private readonly target: ConsoleTarget) {}

  put(source: string, byte: number): void {
    this.written++;
    if (!this.target.observed) {
      this.dropped++;
      return;
    }
    const chunk = this.chunkOf(source);
    if (chunk === null) {
      this.dropped++;
      return;
    }
    chunk.bytes[chunk.length++] = byte;
    this.pending = true;
    if (chunk.length === CHUNK_BYTES) this.emit(source, chunk);
  }

  /** Passes on what was gathered. */
  flush(): void {
    if (!this.pending) return;
    this.pending = false;
    for (const [source, chunk] of this.chunks) {
      if (chunk.length > 0) this.emit(source, chunk);
    }
  }

  private chunkOf(source: string): Chunk | null {
    let chunk = this.chunks.get(source);
    if (chunk === undefined) {
      if (this.chunks.size === SOURCES_MAX) return null;
      chunk = { bytes: new Uint8Array(CHUNK_BYTES), length: 0 };
      this.chunks.set(source, chunk);
    }
    return chunk;
  }

  private emit(source: string, chunk: Chunk): void {
    const bytes = chunk.bytes.slice(0, chunk.length);
    chunk.length = 0;
    if (this.target.observed) this.target.next({ source, bytes });
    else this.dropped += bytes.length;
  }
}
