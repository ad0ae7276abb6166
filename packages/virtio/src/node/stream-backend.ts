/**
 * Frames over a connected stream socket, each behind its length (`net/frames.ts`).
 */
import type { Socket } from 'node:net';
import type { NetPort } from '../net/backend.js';
import { FrameAssembler } from '../net/frames.js';

export class StreamBackend {
  private readonly assembler = new FrameAssembler();
  /** What the guest has not taken; the socket is not read meanwhile. */
  private stuck: Uint8Array | null = null;
  private isOver = false;

  constructor(
    private readonly socket: Socket,
    private readonly port: NetPort,
  ) {
    socket.on('data', (piece: Uint8Array) => this.take(piece));
    socket.on('error', () => this.end());
    socket.on('close', () => this.end());
    port.onRoom(() => this.goOn());
    if (socket.destroyed) this.end();
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

  private take(piece: Uint8Array): void {
    let batch: Uint8Array | null;
    try {
      batch = this.assembler.push(piece);
    } catch {
      // A stream out of step has no frame any more.
      this.socket.destroy();
      return;
    }
    if (batch === null || this.port.receive(batch)) return;
    this.stuck = batch;
    this.socket.pause();
  }

  private goOn(): void {
    if (this.stuck === null || !this.port.receive(this.stuck)) return;
    this.stuck = null;
    this.socket.resume();
  }

  private end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.port.setLink(false);
  }
}
