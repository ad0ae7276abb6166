/**
 * Memory that the kernel lends: mapped, seen through buffers, unmapped. A buffer over it is emptied
 * first, so that no view outlives the mapping.
 */
import { type PageRange, VmmError } from '@cloister/core';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_CLOEXEC,
  NR,
  PROT_READ,
  PROT_WRITE,
  SEEK_DATA,
  SEEK_HOLE,
} from './abi/linux.js';
import { checked, cString, type Sys } from './sys/sys.js';

export class Mapping {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  private open = true;

  private constructor(
    private readonly sys: Sys,
    readonly address: number,
    readonly length: number,
  ) {
    try {
      this.buffer = sys.view(address, length);
    } catch (error) {
      sys.syscall(NR.munmap, address, length);
      throw error;
    }
    this.bytes = new Uint8Array(this.buffer);
  }

  /** Maps `length` bytes of a file descriptor from `offset` on, shared. */
  static ofFile(sys: Sys, fd: number, length: number, offset = 0): Mapping {
    const rights = PROT_READ | PROT_WRITE;
    const flags = MAP_SHARED | MAP_NORESERVE;
    const address = sys.syscall(NR.mmap, 0, length, rights, flags, fd, offset);
    return new Mapping(sys, checked(`cannot map ${length} bytes`, address), length);
  }

  dispose(): void {
    if (!this.open) return;
    this.open = false;
    this.sys.detach(this.buffer);
    this.sys.syscall(NR.munmap, this.address, this.length);
  }
}

/**
 * A file's pages in place of the memory under existing bytes, at the same addresses: whoever has
 * a view of those sees the file. Disposed of, the bytes are zeros of their own again.
 */
export class Overlay {
  private open = true;

  private constructor(
    private readonly sys: Sys,
    private readonly address: bigint,
    /** Keeps the memory from being collected. */
    private readonly bytes: Uint8Array,
  ) {}

  /** The first `bytes.length` bytes of `fd` over `bytes`, which must begin a page. */
  static of(sys: Sys, bytes: Uint8Array, fd: number): Overlay {
    const address = sys.addressOf(bytes);
    if (address % 4096n !== 0n) {
      throw new VmmError('internal', 'memory to be mapped over does not begin a page');
    }
    const overlay = new Overlay(sys, address, bytes);
    overlay.map(MAP_SHARED, fd);
    return overlay;
  }

  dispose(): void {
    if (!this.open) return;
    this.open = false;
    this.map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  }

  private map(kind: number, fd: number): void {
    const { sys, address, bytes } = this;
    const flags = kind | MAP_FIXED | MAP_NORESERVE;
    const rights = PROT_READ | PROT_WRITE;
    const result = sys.syscall(NR.mmap, address, bytes.length, rights, flags, fd, 0);
    checked(`cannot map ${bytes.length} bytes in their place`, result);
  }
}

/** Memory without a name, kept by a file descriptor that other threads can map as well. */
export function memoryFile(sys: Sys, name: string, size: number): number {
  const fd = checked(
    'cannot make a memory file',
    sys.syscall(NR.memfd_create, cString(name), MFD_CLOEXEC),
  );
  const result = sys.syscall(NR.ftruncate, fd, size);
  if (result < 0) sys.syscall(NR.close, fd);
  checked(`cannot make a memory file of ${size} bytes`, result);
  return fd;
}

/** Gives bytes of a memory file back to the system, in whole pages: they read as zeros. */
export function punchHole(sys: Sys, fd: number, offset: number, length: number): boolean {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return sys.syscall(NR.fallocate, fd, mode, offset, length) === 0;
}

/** Where a memory file has pages: all else reads as zeros, and looking at it would make some. */
export function usedRanges(sys: Sys, fd: number, size: number): PageRange[] {
  const ranges: PageRange[] = [];
  for (let at = 0; at < size; ) {
    const from = sys.syscall(NR.lseek, fd, at, SEEK_DATA);
    if (from < 0) break;
    at = checked('lseek', sys.syscall(NR.lseek, fd, from, SEEK_HOLE));
    ranges.push([from, at]);
  }
  return ranges;
}
