/**
 * A set of 256 interrupt vectors (IRR, ISR, TMR) as eight 32-bit words.
 *
 * Source: AMD APM vol. 2, 16.6.3.
 */
export class VectorSet {
  readonly words = new Uint32Array(8);

  has(vector: number): boolean {
    return (this.words[vector >>> 5]! & (1 << (vector & 31))) !== 0;
  }

  add(vector: number): void {
    this.words[vector >>> 5]! |= 1 << (vector & 31);
  }

  delete(vector: number): void {
    this.words[vector >>> 5]! &= ~(1 << (vector & 31));
  }

  put(vector: number, present: boolean): void {
    if (present) this.add(vector);
    else this.delete(vector);
  }

  clear(): void {
    this.words.fill(0);
  }

  /** The highest vector, or -1. */
  highest(): number {
    for (let index = 7; index >= 0; index--) {
      const word = this.words[index]!;
      if (word !== 0) return index * 32 + 31 - Math.clz32(word);
    }
    return -1;
  }
}
