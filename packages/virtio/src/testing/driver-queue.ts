/**
 * The driver's side of a virtqueue, for tests: puts buffers into a ring and takes used ones out.
 *
 * `SplitDriverQueue` and `PackedDriverQueue` also hand out the places of their fields, so that a
 * test can break any rule.
 */
import type { FakeRam } from './fake-ram.js';

/** A buffer as its descriptors say it. */
export interface DriverSegment {
  readonly gpa: number;
  readonly length: number;
  readonly write: boolean;
}

export interface UsedBuffer {
  /** The id under which `add` returned it. */
  readonly id: number;
  /** Bytes that the device says it wrote. */
  readonly written: number;
}

export interface DriverQueue {
  readonly size: number;
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  /** Makes a buffer available; its id. `indirect` puts its descriptors into a table. */
  add(segments: readonly DriverSegment[], indirect?: boolean): number;
  /** The next buffer that the device used, null when there is none. */
  take(): UsedBuffer | null;
  /** Whether the device asks for a notification of what was added last. */
  wantsNotify(): boolean;
  /** Asks for no notifications, or for them. */
  setInterrupts(on: boolean): void;
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** Writes a split descriptor (2.7.5). */
export function writeSplitDescriptor(
  ram: FakeRam,
  gpa: number,
  segment: DriverSegment,
  flags: number,
  next: number,
): void {
  const { view } = ram;
  view.setBigUint64(gpa, BigInt(segment.gpa), true);
  view.setUint32(gpa + 8, segment.length, true);
  view.setUint16(gpa + 12, flags | (segment.write ? WRITE : 0), true);
  view.setUint16(gpa + 14, next, true);
}

export class SplitDriverQueue implements DriverQueue {
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  private readonly free: number[];
  private readonly chains = new Map<number, number[]>();
  private lastUsed = 0;

  constructor(
    private readonly ram: FakeRam,
    readonly size: number,
    private readonly eventIdx: boolean,
  ) {
    this.desc = ram.allocate(16 * size, 16);
    this.driver = ram.allocate(6 + 2 * size, 2);
    this.device = ram.allocate(6 + 8 * size, 4);
    this.free = Array.from({ length: size }, (_, index) => index);
  }

  /** avail.idx */
  get availIdx(): number {
    return this.ram.view.getUint16(this.driver + 2, true);
  }

  set availIdx(value: number) {
    this.ram.view.setUint16(this.driver + 2, value & 0xffff, true);
  }

  get usedIdx(): number {
    return this.ram.view.getUint16(this.device + 2, true);
  }

  /** Address of used_event, behind the available ring. */
  get usedEvent(): number {
    return this.driver + 4 + 2 * this.size;
  }

  /** Address of avail_event, behind the used ring. */
  get availEvent(): number {
    return this.device + 4 + 8 * this.size;
  }

  add(segments: readonly DriverSegment[], indirect = false): number {
    const { ram } = this;
    const wanted = indirect ? 1 : segments.length;
    const taken = this.free.splice(0, wanted);
    if (taken.length < wanted) throw new RangeError('the queue is full');
    const [head] = taken as [number];
    if (indirect) {
      const table = ram.allocate(16 * segments.length);
      segments.forEach((segment, index) => {
        const last = index === segments.length - 1;
        const at = table + 16 * index;
        writeSplitDescriptor(ram, at, segment, last ? 0 : NEXT, last ? 0 : index + 1);
      });
      const whole = { gpa: table, length: 16 * segments.length, write: false };
      writeSplitDescriptor(ram, this.desc + 16 * head, whole, INDIRECT, 0);
    } else {
      segments.forEach((segment, index) => {
        const next = taken[index + 1];
        const at = this.desc + 16 * taken[index]!;
        writeSplitDescriptor(ram, at, segment, next === undefined ? 0 : NEXT, next ?? 0);
      });
    }
    this.chains.set(head, taken);
    this.offer(head);
    return head;
  }

  /** Puts a head into the available ring, whatever its descriptors say. */
  offer(head: number): void {
    const { ram, availIdx } = this;
    ram.view.setUint16(this.driver + 4 + 2 * (availIdx % this.size), head, true);
    this.availIdx = availIdx + 1;
  }

  take(): UsedBuffer | null {
    if (this.lastUsed === this.usedIdx) return null;
    const at = this.device + 4 + 8 * (this.lastUsed % this.size);
    const id = this.ram.view.getUint32(at, true);
    const written = this.ram.view.getUint32(at + 4, true);
    this.lastUsed = (this.lastUsed + 1) & 0xffff;
    this.free.push(...(this.chains.get(id) ?? []));
    this.chains.delete(id);
    if (this.eventIdx && this.wanted) this.ram.view.setUint16(this.usedEvent, this.lastUsed, true);
    return { id, written };
  }

  wantsNotify(): boolean {
    const { view } = this.ram;
    if (!this.eventIdx) return (view.getUint16(this.device, true) & 1) === 0;
    return view.getUint16(this.availEvent, true) === ((this.availIdx - 1) & 0xffff);
  }

  private wanted = true;

  setInterrupts(on: boolean): void {
    this.wanted = on;
    const { view } = this.ram;
    if (this.eventIdx) {
      // An event far ahead stands for none.
      const event = on ? this.lastUsed : this.lastUsed + 0x7fff;
      view.setUint16(this.usedEvent, event & 0xffff, true);
    } else view.setUint16(this.driver, on ? 0 : 1, true);
  }
}

export class PackedDriverQueue implements DriverQueue {
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  private next = 0;
  private wrap = true;
  private usedAt = 0;
  private usedWrap = true;
  private room: number;
  private readonly lengths = new Map<number, number>();
  private ids: number[];

  constructor(
    private readonly ram: FakeRam,
    readonly size: number,
    private readonly eventIdx: boolean,
  ) {
    this.desc = ram.allocate(16 * size, 16);
    this.driver = ram.allocate(4, 4);
    this.device = ram.allocate(4, 4);
    this.room = size;
    this.ids = Array.from({ length: size }, (_, index) => index);
  }

  add(segments: readonly DriverSegment[], indirect = false): number {
    const { ram } = this;
    const id = this.ids.shift();
    const list = indirect ? [this.table(segments)] : segments;
    if (id === undefined || list.length > this.room) throw new RangeError('the queue is full');
    this.room -= list.length;
    this.lengths.set(id, list.length);
    const first = { at: this.desc + 16 * this.next, flags: 0 };
    list.forEach((segment, index) => {
      const at = this.desc + 16 * this.next;
      const more = index < list.length - 1 ? NEXT : 0;
      const kind = indirect ? INDIRECT : segment.write ? WRITE : 0;
      const flags = more | kind | this.availableFlags;
      ram.view.setBigUint64(at, BigInt(segment.gpa), true);
      ram.view.setUint32(at + 8, segment.length, true);
      ram.view.setUint16(at + 12, id, true);
      // The first descriptor's flags make the whole chain available.
      if (index === 0) first.flags = flags;
      else ram.view.setUint16(at + 14, flags, true);
      this.next = (this.next + 1) % this.size;
      if (this.next === 0) this.wrap = !this.wrap;
    });
    ram.view.setUint16(first.at + 14, first.flags, true);
    return id;
  }

  private table(segments: readonly DriverSegment[]): DriverSegment {
    const { ram } = this;
    const table = ram.allocate(16 * segments.length);
    segments.forEach((segment, index) => {
      const at = table + 16 * index;
      ram.view.setBigUint64(at, BigInt(segment.gpa), true);
      ram.view.setUint32(at + 8, segment.length, true);
      ram.view.setUint16(at + 14, segment.write ? WRITE : 0, true);
    });
    return { gpa: table, length: 16 * segments.length, write: false };
  }

  /** AVAIL and USED flags of a descriptor that is made available now. */
  get availableFlags(): number {
    return this.wrap ? 1 << 7 : 1 << 15;
  }

  /** Address of the descriptor that is filled next. */
  get nextDescriptor(): number {
    return this.desc + 16 * this.next;
  }

  take(): UsedBuffer | null {
    const { view } = this.ram;
    const at = this.desc + 16 * this.usedAt;
    const flags = view.getUint16(at + 14, true);
    const avail = (flags & (1 << 7)) !== 0;
    const used = (flags & (1 << 15)) !== 0;
    if (avail !== this.usedWrap || used !== this.usedWrap) return null;
    const id = view.getUint16(at + 12, true);
    const written = (flags & WRITE) !== 0 ? view.getUint32(at + 8, true) : 0;
    const count = this.lengths.get(id) ?? 1;
    this.lengths.delete(id);
    this.ids.push(id);
    this.room += count;
    this.usedAt += count;
    if (this.usedAt >= this.size) {
      this.usedAt -= this.size;
      this.usedWrap = !this.usedWrap;
    }
    if (this.eventIdx && this.wanted) this.setInterrupts(true);
    return { id, written };
  }

  wantsNotify(): boolean {
    return (this.ram.view.getUint16(this.device + 2, true) & 3) !== 1;
  }

  private wanted = true;

  setInterrupts(on: boolean): void {
    this.wanted = on;
    const { view } = this.ram;
    const event = this.usedAt | (this.usedWrap ? 0x8000 : 0);
    view.setUint16(this.driver, event, true);
    view.setUint16(this.driver + 2, on ? (this.eventIdx ? 2 : 0) : 1, true);
  }
}
