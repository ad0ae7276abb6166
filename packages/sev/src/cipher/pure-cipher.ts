/**
 * The cipher port over @noble/ciphers: no native code, works everywhere.
 */
import { ctr, ecb } from '@noble/ciphers/aes.js';
import { AES_KEY_SIZE } from './page-cipher.js';
import type { Ciphers } from './port.js';
import { type BlockCipher, XtsPages } from './xts-pages.js';

export const pureCiphers: Ciphers = {
  name: 'pure',
  aes128Ctr: (key, iv, bytes) => ctr(key, iv).encrypt(bytes),
  pageCipher: (key) =>
    new XtsPages(blockCipher(key.slice(0, AES_KEY_SIZE)), blockCipher(key.slice(AES_KEY_SIZE))),
};

function blockCipher(key: Uint8Array): BlockCipher {
  const cipher = () => ecb(key, { disablePadding: true });
  return {
    encrypt: (blocks) => cipher().encrypt(blocks),
    decrypt: (blocks) => cipher().decrypt(blocks),
  };
}
