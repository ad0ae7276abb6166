/**
 * Byte strings to decode: half of them built as instructions are (prefixes, opcode map, the rest at
 * random), a quarter of them mutations of the one before, the rest any bytes at all. A seed repeats
 * the sequence.
 */
import { RandomSource } from '../native-oracle/random.js';

/** Bytes of one string: more than an instruction can have. */
export const STRING_SIZE = 16;

const PREFIXES = [
  0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
]; // biome-ignore format: table
/** ModRM and displacement bytes that choose another encoding. */
/** Opcodes of the VEX instructions on general registers, and some of their neighbours. */
const VEX_OPCODES = [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8];
const EDGES = [0x00, 0x04, 0x05, 0x06, 0x24, 0x25, 0x44, 0x64, 0x80, 0x84, 0xc0, 0xc8, 0xff];

export class ByteStrings {
  readonly #random: RandomSource;
  readonly #last = new Uint8Array(STRING_SIZE);

  constructor(seed: number) {
    this.#random = new RandomSource(seed);
  }

  /** Writes the next string at `at`. */
  write(to: Uint8Array, at: number): void {
    switch (this.#random.below(4)) {
      case 0:
        this.#fill(0);
        break;
      case 1:
        this.#mutate();
        break;
      default:
        this.#build();
    }
    to.set(this.#last, at);
  }

  #fill(from: number): void {
    for (let i = from; i < STRING_SIZE; i += 4) {
      const word = this.#random.u32();
      for (let j = 0; j < 4 && i + j < STRING_SIZE; j++) this.#last[i + j] = word >>> (8 * j);
    }
  }

  #build(): void {
    const random = this.#random;
    this.#fill(0);
    let at = 0;
    // Now and then enough of them to pass the limit of 15 bytes.
    const count = random.once(64) ? random.below(15) : [0, 0, 0, 1, 1, 2, 3][random.below(7)];
    while (at < count) this.#last[at++] = random.pick(PREFIXES);
    if (random.once(3)) this.#last[Math.min(at++, 15)] = 0x40 | random.below(16);
    if (random.once(6) && at < 8) {
      this.#vex(at);
      return;
    }
    const map = random.below(16);
    // 0F, 0F 38 and 0F 3A; a value of `map` that is none of these leaves the one-byte map.
    if (map < 9 && at < 13) {
      this.#last[at++] = 0x0f;
      if (map < 4) this.#last[at++] = map < 2 ? 0x38 : 0x3a;
    }
    if (random.once(3) && at < 12) this.#last[at + 1] = random.pick(EDGES);
    if (random.once(4) && at < 12) this.#last[at + 2] = random.pick(EDGES);
  }

  /** A VEX prefix, mostly one that the instructions on general registers may have. */
  #vex(at: number): void {
    const random = this.#random;
    const bytes = this.#last;
    const high = random.once(3) ? random.u32() : 0xe0;
    const map = random.once(8) ? random.below(32) : 2 + random.below(2);
    const register = random.once(2) ? 0x78 : random.below(16) << 3;
    const length = random.once(8) ? 4 : 0;
    bytes[at] = random.once(16) ? 0xc5 : 0xc4;
    bytes[at + 1] = (high & 0xe0) | map;
    bytes[at + 2] = (random.below(2) << 7) | register | length | random.below(4);
    if (!random.once(4)) bytes[at + 3] = random.pick(VEX_OPCODES);
  }

  #mutate(): void {
    const random = this.#random;
    const bytes = this.#last;
    const at = random.below(8);
    switch (random.below(5)) {
      case 0:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.u32();
        break;
      case 2:
        bytes.copyWithin(at + 1, at);
        bytes[at] = random.pick(PREFIXES);
        break;
      case 3:
        bytes.copyWithin(at, at + 1);
        break;
      default:
        bytes.copyWithin(1, 0);
        bytes[0] = random.once(2) ? 0x40 | random.below(16) : random.pick(PREFIXES);
    }
  }
}

/** VEX with every W, map 2 or 3 and prefix; VEX.vvvv all ones or not. */
const VEX_MAPS: readonly (readonly number[])[] = [0xe2, 0xe3].flatMap((map) =>
  [0, 1, 2, 3].flatMap((prefix) => [0x78, 0x28, 0xf8].map((rest) => [0xc4, map, rest | prefix])),
);
const MAPS: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const SELECTORS = [0, 0x66, 0xf3, 0xf2, 0xf0];

/** How many strings `writeEncoding` knows. */
const LEGACY = MAPS.length * SELECTORS.length;
export const ENCODINGS = (LEGACY + VEX_MAPS.length) * 0x10000;

/**
 * Writes encoding `number`: every opcode of every map with every ModRM byte, behind each prefix
 * that may choose an instruction, and the same for VEX. What follows is zero.
 */
export function writeEncoding(number: number, to: Uint8Array, at: number): void {
  const set = number >>> 16;
  const prefix = set < LEGACY ? SELECTORS[set % SELECTORS.length] : 0;
  const map = MAPS[Math.floor(set / SELECTORS.length)] ?? VEX_MAPS[set - LEGACY];
  const bytes = [...(prefix === 0 ? [] : [prefix]), ...map, (number >>> 8) & 0xff, number & 0xff];
  to.fill(0, at, at + STRING_SIZE);
  to.set(bytes, at);
}
