/**
 * The network through a TAP: an interface of the host's, to be bridged or routed there.
 *
 * Who opens one is not said here: `openTap` of `@cloister/backend-kvm` does on Linux.
 */
import type { NetBackend, NetPort } from './backend.js';
import { BatchWriter, FRAME_MAX, framesOf } from './frames.js';

/** A TAP that is open; nothing of it blocks. */
export interface TapDevice {
  /** Puts the next frame into `target`; its length, or 0 when there is none. */
  read(target: Uint8Array): number;
  /** False when the frame was not taken: it is lost. */
  write(frame: Uint8Array): boolean;
  /** Calls once when there is a frame to read. */
  wait(listener: () => void): void;
  close(): void | Promise<void>;
}

/** Bytes that are read at a time; the rest waits in the interface's queue, which is bounded. */
const BATCH_MAX = 256 * 1024;

export interface TapOptions {
  /** Opens the TAP when the VM starts; the backend closes it. */
  readonly open: () => TapDevice | Promise<TapDevice>;
  /** Largest payload of a frame, which is to be the interface's; 1500 unless given. */
  readonly mtu?: number;
}

class TapBackend implements NetBackend {
  readonly kind = 'tap';
  readonly mtu: number;
  private tap: TapDevice | null = null;
  private port: NetPort | null = null;
  private stuck: Uint8Array | null = null;
  private readonly buffer = new Uint8Array(FRAME_MAX);

  constructor(private readonly options: TapOptions) {
    this.mtu = options.mtu ?? 1500;
  }

  async open(port: NetPort): Promise<void> {
    this.tap = await this.options.open();
    this.port = port;
    port.onRoom(() => this.stuck !== null && this.receive());
    this.receive();
  }

  send(batch: Uint8Array): void {
    for (const frame of framesOf(batch)) this.tap?.write(frame);
    this.port?.sent(batch.length);
  }

  /** Brings what there is; waits for the next frame, or for room. */
  private receive(): void {
    while (this.port !== null && this.tap !== null) {
      this.stuck ??= this.nextBatch(this.tap);
      if (this.stuck === null) {
        this.tap.wait(() => this.receive());
        return;
      }
      if (!this.port.receive(this.stuck)) return;
      this.stuck = null;
    }
  }

  private nextBatch(tap: TapDevice): Uint8Array | null {
    const { buffer } = this;
    const batch = new BatchWriter();
    while (batch.length < BATCH_MAX) {
      const length = tap.read(buffer);
      if (length === 0) break;
      batch.add(buffer.subarray(0, length));
    }
    return batch.length === 0 ? null : batch.take();
  }

  async close(): Promise<void> {
    const { tap } = this;
    this.port = null;
    this.tap = null;
    await tap?.close();
  }
}

/** A network through a TAP. */
export function tapBackend(options: TapOptions): NetBackend {
  return new TapBackend(options);
}
