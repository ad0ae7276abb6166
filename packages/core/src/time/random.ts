/**
 * Seeded randomness: xoshiro128** by D. Blackman and S. Vigna (https://prng.di.unimi.it/), seeded
 * through SplitMix64 as its authors advise.
 *
 * Every consumer has a generator of its own, derived from the VM's seed and the consumer's name, so
 * that adding a device does not shift what the others see. Repeatable by design, therefore not
 * cryptographic: a guest whose secrets matter gets its entropy from hardware.
 */
import type { Random, Snapshot, Snapshotable } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

const MASK64 = (1n << 64n) - 1n;

/** The largest seed: 64 bits. */
export const SEED_MAX = MASK64;

function splitMix64(state: bigint): () => bigint {
  let x = state & MASK64;
  return () => {
    x = (x + 0x9e3779b97f4a7c15n) & MASK64;
    let z = x;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK64;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK64;
    return z ^ (z >> 31n);
  };
}

/** FNV-1a over the UTF-16 units of `name`, 64 bits. */
function hashName(name: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let i = 0; i < name.length; i++) {
    hash = ((hash ^ BigInt(name.charCodeAt(i))) * 0x100000001b3n) & MASK64;
  }
  return hash;
}

/** A number below `bound` that depends on the seed and the name alone. */
export function deriveNumber(seed: bigint, name: string, bound: number): number {
  return Number(splitMix64(seed ^ hashName(name))() % BigInt(bound));
}

/** A generator that can be saved. */
export type SeededRandom = Random & Snapshotable;

const TYPE = 'random-xoshiro128';

class Xoshiro128 implements SeededRandom {
  private readonly s = new Uint32Array(4);

  constructor(seed: bigint, name: string) {
    const next = splitMix64(seed ^ hashName(name));
    const [a, b] = [next(), next()];
    this.s.set([a, a >> 32n, b, b >> 32n].map((word) => Number(word & 0xffffffffn)));
    // The all-zero state is the one that never leaves itself.
    if (this.s.every((word) => word === 0)) this.s[0] = 1;
  }

  u32(): number {
    const s = this.s;
    const product = Math.imul(s[1]!, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = (s[3]! << 11) | (s[3]! >>> 21);
    return result;
  }

  fill(target: Uint8Array): void {
    for (let i = 0; i < target.length; i += 4) {
      const word = this.u32();
      for (let j = 0; j < 4 && i + j < target.length; j++) target[i + j] = word >>> (8 * j);
    }
  }

  snapshot(): Snapshot {
    return { type: TYPE, version: 1, state: [...this.s] };
  }

  restore({ type, version, state }: Snapshot): void {
    const words = Array.isArray(state) ? (state as readonly unknown[]) : [];
    const good = words.length === 4 && words.every((word) => Number.isInteger(word));
    if (type !== TYPE || version !== 1 || !good) {
      throw new VmmError('snapshot-mismatch', `not the state of a random generator: ${type}`);
    }
    this.s.set(words as readonly number[]);
  }
}

/** The generator of consumer `name` in a VM with `seed`. */
export function seededRandom(seed: bigint, name: string): SeededRandom {
  return new Xoshiro128(seed, name);
}
