/**
 * The cipher of memory, by pages.
 */

/** Bytes of a memory key: one AES-128 key for the data, one for the tweak. */
export const PAGE_KEY_SIZE = 32;

/** Bytes of an AES-128 key. */
export const AES_KEY_SIZE = 16;

/** Memory is enciphered in pages of 4 KiB, each block of 16 bytes by itself. */
export const CIPHER_PAGE_SIZE = 4096;

/**
 * AES-128 in XTS mode (IEEE 1619) over pages, a page's data unit number its system-physical
 * address divided by 4096: the same plaintext differs from block to block and from page to page,
 * and a changed byte of ciphertext changes its block of plaintext only. AMD doesn't publish its
 * tweak; only equality of ciphertexts could tell the difference.
 */
export interface PageCipher {
  /** Enciphers `pages` in place: whole pages that lie one behind the other, the first at `spa`. */
  encrypt(spa: number, pages: Uint8Array): void;
  decrypt(spa: number, pages: Uint8Array): void;
}
