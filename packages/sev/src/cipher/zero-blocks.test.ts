/**
 * Memory's cipher with the exception for zeros: it undoes itself, agrees with the cipher below it
 * elsewhere, and zeros are garbage that repeats.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { nodeCiphers } from './node-cipher.js';
import { CIPHER_PAGE_SIZE, PAGE_KEY_SIZE } from './port.js';
import { ZeroBlocks } from './zero-blocks.js';

const PERIOD = 16 * CIPHER_PAGE_SIZE;
const key = new Uint8Array(PAGE_KEY_SIZE).map((_, at) => at * 7);
const plain = () => nodeCiphers.pageCipher(key);
const over = () => new ZeroBlocks(plain());

const spas = fc.nat(2 ** 40 - 1).map((frame) => frame * CIPHER_PAGE_SIZE);
const counts = fc.integer({ min: 1, max: 35 });
/** By block: zeros, garbage, or a number that fills it. */
const blocks = fc.array(fc.constantFrom('zeros', 'garbage', 1, 255), {
  minLength: 1,
  maxLength: 9,
});

function pagesOf(cipher: ZeroBlocks, spa: number, count: number, kinds: (string | number)[]) {
  const pages = new Uint8Array(count * CIPHER_PAGE_SIZE);
  for (let at = 0; at < pages.length; at += 16) {
    const kind = kinds[(at / 16) % kinds.length]!;
    const place = (spa + at) % PERIOD;
    if (kind === 'garbage') pages.set(cipher.garbage.subarray(place, place + 16), at);
    else if (kind !== 'zeros') pages.fill(Number(kind), at, at + 16);
  }
  return pages;
}

const run = { numRuns: 40 } as const;

test('what is enciphered is deciphered, and the other way round, over any pieces', () => {
  fc.assert(
    fc.property(spas, counts, blocks, fc.boolean(), (spa, count, kinds, odd) => {
      const cipher = over();
      const source = pagesOf(cipher, spa, count, kinds);
      // At an address that is no multiple of a word too.
      const room = new Uint8Array(source.length + 1);
      const pages = room.subarray(odd ? 1 : 0, source.length + (odd ? 1 : 0));
      pages.set(source);
      cipher.encrypt(spa, pages);
      const changed = Buffer.compare(pages, source) !== 0;
      cipher.decrypt(spa, pages);
      const back = Buffer.compare(pages, source) === 0;
      cipher.decrypt(spa, pages);
      cipher.encrypt(spa, pages);
      return changed && back && Buffer.compare(pages, source) === 0;
    }),
    run,
  );
});

test('blocks of zeros are garbage by their place in 64 KiB, all others are as without', () => {
  fc.assert(
    fc.property(spas, counts, blocks, (spa, count, kinds) => {
      const [cipher, below] = [over(), plain()];
      const source = pagesOf(
        cipher,
        spa,
        count,
        kinds.filter((kind) => kind !== 'garbage'),
      );
      const [pages, expected] = [Uint8Array.from(source), Uint8Array.from(source)];
      cipher.decrypt(spa, pages);
      below.decrypt(spa, expected);
      for (let at = 0; at < pages.length; at += 16) {
        const isZeros = source.subarray(at, at + 16).every((byte) => byte === 0);
        const place = (spa + at) % PERIOD;
        const block = toHex(pages.subarray(at, at + 16));
        const there = isZeros
          ? cipher.garbage.subarray(place, place + 16)
          : expected.subarray(at, at + 16);
        if (block !== toHex(there)) return false;
      }
      return true;
    }),
    run,
  );
});

test('garbage is no zeros, repeats nowhere in its 64 KiB, and is another under each key', () => {
  const { garbage } = over();
  const seen = new Set<string>(['00'.repeat(16)]);
  for (let at = 0; at < PERIOD; at += 16) seen.add(toHex(garbage.subarray(at, at + 16)));
  expect(seen.size).toBe(PERIOD / 16 + 1);
  const other = new ZeroBlocks(nodeCiphers.pageCipher(key.map((byte) => byte ^ 1))).garbage;
  expect(toHex(other.subarray(0, 16))).not.toBe(toHex(garbage.subarray(0, 16)));
});
