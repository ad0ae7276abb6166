/**
 * AES-128 in counter mode, through WebCrypto. It is its own inverse.
 */
import { sized } from '../bytes.js';

export async function aes128Ctr(
  key: Uint8Array,
  iv: Uint8Array,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const raw = Uint8Array.from(sized(key, 16, 'an AES-128 key'));
  const counter = Uint8Array.from(sized(iv, 16, 'an initialization vector'));
  const imported = await crypto.subtle.importKey('raw', raw, 'AES-CTR', false, ['encrypt']);
  // The counter is all of the block, as the firmware counts.
  const algorithm = { name: 'AES-CTR', counter, length: 128 };
  return new Uint8Array(await crypto.subtle.encrypt(algorithm, imported, Uint8Array.from(bytes)));
}
