/**
 * The cipher port over @noble/ciphers: no native code, works everywhere.
 */
import { ctr, ecb } from '@noble/ciphers/aes.js';
import type { Ciphers } from './port.js';

const BLOCK = 16;

export const pureCiphers: Ciphers = {
  name: 'pure',
  aes128Ctr: (key, iv, bytes) => ctr(key, iv).encrypt(bytes),
  encryptPage: (key, spa, page) => {
    const tweaks = tweaksOf(key, spa, page.length);
    xorInto(page, tweaks);
    page.set(dataCipher(key).encrypt(page));
    xorInto(page, tweaks);
  },
  decryptPage: (key, spa, page) => {
    const tweaks = tweaksOf(key, spa, page.length);
    xorInto(page, tweaks);
    page.set(dataCipher(key).decrypt(page));
    xorInto(page, tweaks);
  },
};

const raw = { disablePadding: true } as const;
const dataCipher = (key: Uint8Array) => ecb(key.subarray(0, BLOCK), raw);

/** IEEE 1619, 5.2: the enciphered unit number, then multiplied by alpha from block to block. */
function tweaksOf(key: Uint8Array, spa: number, length: number): Uint8Array {
  const tweaks = new Uint8Array(length);
  let tweak: Uint8Array = ecb(key.subarray(BLOCK), raw).encrypt(pageTweak(spa));
  for (let at = 0; at < length; at += BLOCK) {
    tweaks.set(tweak, at);
    tweak = timesAlpha(tweak);
  }
  return tweaks;
}

/** The data unit number of the page at `spa`, as the 16 bytes little-endian that XTS enciphers. */
export function pageTweak(spa: number): Uint8Array {
  const tweak = new Uint8Array(BLOCK);
  new DataView(tweak.buffer).setBigUint64(0, BigInt(Math.floor(spa / 4096)), true);
  return tweak;
}

/** In GF(2^128), little-endian, modulo x^128 + x^7 + x^2 + x + 1. */
function timesAlpha(tweak: Uint8Array): Uint8Array {
  const next = new Uint8Array(BLOCK);
  let carry = 0;
  for (let at = 0; at < BLOCK; at++) {
    next[at] = (tweak[at]! << 1) | carry;
    carry = tweak[at]! >>> 7;
  }
  if (carry !== 0) next[0]! ^= 0x87;
  return next;
}

function xorInto(bytes: Uint8Array, mask: Uint8Array): void {
  for (let at = 0; at < bytes.length; at++) bytes[at]! ^= mask[at]!;
}
