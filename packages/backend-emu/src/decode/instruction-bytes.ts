/**
 * The bytes of one instruction, read in order. Reading past the end gives zeros and is noted.
 */

/** Bytes that an instruction may have. AMD APM vol. 3, 1.1. */
export const MAX_LENGTH = 15;

export class InstructionBytes {
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  #at = 0;
  #end = 0;
  /** More was asked for than there is. */
  overrun = false;

  /** Begins at `start`; bytes from `end` on are not there. */
  open(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes;
    this.#start = start;
    this.#at = start;
    this.#end = Math.min(end, start + MAX_LENGTH);
    this.overrun = false;
  }

  /** Bytes read. */
  get length(): number {
    return this.#at - this.#start;
  }

  /** Whether the limit of an instruction, not of the bytes, is what reading ended at. */
  get full(): boolean {
    return this.#end - this.#start === MAX_LENGTH;
  }

  u8(): number {
    if (this.#at >= this.#end) {
      this.overrun = true;
      return 0;
    }
    return this.#bytes[this.#at++];
  }

  /** The next byte, which stays there; 0 where there is none. */
  get next(): number {
    return this.#at < this.#end ? this.#bytes[this.#at] : 0;
  }

  /** Signed little-endian value of 1, 2 or 4 bytes. */
  signed(count: number): number {
    if (count === 1) return (this.u8() << 24) >> 24;
    const low = this.u8() | (this.u8() << 8);
    if (count === 2) return (low << 16) >> 16;
    return low | (this.u8() << 16) | (this.u8() << 24);
  }
}
