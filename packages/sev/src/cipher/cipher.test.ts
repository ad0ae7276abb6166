/**
 * Both ciphers agree with each other and with the published answers, and memory's cipher has the
 * properties that the silicon relies on: one block at a time, another text at each address.
 */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../bytes.js';
import { nodeCiphers } from './node-cipher.js';
import { CIPHER_PAGE_SIZE, PAGE_KEY_SIZE } from './port.js';
import { pureCiphers } from './pure-cipher.js';

const key = fc.uint8Array({ minLength: PAGE_KEY_SIZE, maxLength: PAGE_KEY_SIZE });
// OpenSSL refuses XTS with both halves of the key equal, as FIPS 140 asks.
const keys = key.filter((bytes) => toHex(bytes).slice(0, 32) !== toHex(bytes).slice(32));
const spas = fc.nat(2 ** 40 - 1).map((frame) => frame * CIPHER_PAGE_SIZE);
const page = (seed: number) => new Uint8Array(CIPHER_PAGE_SIZE).map((_, at) => (at * seed) >> 3);

describe.each([pureCiphers, nodeCiphers])('$name', (cipher) => {
  test('AES-128-CTR answers as NIST SP 800-38A, F.5.1 does', () => {
    const plain = fromHex('6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51');
    const text = cipher.aes128Ctr(
      fromHex('2b7e151628aed2a6abf7158809cf4f3c'),
      fromHex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
      plain,
    );
    expect(toHex(text)).toBe('874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff');
  });

  test('a page is XTS-AES-128 as IEEE 1619, appendix B, vector 2 has it', () => {
    // Its data unit number is 0x3333333333: two blocks of 0x44, the first two of our page.
    const bytes = new Uint8Array(CIPHER_PAGE_SIZE).fill(0x44);
    const xts = fromHex('11'.repeat(16) + '22'.repeat(16));
    cipher.pageCipher(xts).encrypt(0x3333333333 * CIPHER_PAGE_SIZE, bytes);
    expect(toHex(bytes.subarray(0, 32))).toBe(
      'c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0',
    );
  });

  test('what is enciphered is deciphered at its address with its key only', () => {
    fc.assert(
      fc.property(keys, keys, spas, spas, fc.nat(), (own, other, here, there, seed) => {
        const bytes = page(seed);
        cipher.pageCipher(own).encrypt(here, bytes);
        const moved = Uint8Array.from(bytes);
        const stolen = Uint8Array.from(bytes);
        cipher.pageCipher(own).decrypt(here, bytes);
        cipher.pageCipher(own).decrypt(there, moved);
        cipher.pageCipher(other).decrypt(here, stolen);
        const same = toHex(bytes) === toHex(page(seed));
        const leaks = here !== there && toHex(moved) === toHex(page(seed));
        return same && !leaks && (toHex(own) === toHex(other) || toHex(stolen) !== toHex(bytes));
      }),
      { numRuns: 10 },
    );
  });

  test('a changed byte of ciphertext changes all of its block and nothing else', () => {
    const own = fromHex('01'.repeat(16) + '02'.repeat(16));
    const bytes = page(77);
    cipher.pageCipher(own).encrypt(0x7000, bytes);
    bytes[0x123]! ^= 0x40;
    cipher.pageCipher(own).decrypt(0x7000, bytes);
    const differs = [...bytes.keys()].filter((at) => bytes[at] !== page(77)[at]);
    expect(differs.every((at) => at >> 4 === 0x12)).toBe(true);
    expect(differs.length).toBeGreaterThan(8);
  });
});

test.each([pureCiphers, nodeCiphers])('$name: many pages at once are each of them', (cipher) => {
  const own = cipher.pageCipher(Uint8Array.from(randomBytes(PAGE_KEY_SIZE)));
  // More than are taken at a time, the unit numbers past 32 bits on the way.
  const spa = (2 ** 32 - 3) * CIPHER_PAGE_SIZE;
  const pages = new Uint8Array(18 * CIPHER_PAGE_SIZE).map((_, at) => at >> 5);
  const one = Uint8Array.from(pages);
  for (let at = 0; at < one.length; at += CIPHER_PAGE_SIZE) {
    own.encrypt(spa + at, one.subarray(at, at + CIPHER_PAGE_SIZE));
  }
  const all = Uint8Array.from(pages);
  own.encrypt(spa, all);
  expect(toHex(all)).toBe(toHex(one));
  own.decrypt(spa, all);
  expect(toHex(all)).toBe(toHex(pages));
});

test('both implementations make the same bytes', () => {
  const own = Uint8Array.from(randomBytes(PAGE_KEY_SIZE));
  const [one, two] = [page(9), page(9)];
  pureCiphers.pageCipher(own).encrypt(0x1234_5000, one);
  nodeCiphers.pageCipher(own).encrypt(0x1234_5000, two);
  expect(toHex(one)).toBe(toHex(two));
});
