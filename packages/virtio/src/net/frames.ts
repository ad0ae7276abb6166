/**
 * Frames in batches: each Ethernet frame behind its length, 32 bits big-endian, as passt and QEMU
 * put them on a stream socket. One batch is one input of a VM, one write to a socket.
 */

import { BufferPool } from '../device/buffer-pool.js';

/** Bytes of the length in front of a frame. */
export const LENGTH_SIZE = 4;
/** Destination, source, type (IEEE 802.3, 3.1.1). */
export const ETHERNET_HEADER = 14;
/** The longest frame: what IP can carry, its header, and a VLAN tag or two. */
export const FRAME_MAX = 65_535 + ETHERNET_HEADER + 8;

/** A frame within a batch, and where the next one begins. */
export interface FramePlace {
  readonly frame: Uint8Array;
  readonly next: number;
}

/** The frame at `offset`, null at the batch's end or where no whole frame is. */
export function frameAt(batch: Uint8Array, offset: number): FramePlace | null {
  const start = offset + LENGTH_SIZE;
  if (start > batch.length) return null;
  const next = start + lengthAt(batch, offset);
  return next > batch.length ? null : { frame: batch.subarray(start, next), next };
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}

/** The whole frames of a batch. */
export function* framesOf(batch: Uint8Array): Generator<Uint8Array> {
  for (let place = frameAt(batch, 0); place !== null; place = frameAt(batch, place.next)) {
    yield place.frame;
  }
}

const FIRST_SIZE = 4096;
const EXPECTED_MAX = 256 * 1024;

/** Puts frames together to a batch. */
export class BatchWriter {
  private bytes = new Uint8Array(0);
  private used = 0;
  private expected = FIRST_SIZE;

  /** Bytes of the batch so far, lengths included. */
  get length(): number {
    return this.used;
  }

  /** Room for a frame of `length` bytes, to be filled at once. */
  room(length: number): Uint8Array {
    const start = this.used + LENGTH_SIZE;
    this.grow(start + length);
    for (let byte = 0; byte < LENGTH_SIZE; byte++) {
      this.bytes[this.used + byte] = length >>> (24 - 8 * byte);
    }
    this.used = start + length;
    return this.bytes.subarray(start, this.used);
  }

  add(frame: Uint8Array): void {
    this.room(frame.length).set(frame);
  }

  /** The batch, which is the caller's from now on; the next one is empty. */
  take(): Uint8Array {
    const batch = this.bytes.subarray(0, this.used);
    // The next batch is likely as long as this one.
    this.expected = Math.min(EXPECTED_MAX, Math.max(FIRST_SIZE, this.used));
    this.bytes = new Uint8Array(0);
    this.used = 0;
    return batch;
  }

  private grow(needed: number): void {
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.expected, needed, 2 * this.bytes.length));
    grown.set(this.bytes.subarray(0, this.used));
    this.bytes = grown;
  }
}

/** One batch of these frames. */
export function batchOf(frames: Iterable<Uint8Array>): Uint8Array {
  const writer = new BatchWriter();
  for (const frame of frames) writer.add(frame);
  return writer.take();
}

/**
 * Cuts a stream of bytes, in whatever pieces it comes, into batches of whole frames. Each is copied
 * once, to a buffer that can be used again: fresh ones have V8 collect its whole heap for a few
 * hundred of them.
 */
export class FrameAssembler {
  private readonly pool = new BufferPool();
  private readonly head = new Uint8Array(LENGTH_SIZE);
  private headFilled = 0;
  /** The frame that is put together, its length in front. */
  private frame: Uint8Array | null = null;
  private filled = 0;

  /**
   * The batches there are now that `piece` has come. A `RangeError` where the stream has a length
   * that no frame has.
   */
  push(piece: Uint8Array): Uint8Array[] {
    const batches: Uint8Array[] = [];
    for (let at = 0; at < piece.length; ) {
      if (this.frame !== null) at += this.continueFrame(this.frame, piece.subarray(at), batches);
      else if (this.headFilled > 0 || at + LENGTH_SIZE > piece.length) {
        this.head[this.headFilled++] = piece[at++]!;
        if (this.headFilled === LENGTH_SIZE) this.begin(this.head, batches);
      } else {
        const end = wholeFrames(piece, at);
        if (end > at) batches.push(this.copy(piece.subarray(at, end)));
        else this.begin(piece.subarray(at, at + LENGTH_SIZE), batches);
        at = end > at ? end : at + LENGTH_SIZE;
      }
    }
    return batches;
  }

  /** Takes back a batch that nobody uses any more. */
  release(batch: Uint8Array): void {
    this.pool.give(batch);
  }

  private copy(frames: Uint8Array): Uint8Array {
    const batch = this.pool.take(frames.length);
    batch.set(frames);
    return batch;
  }

  private begin(head: Uint8Array, batches: Uint8Array[]): void {
    const frame = this.pool.take(LENGTH_SIZE + checkedLength(head, 0));
    this.frame = frame;
    this.filled = 0;
    this.headFilled = 0;
    this.continueFrame(frame, head, batches);
  }

  /** Takes what belongs to the frame; says how much that was. */
  private continueFrame(frame: Uint8Array, piece: Uint8Array, batches: Uint8Array[]): number {
    const part = piece.subarray(0, frame.length - this.filled);
    frame.set(part, this.filled);
    this.filled += part.length;
    if (this.filled === frame.length) {
      batches.push(frame);
      this.frame = null;
    }
    return part.length;
  }
}

/** Where the last whole frame from `start` on ends. */
function wholeFrames(bytes: Uint8Array, start: number): number {
  let end = start;
  while (end + LENGTH_SIZE <= bytes.length) {
    const next = end + LENGTH_SIZE + checkedLength(bytes, end);
    if (next > bytes.length) break;
    end = next;
  }
  return end;
}

function checkedLength(bytes: Uint8Array, at: number): number {
  const length = lengthAt(bytes, at);
  if (length > FRAME_MAX) throw new RangeError(`a frame of ${length} bytes`);
  return length;
}

const HEX = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

/** The six bytes of `52:54:00:12:34:56`; null when it is no address, or a group's. */
export function parseMac(text: string): Uint8Array | null {
  if (!HEX.test(text)) return null;
  const bytes = Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
  return (bytes[0]! & 1) !== 0 || bytes.every((byte) => byte === 0) ? null : bytes;
}

export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** The 48 bits at `offset` as a number, to compare and to look up. */
export function macAt(bytes: Uint8Array, offset: number): number {
  let value = 0;
  for (let at = offset; at < offset + 6; at++) value = value * 256 + (bytes[at] ?? 0);
  return value;
}

/** Whether an address is a group's (IEEE 802.3, 3.2.3). */
export function isGroup(mac: number): boolean {
  return Math.floor(mac / 2 ** 40) % 2 === 1;
}

export const BROADCAST = 2 ** 48 - 1;
