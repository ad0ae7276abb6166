/**
 * Frames over a connected stream socket, each behind its length (`net/frames.ts`).
 */
import type { Socket } from 'node:net';
import type { NetPort } from '../net/backend.js';
import { FrameAssembler } from '../net/frames.js';

export class StreamBackend {
  private readonly assembler = new FrameAssembler();
  /** What the guest has not taken; the socket is not read meanwhile. */
  private readonly stuck: Uint8Array[] = [];
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
    try {
      this.stuck.push(...this.assembler.push(piece));
    } catch {
      // A stream out of step has no frame any more.
      this.socket.destroy();
      return;
    }
    this.goOn();
    if (this.stuck.length > 0) this.socket.pause();
  }

  private goOn(): void {
    while (this.stuck.length > 0) {
      if (!this.port.receive(this.stuck[0]!)) return;
      this.stuck.shift();
    }
    this.socket.resume();
  }

  private end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.port.setLink(false);
  }
}
