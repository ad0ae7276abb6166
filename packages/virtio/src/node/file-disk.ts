/**
 * A disk that is a file or a block device of the host's.
 *
 * Raw contents, nothing else. A disk that is written is locked against every other use, one that is
 * read against writing (see file-lock.ts).
 *
 * Known inaccuracies: discarded ranges keep their contents (Node cannot punch holes).
 */
import {
  closeSync,
  fstatSync,
  fsync,
  openSync,
  read,
  readFileSync,
  readSync,
  readvSync,
  write,
  writeSync,
  writevSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { VmmError } from '@cloister/core';
import { type Disk, type DiskUse, SECTOR } from '../blk/disk.js';
import { lockFile } from './file-lock.js';

const readAt = promisify(read);
const writeAt = promisify(write);
const sync = promisify(fsync);

const ZEROES = new Uint8Array(1 << 20);

/** As `replaying` a disk is as large as ever, and neither locked nor written. */
export interface FileDiskOptions extends Partial<DiskUse> {
  readonly readOnly?: boolean;
}

/** A file opened for reading and, unless told otherwise, writing at any place. */
export class RandomAccessFile {
  private readonly fd: number;
  private isClosed = false;

  /** `VmmError('invalid-file')` when it cannot be opened. */
  constructor(
    readonly path: string,
    flags: string,
  ) {
    this.fd = opening(path, () => openSync(path, flags));
  }

  /** Bytes of a file or a block device; `VmmError('invalid-file')` for anything else. */
  get size(): number {
    const stat = fstatSync(this.fd);
    if (stat.isFile()) return stat.size;
    if (stat.isBlockDevice()) return blockDeviceSize(this.path, stat.rdev);
    this.close();
    throw new VmmError('invalid-file', `disk ${this.path} is neither a file nor a block device`);
  }

  /** `VmmError('invalid-file')` when another VM has the file. */
  lock(kind: 'shared' | 'exclusive'): void {
    try {
      lockFile(this.path, this.fd, kind);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get modified(): number {
    return Math.floor(fstatSync(this.fd).mtimeMs);
  }

  /** What lies behind the end reads as zeroes. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    let done = 0;
    while (done < target.length) {
      const { bytesRead } = await readAt(
        this.fd,
        target,
        done,
        target.length - done,
        offset + done,
      );
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    target.fill(0, done);
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    let done = 0;
    while (done < data.length) {
      const { bytesWritten } = await writeAt(
        this.fd,
        data,
        done,
        data.length - done,
        offset + done,
      );
      done += bytesWritten;
    }
  }

  /** As `read`, at once: for the little that has to be known before a VM starts. */
  readNow(offset: number, target: Uint8Array): void {
    let done = 0;
    while (done < target.length) {
      const count = readSync(this.fd, target, done, target.length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    if (done < target.length) target.fill(0, done);
  }

  writeNow(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      done += writeSync(this.fd, data, done, data.length - done, offset + done);
    }
  }

  /** As `read`, at once, into buffers one after the other. */
  readAllNow(offset: number, targets: readonly Uint8Array[]): void {
    let at = offset;
    for (let left = targets; left.length > 0; ) {
      const count = readvSync(this.fd, left, at);
      if (count === 0) {
        for (const target of left) target.fill(0);
        return;
      }
      at += count;
      left = behind(left, count);
    }
  }

  writeAllNow(offset: number, sources: readonly Uint8Array[]): void {
    let at = offset;
    for (let left = sources; left.length > 0; ) {
      const count = writevSync(this.fd, left, at);
      at += count;
      left = behind(left, count);
    }
  }

  async sync(): Promise<void> {
    await sync(this.fd);
  }

  close(): void {
    if (!this.isClosed) closeSync(this.fd);
    this.isClosed = true;
  }
}

/** What is left of buffers without their first `count` bytes. */
function behind(buffers: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let done = count;
  for (let index = 0; index < buffers.length; index++) {
    const buffer = buffers[index]!;
    if (done < buffer.length) return [buffer.subarray(done), ...buffers.slice(index + 1)];
    done -= buffer.length;
  }
  return [];
}

function opening<T>(path: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new VmmError('invalid-file', `disk ${path}: ${REASONS[code ?? ''] ?? String(cause)}`, {
      cause,
    });
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  EROFS: 'it is on a read-only file system',
};

/** The kernel tells the size in sectors of 512 bytes. */
function blockDeviceSize(path: string, rdev: number): number {
  // As makedev(3) of Linux packs them.
  const major = ((rdev >> 8) & 0xfff) | (Math.floor(rdev / 2 ** 32) & ~0xfff);
  const minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
  const sectors = opening(path, () =>
    readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8'),
  );
  return Number(sectors) * SECTOR;
}

/** A raw disk. A file that is no whole number of sectors loses its end. */
export function fileDisk(path: string, options: FileDiskOptions = {}): Disk {
  const { readOnly = false, replaying = false } = options;
  const file = new RandomAccessFile(path, readOnly || replaying ? 'r' : 'r+');
  if (!replaying) file.lock(readOnly ? 'shared' : 'exclusive');
  const size = file.size - (file.size % SECTOR);
  return {
    size,
    readOnly,
    read: (offset, target) => file.read(offset, target),
    write: (offset, data) => file.write(offset, data),
    // For a single buffer Node's own part of the call is the smaller one.
    readNow: (offset, targets) =>
      targets.length === 1 ? file.readNow(offset, targets[0]!) : file.readAllNow(offset, targets),
    writeNow: (offset, sources) =>
      sources.length === 1 ? file.writeNow(offset, sources[0]!) : file.writeAllNow(offset, sources),
    async writeZeroes(offset, length) {
      for (let done = 0; done < length; done += ZEROES.length) {
        await file.write(offset + done, ZEROES.subarray(0, length - done));
      }
    },
    discard: () => Promise.resolve(),
    flush: () => file.sync(),
    close: () => file.close(),
  };
}
