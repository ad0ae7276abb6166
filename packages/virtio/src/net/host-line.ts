/**
 * Between a network device and its backend: everything that the backend does reaches the device
 * by the VM's input port.
 *
 * Three sources: frames under the device's name, `NAME.sent` (how much of what was sent went on, 32
 * bits little-endian) and `NAME.link` (one byte).
 */
import type { Clock, InputPort, InputSource } from '@cloister/core';
import type { NetBackend, NetPort } from './backend.js';
import { WINDOW } from './net-model.js';

/** Bytes of frames that wait for the guest, beyond those that its device holds. */
const RECEIVE_BOUND = 1024 * 1024;
/** So much is gathered before the device is told that it went on. */
const TELL_AT = WINDOW / 4;

export interface HostLineOptions {
  readonly input: InputPort;
  readonly clock: Clock;
  readonly backend: NetBackend;
  receive(batch: Uint8Array): void;
  sent(cost: number): void;
  setLink(up: boolean): void;
}

type Release = (batch: Uint8Array) => void;

/** A batch at the backend: its bytes, and what the device reckons for it. */
interface Outgoing {
  bytes: number;
  readonly cost: number;
}

export class HostLine {
  private readonly frames: InputSource;
  private readonly sentSource: InputSource;
  private readonly link: InputSource;
  private readonly outgoing: Outgoing[] = [];
  /** Cost of what went on, and was not told yet. */
  private untold = 0;
  private isOpen = false;
  /** Whether the backend has a network. */
  private isUp = true;
  /** Who wants which batch back. */
  private readonly lent = new WeakMap<Uint8Array, Release>();
  /** Whether the device has none of its frames left: not of `delivered` either. */
  private hasRoom = true;
  private delivered: Uint8Array | null = null;

  constructor(
    name: string,
    private readonly options: HostLineOptions,
  ) {
    const { input } = options;
    this.frames = input.source(name, (batch) => this.deliver(batch), RECEIVE_BOUND);
    this.sentSource = input.source(`${name}.sent`, (data) => {
      if (data.length === 4)
        options.sent(new DataView(data.buffer, data.byteOffset).getUint32(0, true));
    });
    this.link = input.source(`${name}.link`, ([up]) => options.setLink(up === 1));
    this.frames.setLive(true);
  }

  async open(): Promise<void> {
    const { input, backend } = this.options;
    if (input.replaying) return;
    this.isOpen = true;
    const port: NetPort = {
      receive: (batch, release) => !this.isOpen || this.take(batch, release),
      onRoom: (listener) => this.frames.onRoom(() => this.isOpen && listener()),
      sent: (bytes) => this.wentOn(bytes),
      setLink: (up) => this.setLink(up),
    };
    await backend.open(port);
  }

  /** Takes a batch of the device's. */
  send(batch: Uint8Array, cost: number): void {
    if (!this.isOpen) return;
    this.outgoing.push({ bytes: batch.length, cost });
    this.options.backend.send(batch);
  }

  room(has: boolean): void {
    this.hasRoom = has;
    this.frames.hold(!has);
    if (has) this.giveBack();
  }

  private take(batch: Uint8Array, release?: Release): boolean {
    if (release === undefined) return this.frames.push(batch, 'given');
    this.lent.set(batch, release);
    const taken = this.frames.push(batch, 'lent');
    if (!taken) this.lent.delete(batch);
    return taken;
  }

  private deliver(batch: Uint8Array): void {
    this.options.receive(batch);
    this.delivered = batch;
    if (this.hasRoom) this.giveBack();
  }

  /** The device is done with what was delivered last. */
  private giveBack(): void {
    const { delivered } = this;
    this.delivered = null;
    const release = delivered === null ? undefined : this.lent.get(delivered);
    if (delivered === null || release === undefined) return;
    this.lent.delete(delivered);
    release(delivered);
  }

  /**
   * A state was taken over in which batches were at the backend of then: they went on, or are lost
   * as frames may be. The link is that of this backend, whatever was saved. In a replay the
   * recording says so.
   */
  restored(cost: number): void {
    const { input, clock } = this.options;
    this.outgoing.length = 0;
    this.untold = 0;
    if (input.replaying) return;
    // Later: what waits for the guest is taken over after the devices.
    clock.at(clock.now(), () => {
      if (cost > 0) this.tell(cost);
      this.setLink(this.isUp);
    });
  }

  async close(): Promise<void> {
    this.isOpen = false;
    this.frames.setLive(false);
    await this.options.backend.close();
  }

  private wentOn(bytes: number): void {
    let left = bytes;
    while (left > 0 && this.outgoing.length > 0) {
      const [first] = this.outgoing as [Outgoing];
      const part = Math.min(left, first.bytes);
      first.bytes -= part;
      left -= part;
      if (first.bytes > 0) break;
      this.untold += first.cost;
      this.outgoing.shift();
    }
    // A device that waits has a whole window outside: it is told before long.
    if (this.untold < TELL_AT) return;
    this.tell(this.untold);
    this.untold = 0;
  }

  private setLink(up: boolean): void {
    if (!this.isOpen) return;
    this.isUp = up;
    this.link.push(Uint8Array.of(up ? 1 : 0));
  }

  private tell(cost: number): void {
    if (!this.isOpen) return;
    const data = new Uint8Array(4);
    new DataView(data.buffer).setUint32(0, cost, true);
    this.sentSource.push(data, 'given');
  }
}
