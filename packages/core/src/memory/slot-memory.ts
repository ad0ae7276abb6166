/**
 * Guest memory over the system-physical bytes that a backend keeps.
 *
 * Everything goes page by page through `MemoryBacking.locate`, because neighbouring guest pages
 * need not be neighbours in system memory and each may be kept under its own key. Where a page is
 * kept under a key the host sees ciphertext: reads decode nothing, and a partial write re-encodes
 * the whole page, as a hypervisor's write to private memory garbles what the guest reads there.
 */
import type {
  DmaView,
  GuestMemory,
  GuestRange,
  MemoryBacking,
  MemorySlot,
} from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { PAGE_SIZE, SlotTable } from './slot-table.js';

/** Guest memory whose slots can change. */
export interface SlotMemory extends GuestMemory {
  /** Adds a slot; `VmmError('invalid-argument')` if it is not page-aligned or overlaps. */
  addSlot(slot: MemorySlot): void;
  /** Removes and returns a slot; `VmmError('invalid-argument')` if there is none. */
  removeSlot(id: number): MemorySlot;
  /** The slot that holds `gpa`. */
  slotAt(gpa: number): MemorySlot | undefined;
}

function isRange(gpa: number, length: number): boolean {
  return Number.isSafeInteger(gpa) && gpa >= 0 && Number.isSafeInteger(length) && length >= 0;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Frames one after the other, of guest pages one after the other. Bytes. */
interface FrameRun {
  readonly offset: number;
  readonly gpa: number;
  readonly length: number;
}

class PagedMemory implements SlotMemory {
  private readonly table = new SlotTable();

  constructor(private readonly backing: MemoryBacking) {}

  get slots(): readonly MemorySlot[] {
    return this.table.slots;
  }

  get ramSize(): number {
    return this.table.ramSize;
  }

  addSlot(slot: MemorySlot): void {
    this.table.add(slot);
  }

  removeSlot(id: number): MemorySlot {
    return this.table.remove(id);
  }

  slotAt(gpa: number): MemorySlot | undefined {
    return this.table.find(gpa);
  }

  covers(gpa: number, length: number, access: 'read' | 'write' = 'read'): boolean {
    return isRange(gpa, length) && this.table.covers(gpa, length, access === 'write');
  }

  read(gpa: number, target: Uint8Array): void {
    this.require(gpa, target.length);
    this.copyOut(gpa, target);
  }

  write(gpa: number, source: Uint8Array): void {
    this.require(gpa, source.length);
    this.copyIn(gpa, source);
  }

  tryRead(gpa: number, target: Uint8Array): boolean {
    if (!this.covers(gpa, target.length)) return false;
    this.copyOut(gpa, target);
    return true;
  }

  tryWrite(gpa: number, source: Uint8Array): boolean {
    if (!this.covers(gpa, source.length, 'write')) return false;
    this.copyIn(gpa, source);
    return true;
  }

  fill(gpa: number, length: number, byte: number): void {
    this.require(gpa, length);
    this.eachPage(gpa, length, (offset, inPage, size) => {
      this.change(offset, inPage, size, (frame, from) => frame.fill(byte, from, from + size));
    });
  }

  scan(gpa: number, length: number, needle: Uint8Array): number {
    this.require(gpa, length);
    if (needle.length === 0) return gpa;
    if (needle.length > length) return -1;
    // Pieces overlap by the needle's length less one, so that no place is missed.
    const piece = new Uint8Array(Math.min(length, Math.max(16 * PAGE_SIZE, 2 * needle.length)));
    const step = piece.length - needle.length + 1;
    for (let done = 0; done + needle.length <= length; done += step) {
      const part = piece.subarray(0, Math.min(piece.length, length - done));
      this.copyOut(gpa + done, part);
      const found = indexOf(part, needle);
      if (found >= 0) return gpa + done + found;
    }
    return -1;
  }

  withSpan(
    gpa: number,
    length: number,
    access: 'read' | 'write',
    fn: (span: Uint8Array, gpa: number) => void,
  ): void {
    this.require(gpa, length);
    this.eachPage(gpa, length, (offset, inPage, size, at) => {
      const lend = (frame: Uint8Array, from: number) => fn(frame.subarray(from, from + size), at);
      if (access === 'write') this.change(offset, inPage, size, lend);
      // What is lent for reading is a copy: the buffer itself never leaves this file.
      else lend(this.view(offset).slice(inPage, inPage + size), 0);
    });
  }

  withSpans(
    ranges: readonly GuestRange[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean {
    const spans = this.plainSpans(ranges, access);
    if (spans === null) return false;
    try {
      // The list is the borrower's, what was written is told by our own.
      fn(access === 'write' ? [...spans] : spans);
    } finally {
      // What failed half-way has written, too.
      const { byteOffset } = this.backing.bytes;
      for (let i = 0; access === 'write' && i < spans.length; i++) {
        const span = spans[i]!;
        this.noteWritten(span.byteOffset - byteOffset, span.length);
      }
    }
    return true;
  }

  /** Runs of plain frames; null where a byte is not backed or a frame is under a key. */
  private plainSpans(
    ranges: readonly GuestRange[],
    access: 'read' | 'write',
  ): readonly Uint8Array[] | null {
    const { bytes } = this.backing;
    const spans: Uint8Array[] = [];
    let start = 0;
    let end = 0;
    for (const { gpa, length } of ranges) {
      if (!this.covers(gpa, length, access)) return null;
      for (let done = 0; done < length; ) {
        const offset = this.offsetOf(gpa + done);
        const run = this.plainRun(gpa + done, offset, length - done);
        if (run === 0) return null;
        if (offset !== end) {
          if (end > start) spans.push(bytes.subarray(start, end));
          start = offset;
        }
        end = offset + run;
        done += run;
      }
    }
    if (end > start) spans.push(bytes.subarray(start, end));
    return spans;
  }

  convert(gpa: number, length: number, to: 'private' | 'shared'): void {
    this.require(gpa, length);
    if (gpa % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0) {
      throw new VmmError('invalid-argument', `${hex(gpa)}+${hex(length)} is not whole pages`);
    }
    for (let at = gpa; at < gpa + length; ) {
      const slot = this.table.find(at)!;
      if (!slot.encryptable) {
        throw new VmmError('invalid-argument', `memory slot ${slot.name} cannot be private`);
      }
      at = slot.gpa + slot.size;
    }
    this.backing.convert(gpa, length, to);
  }

  discard(gpa: number, length: number): void {
    this.require(gpa, length);
    let run: FrameRun = { offset: 0, gpa, length: 0 };
    this.eachPage(gpa, length, (offset, _inPage, size, at) => {
      const plain = size === PAGE_SIZE && this.backing.ciphertext(offset) === null;
      if (plain && offset === run.offset + run.length) run = { ...run, length: run.length + size };
      else {
        this.release(run);
        run = { offset, gpa: at, length: plain ? size : 0 };
        if (!plain) this.fill(at, size, 0);
      }
    });
    this.release(run);
  }

  /** Frees frames that lie one after the other. */
  private release({ offset, gpa, length }: FrameRun): void {
    if (length === 0) return;
    if (this.backing.free?.(offset, length) === true) {
      for (let at = 0; at < length; at += PAGE_SIZE) this.backing.written(offset + at, PAGE_SIZE);
    } else this.fill(gpa, length, 0);
  }

  takeDirty(): Uint32Array {
    return this.backing.takeDirty();
  }

  private require(gpa: number, length: number): void {
    if (this.covers(gpa, length)) return;
    throw new VmmError(
      'invalid-argument',
      `guest memory ${hex(gpa)}+${hex(length)} is not backed by any slot`,
    );
  }

  /** The host's view of the frame at `offset`: 4096 bytes, ciphertext where it is private. */
  private view(offset: number): Uint8Array {
    return (
      this.backing.ciphertext(offset) ?? this.backing.bytes.subarray(offset, offset + PAGE_SIZE)
    );
  }

  private change(
    offset: number,
    inPage: number,
    size: number,
    edit: (frame: Uint8Array, from: number) => void,
  ): void {
    const cipher = this.backing.ciphertext(offset);
    if (cipher !== null) {
      edit(cipher, inPage);
      this.backing.storeCiphertext(offset, cipher);
      this.backing.written(offset + inPage, size);
      return;
    }
    try {
      edit(this.backing.bytes.subarray(offset, offset + PAGE_SIZE), inPage);
    } finally {
      // What failed half-way has written, too.
      this.backing.written(offset + inPage, size);
    }
  }

  private copyOut(gpa: number, target: Uint8Array): void {
    const { backing } = this;
    const { length } = target;
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const offset = this.offsetOf(at);
      const run = this.plainRun(at, offset, length - done);
      if (run > 0) {
        copy(target, done, backing.bytes, offset, run);
        done += run;
        continue;
      }
      const inPage = at % PAGE_SIZE;
      const size = Math.min(PAGE_SIZE - inPage, length - done);
      copy(target, done, this.view(offset - inPage), inPage, size);
      done += size;
    }
  }

  private copyIn(gpa: number, source: Uint8Array): void {
    const { backing } = this;
    const { length } = source;
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const offset = this.offsetOf(at);
      const run = this.plainRun(at, offset, length - done);
      if (run > 0) {
        copy(backing.bytes, offset, source, done, run);
        this.noteWritten(offset, run);
        done += run;
        continue;
      }
      const inPage = at % PAGE_SIZE;
      const size = Math.min(PAGE_SIZE - inPage, length - done);
      this.change(offset - inPage, inPage, size, (frame, from) =>
        copy(frame, from, source, done, size),
      );
      done += size;
    }
  }

  /** Offset of the byte at `gpa`, which a slot holds. */
  private offsetOf(gpa: number): number {
    const inPage = gpa % PAGE_SIZE;
    const offset = this.backing.locate(gpa - inPage);
    if (offset >= 0) return offset + inPage;
    throw new VmmError('internal', `the backend has no memory for slot address ${hex(gpa)}`);
  }

  /** How many bytes from `gpa` on, at `offset`, lie in plain frames one after the other. */
  private plainRun(gpa: number, offset: number, most: number): number {
    const { backing } = this;
    const inPage = gpa % PAGE_SIZE;
    if (backing.ciphertext(offset - inPage) !== null) return 0;
    let run = PAGE_SIZE - inPage;
    while (run < most && backing.locate(gpa + run) === offset + run) {
      if (backing.ciphertext(offset + run) !== null) break;
      run += PAGE_SIZE;
    }
    return Math.min(run, most);
  }

  private noteWritten(offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const size = Math.min(PAGE_SIZE - (at % PAGE_SIZE), length - done);
      this.backing.written(at, size);
      done += size;
    }
  }

  private eachPage(
    gpa: number,
    length: number,
    visit: (offset: number, inPage: number, size: number, gpa: number) => void,
  ): void {
    let at = gpa;
    const end = gpa + length;
    while (at < end) {
      const inPage = at % PAGE_SIZE;
      const size = Math.min(PAGE_SIZE - inPage, end - at);
      visit(this.offsetOf(at - inPage), inPage, size, at);
      at += size;
    }
  }
}

/** Up to here a loop is quicker than two views. */
const SHORT = 32;

function copy(
  target: Uint8Array,
  to: number,
  source: Uint8Array,
  from: number,
  length: number,
): void {
  if (length > SHORT) {
    const whole = from === 0 && length === source.length;
    target.set(whole ? source : source.subarray(from, from + length), to);
    return;
  }
  for (let i = 0; i < length; i++) target[to + i] = source[from + i]!;
}

function indexOf(haystack: Uint8Array, needle: Uint8Array): number {
  const first = needle[0]!;
  const last = haystack.length - needle.length;
  for (let at = haystack.indexOf(first); at >= 0 && at <= last; ) {
    let same = 1;
    while (same < needle.length && haystack[at + same] === needle[same]) same++;
    if (same === needle.length) return at;
    at = haystack.indexOf(first, at + 1);
  }
  return -1;
}

/** Guest memory over `backing`, without slots at first. */
export function slotMemory(backing: MemoryBacking): SlotMemory {
  return new PagedMemory(backing);
}

/** A class, since V8 is slow to find what an object literal with a getter has. */
class DeviceMemory implements DmaView {
  readonly #memory: () => GuestMemory;
  readonly #isRestricted: () => boolean;

  constructor(memory: () => GuestMemory, isRestricted: () => boolean) {
    this.#memory = memory;
    this.#isRestricted = isRestricted;
  }

  get restricted(): boolean {
    return this.#isRestricted();
  }

  read(gpa: number, target: Uint8Array): boolean {
    return this.#memory().tryRead(gpa, target);
  }

  write(gpa: number, source: Uint8Array): boolean {
    return this.#memory().tryWrite(gpa, source);
  }

  covers(gpa: number, length: number, access: 'read' | 'write'): boolean {
    return this.#memory().covers(gpa, length, access);
  }

  withSpans(
    ranges: readonly GuestRange[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean {
    return this.#memory().withSpans(ranges, access, fn);
  }
}

/** What a DMA-capable device sees of `memory`: no error but `false`. */
export function dmaView(memory: () => GuestMemory, restricted = () => false): DmaView {
  return new DeviceMemory(memory, restricted);
}
