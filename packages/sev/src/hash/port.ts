/**
 * Hashes as this package uses them: synchronous, because a launch digest is a chain of a thousand
 * small hashes, which an asynchronous call for each would make ten times slower.
 *
 * The pure implementation is in place from the start. The package's `node` entry points put
 * `node:crypto` there instead; nothing else may.
 */
import { pureHashes } from './pure-hash.js';

/** A hash being fed; `digest` ends it. */
export interface Hasher {
  update(bytes: Uint8Array): Hasher;
  digest(): Uint8Array;
  /** Another one with the same input so far. */
  fork(): Hasher;
}

export interface Hashes {
  /** Which implementation, e.g. `pure`; shown by the benchmark. */
  readonly name: string;
  sha256(bytes: Uint8Array): Uint8Array;
  sha384(bytes: Uint8Array): Uint8Array;
  /** For data that is not in one piece. */
  createSha256(): Hasher;
  hmacSha256(key: Uint8Array, bytes: Uint8Array): Uint8Array;
}

let current: Hashes = pureHashes;

/** The implementation in use. */
export function hashes(): Hashes {
  return current;
}

/** Replaces the implementation; returns the one that was in use. */
export function useHashes(next: Hashes): Hashes {
  const before = current;
  current = next;
  return before;
}
