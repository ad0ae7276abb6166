/**
 * Guest-physical to system-physical frames, and what is known of each frame.
 *
 * A guest-physical address (GPA) is never an offset: a table maps each 4 KiB page to a
 * system-physical frame, changeable at any time (`remap`). System-physical address 0 lies at
 * `ramBase` in the WebAssembly memory. Flags, keys and predecoded code belong to frames, so aliases
 * of a frame agree.
 *
 * Implements `MemoryBacking`, over which core builds the host's view of guest memory. Under which
 * key a frame is kept is in `FrameKeys`.
 */
import { type MemoryBacking, type MemorySlot, VmmError } from '@cloister/core';
import { FrameKeys } from './frame-keys.js';
import { type FrameTables, frameTables, LINE_SIZE, LOW_PAGES } from './frame-tables.js';
import { Verdicts } from './verdicts.js';

export const PAGE_SIZE = 4096;

/** The op cache holds predecoded instructions of the frame: it never gets a write tag. */
export const FRAME_CODE = 1;
/** The frame may have been written since `takeDirty`. */
export const FRAME_DIRTY = 2;
/** Some TLB may hold a write tag for the frame. */
export const FRAME_TAGGED = 4;
/** Some TLB may hold a translation to the frame; kept only where an extension decides on pages. */
export const FRAME_CACHED = 8;
/** Translations from several virtual pages may lead to the frame. */
export const FRAME_ALIASED = 16;
/** Nobody has written the frame but zeros where zeros were: it gets no write tag before others. */
export const FRAME_ZEROS = 32;

/** By a frame's flags: whether other than zeros may have been written, as a write tag allows. */
export function isWritten(flags: number): boolean {
  return (flags & (FRAME_DIRTY | FRAME_ZEROS)) === FRAME_DIRTY;
}

/** Table entries: (frame << 1 | read-only) + 1, so that 0 means nothing. */
export const READ_ONLY = 1;

export interface PhysicalOptions {
  readonly buffer: ArrayBufferLike;
  /** Offset in the buffer of system-physical address 0, a multiple of 4096. */
  readonly ramBase: number;
  /** Bytes of system memory, a multiple of 4096. */
  readonly size: number;
  /** Where the tables for emitted code go in the buffer, a multiple of 8; without: nowhere. */
  readonly tables?: number;
  /** Pages of theirs; others are looked up in a map that emitted code has not got. */
  readonly lowPages?: number;
  /** With a table of verdicts that last; without if absent. */
  readonly verdicts?: boolean;
}

/** The system-physical address in a raw entry that is not 0. */
export function spaOf(entry: number): number {
  return ((entry - 1) >>> 1) * PAGE_SIZE;
}

/** Whether a raw entry that is not 0 refuses guest writes. */
export function isReadOnly(entry: number): boolean {
  return ((entry - 1) & READ_ONLY) !== 0;
}

/** Bytes that one word of `lines` stands for. */
const HALF = 32 * LINE_SIZE;

/** Bits for the lines of a half frame that bytes from `start` up to `end` lie in. */
function lineMask(start: number, end: number): number {
  const first = Math.max(0, Math.floor(start / LINE_SIZE));
  const last = Math.min(31, Math.floor((end - 1) / LINE_SIZE));
  return first > last ? 0 : (-1 << first) & (-1 >>> (31 - last));
}

/** Who caches translations to frames: told when those become wrong. */
export interface TranslationCache {
  /** Drops every translation. */
  flushAll(): void;
  /** Drops the permission to write to the frame at byte offset `host` in the memory. */
  dropWriteTags(host: number): void;
  /** Drops every translation to that frame; `page` is the only virtual page that leads to it. */
  dropFrame(host: number, page?: number): void;
}

export class PhysicalMemory implements MemoryBacking {
  readonly bytes: Uint8Array;
  /** The whole WebAssembly memory, for access by `ramBase` + system-physical address. */
  readonly memory: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
  readonly ramBase: number;
  readonly frames: number;
  readonly tables: FrameTables;
  readonly flags: Uint8Array;
  readonly keys: FrameKeys;
  readonly verdicts: Verdicts;
  /** Set by the owner of the op cache: code of `frame` was overwritten. */
  onCodeWrite: (frame: number, offset: number, length: number) => void = () => {};
  /** `frame` got FRAME_DIRTY. */
  onDirty: (frame: number) => void = () => {};
  private readonly low: Int32Array;
  private readonly lowPages: number;
  private readonly high = new Map<number, number>();
  private readonly used: Uint8Array;
  private readonly caches: TranslationCache[] = [];
  private readonly slots = new Map<number, { slot: MemorySlot; frame: number }>();

  constructor(options: PhysicalOptions) {
    this.ramBase = options.ramBase;
    this.frames = options.size / PAGE_SIZE;
    this.memory = new Uint8Array(options.buffer);
    this.words = new Int32Array(options.buffer);
    this.view = new DataView(options.buffer);
    this.bytes = new Uint8Array(options.buffer, options.ramBase, options.size);
    this.lowPages = options.lowPages ?? LOW_PAGES;
    const { buffer, tables, verdicts } = options;
    this.tables = frameTables(buffer, tables, this.lowPages, this.frames, verdicts);
    this.verdicts = new Verdicts(this.tables.verdicts);
    this.low = this.tables.map;
    this.flags = this.tables.flags;
    this.used = new Uint8Array(this.frames);
    const { keyTags } = this.tables;
    this.keys = new FrameKeys(this.bytes, (frame) => this.dropFrame(frame), keyTags);
  }

  addCache(cache: TranslationCache): void {
    this.caches.push(cache);
  }

  // --- The map --------------------------------------------------------------------------------

  /**
   * Maps a slot to free frames, in order, from frame `first` on if given. The caller has checked
   * that slots do not overlap.
   */
  addSlot(slot: MemorySlot, first = this.findFree(slot.size / PAGE_SIZE)): void {
    const count = slot.size / PAGE_SIZE;
    if (first < 0) {
      throw new VmmError('out-of-memory', `no room for memory slot ${slot.name}`, {
        remedy: 'give the VM more system memory',
      });
    }
    this.used.fill(1, first, first + count);
    this.slots.set(slot.id, { slot, frame: first });
    const readOnly = slot.readOnly ? READ_ONLY : 0;
    const page = slot.gpa / PAGE_SIZE;
    for (let i = 0; i < count; i++) this.setEntry(page + i, (((first + i) << 1) | readOnly) + 1);
    this.flushAll();
  }

  /** Takes a free frame that no slot gets from now on, the last one; its number, or -1. */
  reserve(): number {
    const frame = this.used.lastIndexOf(0);
    if (frame >= 0) this.used[frame] = 1;
    return frame;
  }

  /** Unmaps a slot; its frames read as zeros when they are used again. */
  removeSlot(id: number): void {
    const entry = this.slots.get(id);
    if (entry === undefined) {
      throw new VmmError('invalid-argument', `there is no memory slot ${id}`);
    }
    const { slot, frame } = entry;
    const count = slot.size / PAGE_SIZE;
    this.slots.delete(id);
    for (let i = 0; i < count; i++) {
      this.setEntry(slot.gpa / PAGE_SIZE + i, 0);
      this.dropCode(frame + i, 0, PAGE_SIZE);
      this.flags[frame + i] &= ~(FRAME_DIRTY | FRAME_ZEROS);
    }
    this.bytes.fill(0, frame * PAGE_SIZE, (frame + count) * PAGE_SIZE);
    this.keys.tags.fill(0, frame, frame + count);
    this.keys.blank.fill(1, frame, frame + count);
    this.used.fill(0, frame, frame + count);
    this.flushAll();
  }

  /** Maps the page of `gpa` to the system-physical page `spa`; read-only stays read-only. */
  remap(gpa: number, spa: number): void {
    const page = Math.floor(gpa / PAGE_SIZE);
    const entry = this.entry(page);
    const aligned = gpa % PAGE_SIZE === 0 && spa % PAGE_SIZE === 0;
    if (!aligned || entry === 0 || spa < 0 || spa >= this.bytes.length) {
      throw new VmmError('invalid-argument', `cannot map guest page ${gpa} to system page ${spa}`, {
        remedy: 'name a page of a memory slot and a page of system memory',
      });
    }
    this.setEntry(page, (((spa / PAGE_SIZE) << 1) | (isReadOnly(entry) ? READ_ONLY : 0)) + 1);
    this.flushAll();
  }

  /** System-physical address of the page of `gpa`, or -1 where no slot is. */
  locate(gpa: number): number {
    const page = Math.floor(gpa / PAGE_SIZE);
    const entry = page < this.lowPages ? this.low[page] : (this.high.get(page) ?? 0);
    return entry === 0 ? -1 : spaOf(entry);
  }

  /** System-physical address of page number `page`, plus 1 for a read-only one; -1 nowhere. */
  place(page: number): number {
    const entry = page < this.lowPages ? this.low[page] : (this.high.get(page) ?? 0);
    return entry === 0 ? -1 : spaOf(entry) + ((entry - 1) & READ_ONLY);
  }

  /** The raw entry of page number `page`, for `spaOf` and `isReadOnly`; 0 where no slot is. */
  entry(page: number): number {
    return page < this.lowPages ? this.low[page] : (this.high.get(page) ?? 0);
  }

  private setEntry(page: number, entry: number): void {
    if (page < this.lowPages) this.low[page] = entry;
    else if (entry === 0) this.high.delete(page);
    else this.high.set(page, entry);
  }

  private findFree(count: number): number {
    let run = 0;
    for (let frame = 0; frame < this.frames; frame++) {
      run = this.used[frame] === 0 ? run + 1 : 0;
      if (run === count) return frame - count + 1;
    }
    return -1;
  }

  /** Drops every translation, and what is remembered of verdicts. */
  flushAll(): void {
    this.verdicts.forget();
    for (const cache of this.caches) cache.flushAll();
  }

  // --- Code and dirty pages -------------------------------------------------------------------

  /**
   * Notes that the op cache holds code of `frame`, its bytes from `start` up to `end`: from now on
   * writes to it are seen.
   */
  markCode(frame: number, start = 0, end = PAGE_SIZE): void {
    const { lines } = this.tables;
    lines[frame * 2] |= lineMask(start, end);
    lines[frame * 2 + 1] |= lineMask(start - HALF, end - HALF);
    const flags = this.flags[frame];
    this.flags[frame] = (flags & ~FRAME_TAGGED) | FRAME_CODE;
    if ((flags & FRAME_TAGGED) === 0) return;
    const host = this.ramBase + frame * PAGE_SIZE;
    for (const cache of this.caches) cache.dropWriteTags(host);
  }

  /** Notes that the op cache holds nothing of `frame` any more. */
  clearCode(frame: number): void {
    this.flags[frame] &= ~FRAME_CODE;
    this.tables.lines.fill(0, frame * 2, frame * 2 + 2);
  }

  /** Whether code may lie in `length` bytes at `offset` of `frame`. */
  private holdsCode(frame: number, offset: number, length: number): boolean {
    const { lines } = this.tables;
    const end = offset + length;
    const low = lines[frame * 2] & lineMask(offset, end);
    return (low | (lines[frame * 2 + 1] & lineMask(offset - HALF, end - HALF))) !== 0;
  }

  /** To be called after every write that did not go through a TLB write tag. */
  noteWrite(host: number, length: number): void {
    const spa = host - this.ramBase;
    const frame = Math.floor(spa / PAGE_SIZE);
    const flags = this.flags[frame];
    if (isWritten(flags) && (flags & FRAME_CODE) === 0) return;
    this.markDirty(frame);
    if ((flags & FRAME_CODE) !== 0) this.dropCode(frame, spa & (PAGE_SIZE - 1), length);
  }

  /** Notes that `frame` is written, or may be from now on by a write tag. */
  markDirty(frame: number): void {
    const flags = this.flags[frame];
    if (isWritten(flags)) return;
    this.flags[frame] = (flags | FRAME_DIRTY) & ~FRAME_ZEROS;
    this.keys.blank[frame] = 0;
    if ((flags & FRAME_DIRTY) === 0) this.onDirty(frame);
  }

  /** Notes that zeros were written all over `frame`, which is blank and stays so. */
  noteZeros(frame: number): void {
    const flags = this.flags[frame];
    this.flags[frame] = flags | FRAME_DIRTY | FRAME_ZEROS;
    if ((flags & FRAME_DIRTY) === 0) this.onDirty(frame);
  }

  /** Notes that a TLB holds a translation from `page` (the low half of its address) to `frame`. */
  noteCached(frame: number, page: number): void {
    const flags = this.flags[frame];
    const { cached } = this.tables;
    if ((flags & FRAME_CACHED) === 0) cached[frame] = page;
    else if (cached[frame] !== page) this.flags[frame] |= FRAME_ALIASED;
    this.flags[frame] |= FRAME_CACHED;
  }

  /** What the frame holds is about to be kept under another key. */
  private dropFrame(frame: number): void {
    const flags = this.flags[frame];
    if ((flags & FRAME_CACHED) !== 0) {
      const host = this.ramBase + frame * PAGE_SIZE;
      const page = (flags & FRAME_ALIASED) === 0 ? this.tables.cached[frame] : undefined;
      for (const cache of this.caches) cache.dropFrame(host, page);
      this.flags[frame] = flags & ~(FRAME_TAGGED | FRAME_CACHED | FRAME_ALIASED);
    }
    this.dropCode(frame, 0, PAGE_SIZE);
  }

  private dropCode(frame: number, offset: number, length: number): void {
    if ((this.flags[frame] & FRAME_CODE) === 0) return;
    if (this.holdsCode(frame, offset, length)) this.onCodeWrite(frame, offset, length);
  }

  // --- MemoryBacking --------------------------------------------------------------------------

  written(offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const size = Math.min(PAGE_SIZE - (at % PAGE_SIZE), length - done);
      this.noteWrite(this.ramBase + at, size);
      done += size;
    }
  }

  ciphertext(offset: number): Uint8Array | null {
    const frame = offset / PAGE_SIZE;
    return this.keys.tags[frame] === 0 ? null : this.keys.view(frame, 0);
  }

  storeCiphertext(offset: number, frame: Uint8Array): void {
    this.keys.replace(offset / PAGE_SIZE, 0, frame);
  }

  convert(_gpa: number, _length: number, to: 'private' | 'shared'): void {
    if (to === 'shared') return;
    const encrypted = this.keys.cipher !== null;
    throw new VmmError(
      'unsupported',
      encrypted
        ? 'the guest of this VM chooses by its page tables what is private'
        : 'this VM has no encrypted memory',
      { remedy: encrypted ? 'leave it to the guest' : 'add a memory encryption plugin' },
    );
  }

  takeDirty(): Uint32Array {
    const pages: number[] = [];
    for (const { slot } of [...this.slots.values()].sort((a, b) => a.slot.gpa - b.slot.gpa)) {
      for (let at = slot.gpa; at < slot.gpa + slot.size; at += PAGE_SIZE) {
        const frame = this.locate(at) / PAGE_SIZE;
        if ((this.flags[frame] & FRAME_DIRTY) !== 0) pages.push(at / PAGE_SIZE);
      }
    }
    for (let frame = 0; frame < this.frames; frame++) this.flags[frame] &= ~FRAME_DIRTY;
    // Write tags were given to dirty frames only: they must be earned again.
    this.flushAll();
    return Uint32Array.from(pages);
  }

  /** The map for a snapshot: pairs of page and frame that differ from the slots' order. */
  remappedPages(): number[] {
    const changed: number[] = [];
    for (const { slot, frame } of this.slots.values()) {
      for (let i = 0; i < slot.size / PAGE_SIZE; i++) {
        const now = this.locate(slot.gpa + i * PAGE_SIZE) / PAGE_SIZE;
        if (now !== frame + i) changed.push(slot.gpa / PAGE_SIZE + i, now);
      }
    }
    return changed;
  }

  /** Puts the map into the state that `remappedPages` described. */
  restoreRemapped(changed: readonly number[]): void {
    for (const { slot, frame } of this.slots.values()) {
      for (let i = 0; i < slot.size / PAGE_SIZE; i++) {
        const at = slot.gpa + i * PAGE_SIZE;
        if (this.locate(at) !== (frame + i) * PAGE_SIZE) this.remap(at, (frame + i) * PAGE_SIZE);
      }
    }
    for (let i = 0; i + 1 < changed.length; i += 2) {
      this.remap(changed[i] * PAGE_SIZE, changed[i + 1] * PAGE_SIZE);
    }
  }
}
