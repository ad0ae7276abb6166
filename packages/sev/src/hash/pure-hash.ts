/**
 * The hash port over @noble/hashes: no native code, works everywhere.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384 } from '@noble/hashes/sha2.js';
import type { Hasher, Hashes } from './port.js';

type Sha256 = ReturnType<typeof sha256.create>;

export const pureHashes: Hashes = {
  name: 'pure',
  sha256: (bytes) => sha256(bytes),
  sha384: (bytes) => sha384(bytes),
  createSha256: () => hasher(sha256.create()),
  hmacSha256: (key, bytes) => hmac(sha256, key, bytes),
};

function hasher(hash: Sha256): Hasher {
  const self: Hasher = {
    update: (bytes) => {
      hash.update(bytes);
      return self;
    },
    digest: () => hash.digest(),
    fork: () => hasher(hash.clone()),
  };
  return self;
}
