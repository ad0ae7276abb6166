/**
 * Ciphers of memory and of transport, synchronous: a page is re-encoded within a memory access, a
 * command ends before its mailbox answers.
 *
 * None is in place from the start: which there is, its loading included, is for the package's entry
 * points to say. They offer the pure one, and those for `node` put `node:crypto` there instead.
 */
import { VmmError } from '@cloister/core';
import type { PageCipher } from './page-cipher.js';

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

let current: Ciphers | null = null;

/** The implementation in use. */
export function ciphers(): Ciphers {
  if (current !== null) return current;
  throw new VmmError('internal', 'no entry point of @cloister/sev has been loaded');
}

/** Puts an implementation in place unless there is one. */
export function offerCiphers(next: Ciphers): void {
  current ??= next;
}

/** Replaces the implementation; returns the one that was in use. */
export function useCiphers(next: Ciphers): Ciphers {
  const before = current ?? next;
  current = next;
  return before;
}
