/**
 * Where the secure processor gets its randomness: keys, nonces and initialization vectors.
 *
 * Fresh entropy is the platform's cryptographic generator (W3C Web Cryptography API). A seed makes
 * every run the same, and every key known to whoever knows the seed: for tests and replays.
 */
import { concat, u32 } from '../bytes.js';
import { hashes } from '../hash/port.js';

/** So many random bytes. */
export type Entropy = (length: number) => Uint8Array;

/** Different at every call and in every run. */
export const freshEntropy: Entropy = (length) => crypto.getRandomValues(new Uint8Array(length));

/** The same bytes in the same order for the same seed and name: HMAC-SHA-256 of a counter. */
export function seededEntropy(seed: Uint8Array | string, name = 'secure processor'): Entropy {
  const bytes = typeof seed === 'string' ? new TextEncoder().encode(seed) : seed;
  const key = hashes().hmacSha256(bytes, new TextEncoder().encode(name));
  let counter = 0;
  return (length) => {
    const blocks: Uint8Array[] = [];
    for (let have = 0; have < length; have += 32) {
      blocks.push(hashes().hmacSha256(key, u32(counter++)));
    }
    return concat(...blocks).slice(0, length);
  };
}
