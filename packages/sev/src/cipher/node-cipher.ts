/**
 * The cipher port over `node:crypto`, many times faster than the pure one.
 *
 * Its XTS takes a new object for each page, which costs several times what the cipher does: one
 * open object a key enciphers blocks instead, and the rest of XTS is ours.
 */
import { type Cipher, createCipheriv, createDecipheriv, type Decipher } from 'node:crypto';
import { AES_KEY_SIZE } from './page-cipher.js';
import type { Ciphers } from './port.js';
import { type BlockCipher, XtsPages } from './xts-pages.js';

export const nodeCiphers: Ciphers = {
  name: 'node:crypto',
  aes128Ctr: (key, iv, bytes) => createCipheriv('aes-128-ctr', key, iv).update(bytes),
  pageCipher: (key) =>
    new XtsPages(blockCipher(key.slice(0, AES_KEY_SIZE)), blockCipher(key.slice(AES_KEY_SIZE))),
};

/** Either direction is made when it is first asked for. */
function blockCipher(key: Uint8Array): BlockCipher {
  let sealing: Cipher | null = null;
  let opening: Decipher | null = null;
  return {
    encrypt: (blocks) => (sealing ??= unpadded(createCipheriv(ECB, key, null))).update(blocks),
    decrypt: (blocks) => (opening ??= unpadded(createDecipheriv(ECB, key, null))).update(blocks),
  };
}

const ECB = 'aes-128-ecb';

/** Without padding nothing is held back: each call answers as many blocks as it was given. */
function unpadded<T extends Cipher | Decipher>(cipher: T): T {
  cipher.setAutoPadding(false);
  return cipher;
}
