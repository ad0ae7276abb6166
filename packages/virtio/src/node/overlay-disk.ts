/**
 * A copy-on-write disk: reads come from a base that is never written, until a block is written; the
 * written blocks lie in an overlay file.
 *
 * The overlay file, little-endian: a header of 4096 bytes ("CLOVERLY", le32 version 1, le32 block
 * size, le64 size of the base, le64 its time of modification in ms), a bitmap with one bit per
 * block, padded to 4096 bytes, then the blocks, each at its own place: the file is sparse. A
 * block's bit reaches the file only after its data is stable, so a file that was cut off in
 * mid-write says of each block that it is the base's or whole.
 */
import { existsSync } from 'node:fs';
import { VmmError } from '@cloister/core';
import type { Disk, DiskUse } from '../blk/disk.js';
import { fileDisk, RandomAccessFile } from './file-disk.js';

const MAGIC = 'CLOVERLY';
const VERSION = 1;
const BLOCK = 4096;
const HEADER = 4096;
const ZEROES = new Uint8Array(1 << 20);

/** As `replaying` the overlay is neither made nor looked at. */
export interface OverlayOptions extends Partial<DiskUse> {
  /** The file that is only read. */
  readonly base: string;
  /** Made when it is not there. */
  readonly overlay: string;
}

class OverlayDisk implements Disk {
  readonly readOnly = false;
  readonly size: number;
  private readonly bitmap: Uint8Array;
  /** Pages of the bitmap that the file has not got. */
  private readonly dirty = new Set<number>();
  private readonly dataStart: number;
  /** Operations that change blocks run one after another. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly base: Disk,
    private readonly file: RandomAccessFile,
  ) {
    this.size = base.size;
    const bytes = Math.ceil(Math.ceil(this.size / BLOCK) / 8);
    this.bitmap = new Uint8Array(Math.ceil(bytes / BLOCK) * BLOCK);
    this.dataStart = HEADER + this.bitmap.length;
  }

  /** Reads the bitmap of an overlay that exists. */
  load(): void {
    this.file.readNow(HEADER, this.bitmap);
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.inTurn(async () => {
      for (const { from, to } of this.runs(offset, target.length, (block) => +this.has(block))) {
        const part = target.subarray(from - offset, to - offset);
        if (this.has(Math.floor(from / BLOCK))) await this.file.read(this.dataStart + from, part);
        else await this.base.read(from, part);
      }
    });
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.inTurn(async () => {
      // Whole blocks, and such as are here already, go straight to the overlay.
      const straight = (block: number, whole: boolean) => (whole || this.has(block) ? -1 : block);
      for (const { from, to } of this.runs(offset, data.length, straight)) {
        await this.writeRun(from, data.subarray(from - offset, to - offset));
      }
    });
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    for (let at = 0; at < length; at += ZEROES.length) {
      await this.write(offset + at, ZEROES.subarray(0, length - at));
    }
  }

  discard(): Promise<void> {
    return Promise.resolve();
  }

  flush(): Promise<void> {
    return this.inTurn(() => this.flushNow());
  }

  async close(): Promise<void> {
    await this.inTurn(() => this.flushNow());
    this.file.close();
    await this.base.close();
  }

  private async flushNow(): Promise<void> {
    await this.file.sync();
    if (this.dirty.size === 0) return;
    for (const page of this.dirty) {
      const at = page * BLOCK;
      await this.file.write(HEADER + at, this.bitmap.subarray(at, at + BLOCK));
    }
    this.dirty.clear();
    await this.file.sync();
  }

  /** Writes within one block that is the base's so far, or over blocks that need not be read. */
  private async writeRun(offset: number, data: Uint8Array): Promise<void> {
    const first = Math.floor(offset / BLOCK);
    const last = Math.floor((offset + data.length - 1) / BLOCK);
    if (data.length < BLOCK && !this.has(first)) {
      const start = first * BLOCK;
      const whole = new Uint8Array(BLOCK);
      // The base may end within its last block.
      await this.base.read(start, whole.subarray(0, this.size - start));
      whole.set(data, offset - start);
      await this.file.write(this.dataStart + start, whole);
    } else {
      await this.file.write(this.dataStart + offset, data);
    }
    for (let block = first; block <= last; block++) this.mark(block);
  }

  /** Cuts a range into runs of blocks of the same kind. */
  private *runs(
    offset: number,
    length: number,
    kind: (block: number, whole: boolean) => number,
  ): Generator<{ from: number; to: number }> {
    let open: { from: number; to: number; kind: number } | null = null;
    for (let at = offset; at < offset + length; ) {
      const block = Math.floor(at / BLOCK);
      const to = Math.min((block + 1) * BLOCK, offset + length);
      const here = kind(block, to - at === BLOCK);
      if (open !== null && open.kind === here) open.to = to;
      else {
        if (open !== null) yield open;
        open = { from: at, to, kind: here };
      }
      at = to;
    }
    if (open !== null) yield open;
  }

  private has(block: number): boolean {
    return ((this.bitmap[block >> 3]! >> (block & 7)) & 1) !== 0;
  }

  private mark(block: number): void {
    if (this.has(block)) return;
    this.bitmap[block >> 3]! |= 1 << (block & 7);
    this.dirty.add((block >> 3) >> 12);
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.last.then(work);
    this.last = next.catch(() => {});
    return next;
  }
}

function header(size: number, modified: number): Uint8Array {
  const bytes = new Uint8Array(HEADER);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(MAGIC));
  view.setUint32(8, VERSION, true);
  view.setUint32(12, BLOCK, true);
  view.setBigUint64(16, BigInt(size), true);
  view.setBigUint64(24, BigInt(modified), true);
  return bytes;
}

function checkHeader(bytes: Uint8Array, expected: Uint8Array, options: OverlayOptions): void {
  const same = (from: number, to: number) =>
    bytes.subarray(from, to).every((byte, index) => byte === expected[from + index]);
  if (!same(0, 16)) {
    throw new VmmError('invalid-file', `${options.overlay} is no overlay of this version`);
  }
  if (!same(16, 32)) {
    throw new VmmError('invalid-file', `${options.base} has changed since the overlay was made`, {
      remedy: `remove ${options.overlay}, or bring the base back`,
    });
  }
}

/**
 * A disk that reads `base` and writes to `overlay`. `VmmError('invalid-file')` when the overlay
 * belongs to another base, or the base has changed since.
 */
export function overlayDisk(options: OverlayOptions): Disk {
  const { replaying = false } = options;
  if (replaying) return { ...fileDisk(options.base, { replaying }), readOnly: false };
  const base = fileDisk(options.base, { readOnly: true });
  const opened = new RandomAccessFile(options.base, 'r');
  const { modified } = opened;
  opened.close();
  const expected = header(base.size, modified);
  const exists = existsSync(options.overlay);
  let file: RandomAccessFile | undefined;
  try {
    file = new RandomAccessFile(options.overlay, exists ? 'r+' : 'wx+');
    file.lock('exclusive');
    const disk = new OverlayDisk(base, file);
    if (exists) {
      const found = new Uint8Array(HEADER);
      file.readNow(0, found);
      checkHeader(found, expected, options);
      disk.load();
    } else {
      file.writeNow(0, expected);
    }
    return disk;
  } catch (error) {
    file?.close();
    void base.close();
    throw error;
  }
}
