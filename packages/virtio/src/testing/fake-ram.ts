/**
 * Guest memory for tests: RAM from address 0, and a note of every access that went beside it.
 */
import type { DmaView, GuestRange } from '@cloister/core';

export class FakeRam implements DmaView {
  restricted = false;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Accesses that were refused, e.g. `write 0xd0000000+4`. */
  readonly refused: string[] = [];
  /** Called with every read before it is made: a test may change memory under the device. */
  onRead: ((gpa: number, length: number) => void) | null = null;
  /** Called with every write before it is made. */
  onWrite: ((gpa: number, length: number) => void) | null = null;
  /** Bytes that `covers` answers for: more than there are, to try lengths without the memory. */
  claimed: number;
  private next: number;

  /** `reserved` bytes at the start are never allocated. */
  constructor(size = 1 << 20, reserved = 0x1000) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    this.claimed = size;
    this.next = reserved;
  }

  read(gpa: number, target: Uint8Array): boolean {
    this.onRead?.(gpa, target.length);
    if (!this.holds(gpa, target.length)) return this.refuse('read', gpa, target.length);
    target.set(this.bytes.subarray(gpa, gpa + target.length));
    return true;
  }

  write(gpa: number, source: Uint8Array): boolean {
    this.onWrite?.(gpa, source.length);
    if (!this.holds(gpa, source.length)) return this.refuse('write', gpa, source.length);
    this.bytes.set(source, gpa);
    return true;
  }

  covers(gpa: number, length: number): boolean {
    return Number.isSafeInteger(gpa) && gpa >= 0 && gpa + length <= this.claimed;
  }

  withSpans(
    ranges: readonly GuestRange[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean {
    if (!ranges.every(({ gpa, length }) => this.holds(gpa, length))) return false;
    for (const { gpa, length } of ranges) {
      if (access === 'read') this.onRead?.(gpa, length);
      else this.onWrite?.(gpa, length);
    }
    fn(ranges.map(({ gpa, length }) => this.bytes.subarray(gpa, gpa + length)));
    return true;
  }

  private holds(gpa: number, length: number): boolean {
    return Number.isSafeInteger(gpa) && gpa >= 0 && gpa + length <= this.bytes.length;
  }

  /** The address of `size` fresh bytes, zeroed. */
  allocate(size: number, alignment = 16): number {
    const gpa = Math.ceil(this.next / alignment) * alignment;
    if (gpa + size > this.bytes.length) throw new RangeError('the fake RAM is full');
    this.next = gpa + size;
    this.bytes.fill(0, gpa, gpa + size);
    return gpa;
  }

  /** The address of a copy of `data`. */
  place(data: Uint8Array): number {
    const gpa = this.allocate(Math.max(1, data.length));
    this.bytes.set(data, gpa);
    return gpa;
  }

  /** A copy of what lies at `gpa`. */
  at(gpa: number, length: number): Uint8Array {
    return this.bytes.slice(gpa, gpa + length);
  }

  private refuse(what: string, gpa: number, length: number): false {
    this.refused.push(`${what} 0x${gpa.toString(16)}+${length}`);
    return false;
  }
}
