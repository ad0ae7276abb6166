/**
 * Guest memory on KVM: one memory file, mapped once, of which slots take pieces.
 *
 * The log of written pages joins what KVM logs with what the host wrote. It starts with the first
 * `takeDirty`, which therefore gives every page of writable slots; with a dirty ring it runs from
 * the start.
 */
import {
  type MemoryBacking,
  type MemorySlot,
  packPages,
  type SnapshotValue,
  VmmError,
} from '@cloister/core';
import { MEM } from './abi/constants.js';
import { NR } from './abi/linux.js';
import { make } from './abi/struct.js';
import { DIRTY_LOG, USERSPACE_MEMORY_REGION, USERSPACE_MEMORY_REGION2 } from './abi/structs.js';
import { Mapping, memoryFile, punchHole, usedRanges } from './mapping.js';
import { PrivateMemory } from './private-memory.js';
import { ioctl, type Sys } from './sys/sys.js';

const PAGE = 4096;

/** A slot with its place in the memory file. */
interface Placed {
  readonly slot: MemorySlot;
  /** Number of the slot in the kernel. */
  readonly number: number;
  /** Bytes from the memory file's start. */
  readonly offset: number;
}

export interface GuestMemoryOptions {
  readonly sys: Sys;
  readonly vmFd: number;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  /** Tells `guestWrote` what the dirty rings hold, where there are rings. */
  readonly collect?: () => void;
  /** Whether the VM has private memory. */
  readonly withPrivate?: boolean;
}

export class KvmGuestMemory implements MemoryBacking {
  readonly bytes: Uint8Array;
  /** File descriptor that other threads may map. */
  readonly fd: number;
  private readonly mapping: Mapping;
  private readonly secret: PrivateMemory | null;
  /** Ascending by `gpa`. */
  private placed: readonly Placed[] = [];
  private last: Placed | undefined;
  private logging: boolean;
  /** Pages that the host wrote, or that a ring named, since the last `takeDirty`. */
  private readonly noted = new Set<number>();

  constructor(private readonly options: GuestMemoryOptions) {
    const { sys, size } = options;
    this.logging = options.collect !== undefined;
    this.secret = options.withPrivate === true ? new PrivateMemory(sys, options.vmFd) : null;
    this.fd = memoryFile(sys, 'cloister-guest', size);
    try {
      this.mapping = Mapping.ofFile(sys, this.fd, size);
    } catch (cause) {
      sys.syscall(NR.close, this.fd);
      if (cause instanceof VmmError) throw cause;
      throw new VmmError('out-of-memory', `this Node cannot see ${size} bytes at once`, {
        remedy: 'use Node 22 or newer for guests of 4 GiB and more',
        cause,
      });
    }
    this.bytes = this.mapping.bytes;
  }

  /** Address of the mapping in this process. */
  get address(): number {
    return this.mapping.address;
  }

  addSlot(slot: MemorySlot): void {
    const placed = { slot, number: this.freeNumber(), offset: this.freeOffset(slot) };
    this.secret?.open(slot);
    try {
      this.tell(placed, slot.size);
    } catch (error) {
      this.secret?.close(slot.id);
      throw error;
    }
    this.placed = [...this.placed, placed].sort((a, b) => a.slot.gpa - b.slot.gpa);
    this.last = undefined;
  }

  removeSlot(id: number): void {
    const found = this.placed.find(({ slot }) => slot.id === id);
    if (found === undefined) return;
    // What the rings hold is of this slot, not of the next with its number.
    this.options.collect?.();
    this.tell(found, 0);
    this.secret?.close(id);
    this.placed = this.placed.filter((each) => each !== found);
    this.last = undefined;
    // Whoever gets the frames next finds zeros.
    this.clear(found.offset, found.slot.size);
  }

  locate(gpa: number): number {
    let found = this.last;
    if (found === undefined || gpa < found.slot.gpa || gpa >= found.slot.gpa + found.slot.size) {
      found = this.placed.find(({ slot }) => gpa >= slot.gpa && gpa < slot.gpa + slot.size);
      if (found === undefined) return -1;
      this.last = found;
    }
    return found.offset + gpa - found.slot.gpa;
  }

  written(offset: number): void {
    if (!this.logging) return;
    const page = offset - (offset % PAGE);
    for (const { slot, offset: from } of this.placed) {
      if (page >= from && page < from + slot.size) {
        this.noted.add((slot.gpa + page - from) / PAGE);
        return;
      }
    }
  }

  /** An entry of a ring: slot number in the kernel, and page in it. */
  guestWrote(number: number, page: number): void {
    const placed = this.placed.find((each) => each.number === number);
    if (placed !== undefined && page < placed.slot.size / PAGE) {
      this.noted.add(placed.slot.gpa / PAGE + page);
    }
  }

  ciphertext(): null {
    return null;
  }

  storeCiphertext(): void {}

  convert(gpa: number, length: number, to: 'private' | 'shared'): void {
    this.secret?.convert(gpa, length, to);
    if (this.secret !== null || to === 'shared') return;
    throw new VmmError('unsupported', 'this VM has no private memory', {
      remedy: 'use a protection of the host processor',
    });
  }

  free(offset: number, length: number): boolean {
    if (this.secret !== null) this.freePrivate(this.secret, offset, length);
    return punchHole(this.options.sys, this.fd, offset, length);
  }

  private freePrivate(secret: PrivateMemory, offset: number, length: number): void {
    for (const { slot, offset: start } of this.placed) {
      const from = Math.max(offset, start);
      const end = Math.min(offset + length, start + slot.size);
      if (from < end) secret.free(slot.gpa + from - start, end - from);
    }
  }

  /** All memory for a snapshot; nothing is made of what no one has touched. */
  save(): SnapshotValue {
    const { sys, size } = this.options;
    return packPages(this.bytes, usedRanges(sys, this.fd, size));
  }

  /** Replaces all memory by what `write` (core's `readPages`) puts there. */
  load(write: (target: Uint8Array) => void): void {
    this.clear(0, this.options.size);
    write(this.bytes);
  }

  private clear(offset: number, length: number): void {
    if (!this.free(offset, length)) this.bytes.fill(0, offset, offset + length);
  }

  takeDirty(): Uint32Array {
    this.options.collect?.();
    const pages = new Set(this.noted);
    this.noted.clear();
    if (!this.logging) this.startLog(pages);
    else if (this.options.collect === undefined) {
      for (const placed of this.placed) this.takeLog(placed, pages);
    }
    return Uint32Array.from(pages).sort();
  }

  dispose(): void {
    this.secret?.dispose();
    this.mapping.dispose();
    this.options.sys.syscall(NR.close, this.fd);
  }

  private startLog(pages: Set<number>): void {
    this.logging = true;
    for (const placed of this.placed) {
      const { slot } = placed;
      if (slot.readOnly) continue;
      if (this.isLogged(slot)) this.tell(placed, slot.size);
      for (let at = 0; at < slot.size; at += PAGE) pages.add((slot.gpa + at) / PAGE);
    }
  }

  private takeLog({ slot, number }: Placed, pages: Set<number>): void {
    if (!this.isLogged(slot)) return;
    const { sys, vmFd } = this.options;
    const count = slot.size / PAGE;
    const bitmap = new BigUint64Array(Math.ceil(count / 64));
    const words = new Uint32Array(bitmap.buffer);
    const address = sys.addressOf(new Uint8Array(bitmap.buffer));
    const log = make(DIRTY_LOG, { slot: number, dirty_bitmap: address });
    ioctl(sys, vmFd, 'GET_DIRTY_LOG', log.bytes);
    words.forEach((word, index) => {
      for (let bit = 0; word !== 0 && bit < 32; bit++) {
        if ((word >>> bit) & 1) pages.add(slot.gpa / PAGE + index * 32 + bit);
      }
    });
  }

  /** Whether writes to a slot are logged: KVM has no log of one with private memory. */
  private isLogged(slot: MemorySlot): boolean {
    return this.logging && !slot.readOnly && this.fileOf(slot) === null;
  }

  private fileOf(slot: MemorySlot): number | null {
    return this.secret?.fileOf(slot) ?? null;
  }

  /** KVM_SET_USER_MEMORY_REGION; size 0 removes. */
  private tell({ slot, number, offset }: Placed, size: number): void {
    const { sys, vmFd } = this.options;
    const region = {
      slot: number,
      flags: (slot.readOnly ? MEM.READONLY : 0) | (this.isLogged(slot) ? MEM.LOG_DIRTY_PAGES : 0),
      guest_phys_addr: slot.gpa,
      memory_size: size,
      userspace_addr: this.mapping.address + offset,
    };
    const fd = this.fileOf(slot);
    if (fd === null) {
      const { bytes } = make(USERSPACE_MEMORY_REGION, region);
      ioctl(sys, vmFd, 'SET_USER_MEMORY_REGION', bytes);
    } else {
      const flags = region.flags | MEM.GUEST_MEMFD;
      const { bytes } = make(USERSPACE_MEMORY_REGION2, { ...region, flags, guest_memfd: fd });
      ioctl(sys, vmFd, 'SET_USER_MEMORY_REGION2', bytes);
    }
  }

  private freeNumber(): number {
    let number = 0;
    while (this.placed.some((each) => each.number === number)) number++;
    return number;
  }

  /** First place in the memory file that is free and large enough. */
  private freeOffset({ size, name }: MemorySlot): number {
    let at = 0;
    const taken = [...this.placed].sort((a, b) => a.offset - b.offset);
    for (const { offset, slot } of taken) {
      if (offset - at >= size) return at;
      at = offset + slot.size;
    }
    if (at + size <= this.bytes.length) return at;
    throw new VmmError('out-of-memory', `no memory is left for slot ${name} of ${size} bytes`, {
      remedy: 'remove a slot, or create the VM with more memory',
    });
  }
}
