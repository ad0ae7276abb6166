/**
 * Hashes as this package uses them: synchronous, because a launch digest is a chain of a thousand
 * small hashes, which an asynchronous call for each would make ten times slower.
 *
 * None is in place from the start: which there is, its loading included, is for the package's entry
 * points to say. They offer the pure one, and those for `node` put `node:crypto` there instead.
 */
import { VmmError } from '@cloister/core';

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

let current: Hashes | null = null;

/** The implementation in use. */
export function hashes(): Hashes {
  if (current !== null) return current;
  throw new VmmError('internal', 'no entry point of @cloister/sev has been loaded');
}

/** Puts an implementation in place unless there is one. */
export function offerHashes(next: Hashes): void {
  current ??= next;
}

/** Replaces the implementation; returns the one that was in use. */
export function useHashes(next: Hashes): Hashes {
  const before = current ?? next;
  current = next;
  return before;
}
