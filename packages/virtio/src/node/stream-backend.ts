/**
 * Frames over a Unix stream socket, each behind its length (`net/frames.ts`).
 *
 * The socket is read into one buffer time and again, and batches are used again too.
 */
import { connect, type Socket } from 'node:net';
import type { NetPort } from '../net/backend.js';
import { FrameAssembler } from '../net/frames.js';

/** Bytes that are read at a time. */
const READ_MAX = 256 * 1024;

export class StreamBackend {
  private readonly socket: Socket;
  private readonly assembler = new FrameAssembler();
  /** What the guest has not taken; the socket is not read meanwhile. */
  private readonly stuck: Uint8Array[] = [];
  private isOver = false;
  private readonly release = (batch: Uint8Array) => this.assembler.release(batch);

  /** Connected to who serves `path`; null while nobody does. */
  static connect(path: string, port: NetPort): Promise<StreamBackend | null> {
    return new Promise((resolve) => {
      const stream = new StreamBackend(path, port);
      stream.socket.once('error', () => resolve(null));
      stream.socket.once('connect', () => {
        stream.begin();
        resolve(stream);
      });
    });
  }

  private constructor(
    path: string,
    private readonly port: NetPort,
  ) {
    const onread = {
      buffer: new Uint8Array(READ_MAX),
      callback: (length: number, bytes: Uint8Array) => this.take(bytes.subarray(0, length)),
    };
    this.socket = connect({ path, onread });
  }

  private begin(): void {
    const { socket } = this;
    socket.on('error', () => this.end());
    socket.on('close', () => this.end());
    this.port.onRoom(() => this.goOn());
    // Nobody reads the stream itself: without this its end would wait for that.
    socket.resume();
  }

  send(batch: Uint8Array): void {
    const { length } = batch;
    if (this.isOver) this.port.sent(length);
    else this.socket.write(batch, () => this.port.sent(length));
  }

  close(): void {
    this.isOver = true;
    this.socket.destroy();
  }

  /** False when the socket is to be read no further for now. */
  private take(piece: Uint8Array): boolean {
    try {
      this.stuck.push(...this.assembler.push(piece));
    } catch {
      // A stream out of step has no frame any more.
      this.socket.destroy();
      return false;
    }
    return this.pass();
  }

  private goOn(): void {
    if (this.pass()) this.socket.resume();
  }

  /** Whether the guest took all that there was. */
  private pass(): boolean {
    while (this.stuck.length > 0) {
      if (!this.port.receive(this.stuck[0]!, this.release)) return false;
      this.stuck.shift();
    }
    return true;
  }

  private end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.port.setLink(false);
  }
}
