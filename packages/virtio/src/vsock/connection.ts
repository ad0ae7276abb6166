/**
 * One stream connection of the vsock device: what waits to be told to the guest, and the credit of
 * both directions.
 *
 * Source: virtio 1.2, 5.10.6.3 (buffer space management). Counters are modulo 2^32.
 */
import { VSOCK_WINDOW } from './vsock-host.js';
import * as P from './vsock-packet.js';

/** A packet for the guest, short of its addresses. */
export interface Outgoing {
  readonly op: number;
  readonly flags: number;
  readonly data: Uint8Array;
}

/** How much of the guest's window may be used before it is told that it is free again. */
const UPDATE_AFTER = VSOCK_WINDOW / 4;
/** Pieces of the host's data are joined up to so many bytes. */
const JOINED_MAX = 1024;
const NO_DATA = new Uint8Array(0);

export class Connection {
  /** Agreed on by both sides. */
  isOpen = false;
  /** Bits of P.SHUTDOWN_*: what the guest has ended. */
  guestEnded = 0;
  /** The host sends no more. */
  hostEnded = false;
  /** The host is gone. */
  hostClosed = false;
  /** REQUEST, RESPONSE or RST, to be sent before anything else. */
  private control: number | null = null;
  private received = 0;
  private forwarded = 0;
  /** `forwarded` as the guest knows it. */
  private told = 0;
  private guestBuffer = 0;
  private guestForwarded = 0;
  private sent = 0;
  private waiting: Uint8Array[] = [];
  private bytesWaiting = 0;
  private updateDue = false;
  private creditAsked = false;
  private endTold = false;

  constructor(
    readonly id: number,
    readonly guestPort: number,
    readonly hostPort: number,
  ) {}

  /** To be sent next, whatever waits. */
  say(op: number): void {
    this.control = op;
  }

  // --- From the guest

  /** Takes the credit that comes with every packet of the guest's. */
  credit({ bufAlloc, fwdCnt }: P.VsockHeader): void {
    this.guestBuffer = bufAlloc;
    this.guestForwarded = fwdCnt;
    if (this.room > 0) this.creditAsked = false;
  }

  /** Counts data of the guest's; false when it had no credit for it. */
  receive(length: number): boolean {
    if (length > VSOCK_WINDOW - ((this.received - this.forwarded) >>> 0)) return false;
    this.received = (this.received + length) >>> 0;
    return true;
  }

  /** The host took so many of the bytes. */
  forward(bytes: number): void {
    const under = (this.received - this.forwarded) >>> 0;
    this.forwarded = (this.forwarded + Math.min(bytes, under)) >>> 0;
    if ((this.forwarded - this.told) >>> 0 >= UPDATE_AFTER) this.updateDue = true;
  }

  askForUpdate(): void {
    this.updateDue = true;
  }

  /** This side's counter, as every packet carries it. */
  tell(): number {
    this.told = this.forwarded;
    this.updateDue = false;
    return this.forwarded;
  }

  // --- To the guest

  /** Keeps data of the host's until the guest takes it; false beyond what was granted. */
  keep(data: Uint8Array): boolean {
    if (this.bytesWaiting + data.length > VSOCK_WINDOW) return false;
    const last = this.waiting.at(-1);
    // Short pieces are joined: each by itself takes more memory than it has bytes.
    if (last !== undefined && last.length + data.length <= JOINED_MAX) {
      this.waiting.splice(-1, 1, joined(last, data));
    } else if (data.length > 0) this.waiting.push(data.slice());
    this.bytesWaiting += data.length;
    return true;
  }

  /** Forgets what waits; returns how many bytes. */
  dropWaiting(): number {
    const bytes = this.bytesWaiting;
    this.waiting = [];
    this.bytesWaiting = 0;
    return bytes;
  }

  /** Bytes that the guest has room for. */
  private get room(): number {
    const underWay = (this.sent - this.guestForwarded) >>> 0;
    return Math.max(0, this.guestBuffer - underWay);
  }

  /** What is to be sent next, with data where the buffer has `space` for it; null for nothing. */
  next(space: number): Outgoing | null {
    const op = this.wanted();
    if (op === null) return null;
    if (op === P.OP_RW) {
      const data = this.takeWaiting(Math.min(space, this.room));
      this.sent = (this.sent + data.length) >>> 0;
      return { op, flags: 0, data };
    }
    if (op === P.OP_SHUTDOWN) this.endTold = true;
    else if (op === P.OP_CREDIT_REQUEST) this.creditAsked = true;
    else this.control = null;
    return { op, flags: op === P.OP_SHUTDOWN ? P.SHUTDOWN_SEND : 0, data: NO_DATA };
  }

  /** The operation that is to be sent next, null for none. */
  wanted(): number | null {
    if (this.control !== null) return this.control;
    if (!this.isOpen) return null;
    const { bytesWaiting, room } = this;
    if (bytesWaiting > 0 && room > 0) return P.OP_RW;
    if (this.updateDue) return P.OP_CREDIT_UPDATE;
    if (bytesWaiting > 0) return this.creditAsked ? null : P.OP_CREDIT_REQUEST;
    if (this.hostClosed) return P.OP_RST;
    return this.hostEnded && !this.endTold ? P.OP_SHUTDOWN : null;
  }

  private takeWaiting(limit: number): Uint8Array {
    const [first = NO_DATA] = this.waiting;
    const data = first.subarray(0, limit);
    if (data.length === first.length) this.waiting.shift();
    else this.waiting[0] = first.subarray(data.length);
    this.bytesWaiting -= data.length;
    return data;
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}
