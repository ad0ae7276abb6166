/**
 * A cipher of memory as another, but for blocks of zeros: what one deciphers to depends on its
 * place in 64 KiB, not on all of its address.
 *
 * A host gives a guest memory of zeros, which the guest sees as garbage until it writes there. An
 * emulated guest so meets tens of thousands of pages for the first time, nearly all to write them:
 * their garbage is copied from one piece instead of deciphered. It is still garbage, another under
 * each key, and the host still sees zeros in each block that the guest has not written.
 *
 * Inaccuracies: the garbage of untouched memory repeats every 64 KiB; the block that zeros would
 * decipher to without this (one of 2^128 at each address) is not kept apart from them.
 */
import { CIPHER_PAGE_SIZE, type PageCipher } from './page-cipher.js';

/** Bytes of the garbage that repeats. */
const PERIOD = 16 * CIPHER_PAGE_SIZE;
const BLOCK_WORDS = 4;

export class ZeroBlocks implements PageCipher {
  #garbage: Uint8Array | null = null;
  /** Which blocks of the pages under way are, or are to be, zeros. */
  readonly #marked = new Uint8Array(PERIOD / 16);

  constructor(private readonly cipher: PageCipher) {}

  /** What an aligned 64 KiB of zeros deciphers to. */
  get garbage(): Uint8Array {
    if (this.#garbage === null) {
      this.#garbage = new Uint8Array(PERIOD);
      this.cipher.decrypt(0, this.#garbage);
    }
    return this.#garbage;
  }

  encrypt(spa: number, pages: Uint8Array): void {
    this.#eachPart(spa, pages, (address, part, words, garbage) => {
      mark(this.#marked, words, garbage);
      this.cipher.encrypt(address, part);
      place(this.#marked, words, ZEROS);
    });
  }

  decrypt(spa: number, pages: Uint8Array): void {
    this.#eachPart(spa, pages, (address, part, words, garbage) => {
      mark(this.#marked, words, ZEROS);
      this.cipher.decrypt(address, part);
      place(this.#marked, words, garbage);
    });
  }

  /** Visits the pages by pieces that do not cross a multiple of 64 KiB. */
  #eachPart(
    spa: number,
    pages: Uint8Array,
    visit: (address: number, part: Uint8Array, words: Int32Array, garbage: Int32Array) => void,
  ): void {
    const { garbage } = this;
    for (let done = 0; done < pages.length; ) {
      const offset = (spa + done) % PERIOD;
      const size = Math.min(PERIOD - offset, pages.length - done);
      const part = pages.subarray(done, done + size);
      // Words need an address that is a multiple of four.
      const aligned = part.byteOffset % 4 === 0 ? part : part.slice();
      visit(
        spa + done,
        aligned,
        wordsOf(aligned),
        wordsOf(garbage.subarray(offset, offset + size)),
      );
      if (aligned !== part) part.set(aligned);
      done += size;
    }
  }
}

const ZEROS = new Int32Array(PERIOD / 4);

const wordsOf = (bytes: Uint8Array): Int32Array =>
  new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

/** Marks the blocks of `words` that are as in `like`. */
function mark(marked: Uint8Array, words: Int32Array, like: Int32Array): void {
  for (let at = 0; at < words.length; at += BLOCK_WORDS) {
    const same =
      words[at] === like[at] &&
      words[at + 1] === like[at + 1] &&
      words[at + 2] === like[at + 2] &&
      words[at + 3] === like[at + 3];
    marked[at / BLOCK_WORDS] = same ? 1 : 0;
  }
}

/** Puts those of `source` in place of the marked blocks of `words`. */
function place(marked: Uint8Array, words: Int32Array, source: Int32Array): void {
  for (let at = 0; at < words.length; at += BLOCK_WORDS) {
    if (marked[at / BLOCK_WORDS] === 0) continue;
    words[at] = source[at]!;
    words[at + 1] = source[at + 1]!;
    words[at + 2] = source[at + 2]!;
    words[at + 3] = source[at + 3]!;
  }
}
