/**
 * Ciphers of memory and of transport, synchronous: a page is re-encoded within a memory access, a
 * command ends before its mailbox answers.
 *
 * The pure implementation is in place from the start. The package's `node` entry points put
 * `node:crypto` there instead; nothing else may.
 */
import type { PageCipher } from './page-cipher.js';
import { pureCiphers } from './pure-cipher.js';

export {
  AES_KEY_SIZE,
  CIPHER_PAGE_SIZE,
  PAGE_KEY_SIZE,
  type PageCipher,
} from './page-cipher.js';

export interface Ciphers {
  /** Which implementation, e.g. `pure`; shown by the benchmark. */
  readonly name: string;
  /** The cipher of memory under `key`, of PAGE_KEY_SIZE bytes. */
  pageCipher(key: Uint8Array): PageCipher;
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
