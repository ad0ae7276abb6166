/**
 * Random operands that a seed repeats: a xorshift generator, and values that find faults sooner
 * than uniform ones.
 */

const INTEGERS = [
  0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fffffffn, 0x80000000n,
  0xffffffffn, 0x7fffffffffffffffn, 0x8000000000000000n, 0xffffffffffffffffn,
]; // biome-ignore format: table

/** Bit patterns of binary32: zero, least and greatest denormal and normal, one, infinity, NaNs. */
const SINGLES = [
  0, 1, 0x7fffff, 0x800000, 0x3f800000, 0x3fc00000, 0x4b000001, 0x4effffff, 0x4f000000, 0x5f000000,
  0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff,
]; // biome-ignore format: table

const DOUBLES = [
  0n, 1n, 0xfffffffffffffn, 0x10000000000000n, 0x3ff0000000000000n, 0x3ff8000000000000n,
  0x36a0000000000000n, 0x380fffffffffffffn, 0x41dfffffffc00000n, 0x41e0000000000000n,
  0x43e0000000000000n, 0x47efffffefffffffn, 0x7fefffffffffffffn, 0x7ff0000000000000n,
  0x7ff0000000000001n, 0x7ff8000000000000n, 0x7fffffffffffffffn,
]; // biome-ignore format: table

export class RandomSource {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
    // Seeds that differ in few bits begin alike.
    for (let i = 0; i < 8; i++) this.u32();
  }

  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 0 to `count` - 1. */
  below(count: number): number {
    return (this.u32() >>> 4) % count;
  }

  /** True once in `count`. */
  once(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** An operand: an edge of some size, a value of random width, or any. */
  integer(): bigint {
    switch (this.below(4)) {
      case 0:
        return this.pick(INTEGERS);
      case 1:
        return this.u64() >> BigInt(this.below(64));
      default:
        return this.u64();
    }
  }

  /** A bit pattern of binary32. */
  single(): number {
    const sign = this.once(2) ? 0x80000000 : 0;
    switch (this.below(6)) {
      case 0:
        return (this.pick(SINGLES) | sign) >>> 0;
      case 1:
        return this.u32();
      case 2:
        // Near one another, so that sums cancel and products round.
        return (0x3f000000 + this.below(0x1800000) + sign) >>> 0;
      case 3:
        // In the range of integers.
        return (0x3f000000 + this.below(0x12000000) + sign) >>> 0;
      case 4:
        // A short significand: exact results and halfway cases.
        return ((0x3e000000 + this.below(0x3000000)) & 0xfffff000) | sign;
      default:
        return (this.below(0x7f800000) | sign) >>> 0;
    }
  }

  /** A bit pattern of binary64. */
  double(): bigint {
    const sign = this.once(2) ? 1n << 63n : 0n;
    const fraction = this.u64() & 0xfffffffffffffn;
    const exponent = (low: number, count: number): bigint => BigInt(low + this.below(count)) << 52n;
    switch (this.below(6)) {
      case 0:
        return this.pick(DOUBLES) | sign;
      case 1:
        return this.u64();
      case 2:
        return exponent(1021, 5) | fraction | sign;
      case 3:
        return exponent(1020, 70) | fraction | sign;
      case 4:
        return exponent(1010, 40) | (fraction & 0xfffffe0000000n) | sign;
      default:
        return exponent(890, 260) | fraction | sign;
    }
  }
}
