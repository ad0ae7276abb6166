// ID blocks with keys made here, and damage to them.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkIdAuth, createIdAuth, decodeIdBlock, encodeIdBlock } from './id-block.js';
import { importIdKey, keyDigest, verifyBytes } from './id-key.js';

async function newKey() {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-384' };
  const { privateKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  return importIdKey(new Uint8Array(await crypto.subtle.exportKey('pkcs8', privateKey)));
}

const block = encodeIdBlock({ digest: new Uint8Array(48).fill(3), guestSvn: 5, policy: 0x30000n });

describe('ID authentication', () => {
  test('of a block that its keys signed', async () => {
    const id = await newKey();
    const author = await newKey();
    const alone = await checkIdAuth(block, await createIdAuth(block, { id }));
    expect(alone).toMatchObject({ blockSigned: true, keySigned: undefined });
    const both = await checkIdAuth(block, await createIdAuth(block, { id, author }));
    expect(both).toMatchObject({ blockSigned: true, keySigned: true });
    expect(both.idKeyDigest).toEqual(keyDigest(id.publicKey));
    expect(both.authorKeyDigest).toEqual(keyDigest(author.publicKey));
  });

  test('fails with any byte of the block, the key or the signature changed', async () => {
    const id = await newKey();
    const auth = await createIdAuth(block, { id });
    const parts: [bytes: Uint8Array, from: number, to: number][] = [
      [block, 0, 96],
      [auth, 0x40, 0xd0],
      [auth, 0x240, 0x2d4],
    ];
    for (const [bytes, from, to] of parts) {
      const damage = fc.tuple(
        fc.integer({ min: from, max: to - 1 }),
        fc.integer({ min: 1, max: 255 }),
      );
      await fc.assert(
        fc.asyncProperty(damage, async ([at, mask]) => {
          const damaged = Uint8Array.from(bytes, (byte, index) =>
            index === at ? byte ^ mask : byte,
          );
          const [a, b] = bytes === block ? [damaged, auth] : [block, damaged];
          expect((await checkIdAuth(a, b)).blockSigned).toBe(false);
        }),
        { numRuns: 40 },
      );
    }
  });

  test('of random bytes never throws', async () => {
    const bytes = fc.uint8Array({ minLength: 0x404, maxLength: 0x404 });
    const signature = fc.uint8Array({ minLength: 0x200, maxLength: 0x200 });
    await fc.assert(
      fc.asyncProperty(bytes, signature, async (key, signed) => {
        key.set([2, 0, 0, 0]);
        expect(await verifyBytes(key, signed, block)).toBe(false);
      }),
      { numRuns: 30 },
    );
  });
});

test('an ID block is read back as it was written', () => {
  expect(decodeIdBlock(block)).toMatchObject({ guestSvn: 5, policy: 0x30000n });
  expect(encodeIdBlock(decodeIdBlock(block))).toEqual(block);
  expect(() => decodeIdBlock(block.subarray(1))).toThrow('95 bytes');
});

test('a key that is none is refused', async () => {
  await expect(importIdKey(new Uint8Array(40))).rejects.toMatchObject({ code: 'invalid-file' });
});
