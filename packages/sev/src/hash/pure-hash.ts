/**
 * The hash port over @noble/hashes: no native code, works everywhere.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384 } from '@noble/hashes/sha2.js';
import type { Hashes } from './port.js';

export const pureHashes: Hashes = {
  name: 'pure',
  sha256: (bytes) => sha256(bytes),
  sha384: (bytes) => sha384(bytes),
  createSha256: () => sha256.create(),
  hmacSha256: (key, bytes) => hmac(sha256, key, bytes),
};
