/**
 * Device status and the feature bits that belong to no device type.
 *
 * Source: virtio 1.2, 2.1 (device status field), 2.2 and 6 (feature bits).
 */

export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 64;
export const STATUS_FAILED = 128;

export const F_INDIRECT_DESC = 28;
export const F_EVENT_IDX = 29;
export const F_VERSION_1 = 32;
export const F_ACCESS_PLATFORM = 33;
export const F_RING_PACKED = 34;

/** A set of feature bits 0 to 63: what the guest sees as two words of 32 bits. */
export class FeatureSet {
  private readonly words: readonly [number, number];

  constructor(low: number, high: number) {
    this.words = [low >>> 0, high >>> 0];
  }

  static of(bits: Iterable<number>): FeatureSet {
    const words: [number, number] = [0, 0];
    for (const bit of bits) words[bit >> 5]! |= 1 << (bit & 31);
    return new FeatureSet(...words);
  }

  has(bit: number): boolean {
    return ((this.words[bit >> 5]! >>> (bit & 31)) & 1) !== 0;
  }

  /** Word 0 is bits 0 to 31, word 1 bits 32 to 63; others are 0. */
  word(index: number): number {
    return index === 0 || index === 1 ? this.words[index] : 0;
  }

  withWord(index: number, value: number): FeatureSet {
    if (index === 0) return new FeatureSet(value, this.words[1]);
    // Feature bits above 63 are never offered: writing them has no effect.
    return index === 1 ? new FeatureSet(this.words[0], value) : this;
  }

  isSubsetOf(other: FeatureSet): boolean {
    return [0, 1].every((index) => (this.word(index) & ~other.word(index)) === 0);
  }
}
