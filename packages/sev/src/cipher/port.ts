/**
 * Ciphers of memory and of transport, synchronous: a page is re-encoded within a memory access, a
 * command ends before its mailbox answers.
 *
 * The pure implementation is in place from the start. The package's `node` entry points put
 * `node:crypto` there instead; nothing else may.
 */
import { pureCiphers } from './pure-cipher.js';

/** Bytes of a memory key: one AES-128 key for the data, one for the tweak. */
export const PAGE_KEY_SIZE = 32;

/** Memory is enciphered in pages of 4 KiB, each block of 16 bytes by itself. */
export const CIPHER_PAGE_SIZE = 4096;

/**
 * AES-128 in XTS mode (IEEE 1619) over one page, its data unit number the page's system-physical
 * address divided by 4096: the same plaintext differs from block to block and from page to page,
 * and a changed byte of ciphertext changes its block of plaintext only. AMD doesn't publish its
 * tweak; only equality of ciphertexts could tell the difference.
 */
export interface PageCipher {
  /** Enciphers the 4096 bytes of `page`, which lies at `spa`, in place. */
  encryptPage(key: Uint8Array, spa: number, page: Uint8Array): void;
  decryptPage(key: Uint8Array, spa: number, page: Uint8Array): void;
}

export interface Ciphers extends PageCipher {
  /** Which implementation, e.g. `pure`; shown by the benchmark. */
  readonly name: string;
  /** AES-128 in counter mode, the counter being all of the block. It is its own inverse. */
  aes128Ctr(key: Uint8Array, iv: Uint8Array, bytes: Uint8Array): Uint8Array;
}

let current: Ciphers = pureCiphers;

/** The implementation in use. */
export function ciphers(): Ciphers {
  return current;
}

/** Replaces the implementation; returns the one that was in use. */
export function useCiphers(next: Ciphers): Ciphers {
  const before = current;
  current = next;
  return before;
}
