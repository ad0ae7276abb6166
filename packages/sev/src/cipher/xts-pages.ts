/**
 * XTS over pages, made of a block cipher alone: IEEE 1619, 5.2 to 5.4, without the stealing of
 * ciphertext, since a page is whole blocks. Many pages are one call of the block cipher, whatever
 * that costs by itself.
 */
import { CIPHER_PAGE_SIZE, type PageCipher } from './page-cipher.js';

/** A block cipher under one key, over whole blocks of 16 bytes (ECB). */
export interface BlockCipher {
  /** The answer is valid until the next call. */
  encrypt(blocks: Uint8Array): Uint8Array;
  decrypt(blocks: Uint8Array): Uint8Array;
}

/** Pages at a time. */
const PART = 16;
const PAGE_WORDS = CIPHER_PAGE_SIZE / 4;
const BLOCK_WORDS = 4;
const BLOCK_SIZE = 16;
/** x^128 + x^7 + x^2 + x + 1, without its first term. */
const POLYNOMIAL = 0x87;

/** Used again and again: a page is re-encoded within a memory access. */
const words = new Int32Array(PART * PAGE_WORDS);
const bytes = new Uint8Array(words.buffer);
const tweakWords = new Int32Array(PART * BLOCK_WORDS);
const tweakBytes = new Uint8Array(tweakWords.buffer);

export class XtsPages implements PageCipher {
  constructor(
    private readonly data: BlockCipher,
    private readonly tweaks: BlockCipher,
  ) {}

  encrypt(spa: number, pages: Uint8Array): void {
    this.#recode('encrypt', spa, pages);
  }

  decrypt(spa: number, pages: Uint8Array): void {
    this.#recode('decrypt', spa, pages);
  }

  #recode(direction: 'encrypt' | 'decrypt', spa: number, pages: Uint8Array): void {
    for (let done = 0; done < pages.length; done += bytes.length) {
      const part = pages.subarray(done, done + bytes.length);
      const count = part.length / CIPHER_PAGE_SIZE;
      this.#tweak(Math.floor((spa + done) / CIPHER_PAGE_SIZE), count);
      bytes.set(part);
      mask(count);
      bytes.set(this.data[direction](bytes.subarray(0, part.length)));
      mask(count);
      part.set(bytes.subarray(0, part.length));
    }
  }

  /** Sets the tweaks of the first blocks of `count` pages: their enciphered unit numbers. */
  #tweak(first: number, count: number): void {
    const used = tweakBytes.subarray(0, count * BLOCK_SIZE);
    used.fill(0);
    for (let page = 0; page < count; page++) {
      const unit = first + page;
      tweakWords[page * BLOCK_WORDS] = unit;
      tweakWords[page * BLOCK_WORDS + 1] = Math.floor(unit / 2 ** 32);
    }
    used.set(this.tweaks.encrypt(used));
  }
}

/** Adds its tweak to each block; from one block of a page to the next it is multiplied by x. */
function mask(pages: number): void {
  for (let page = 0; page < pages; page++) {
    const tweak = page * BLOCK_WORDS;
    let a = tweakWords[tweak]!;
    let b = tweakWords[tweak + 1]!;
    let c = tweakWords[tweak + 2]!;
    let d = tweakWords[tweak + 3]!;
    const end = (page + 1) * PAGE_WORDS;
    for (let at = page * PAGE_WORDS; at < end; at += BLOCK_WORDS) {
      words[at]! ^= a;
      words[at + 1]! ^= b;
      words[at + 2]! ^= c;
      words[at + 3]! ^= d;
      const carried = (d >> 31) & POLYNOMIAL;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ carried;
    }
  }
}
