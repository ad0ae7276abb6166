/** A queue of bytes; its users keep it bounded. */

/** Taken bytes that may stay at the front of the array. */
const COMPACT_AT = 4096;

/** Bytes, first in first out. */
export class ByteQueue {
  private items: number[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  push(byte: number): void {
    this.items.push(byte);
  }

  peek(): number {
    return this.items[this.head] ?? 0;
  }

  shift(): number {
    const byte = this.peek();
    this.head++;
    // Rarely, so that taking a byte stays cheap and the array stays short.
    if (this.head === this.items.length || this.head >= COMPACT_AT) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return byte;
  }

  clear(): void {
    this.items = [];
    this.head = 0;
  }

  toBytes(): Uint8Array {
    return Uint8Array.from(this.items.slice(this.head));
  }

  load(source: Uint8Array): void {
    this.items = Array.from(source);
    this.head = 0;
  }
}
