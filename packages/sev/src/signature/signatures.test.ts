/**
 * Both implementations of the signature port: the same answers, and never an error.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { BUILDS } from '../testing/node-builds.js';
import type { KeyHolder } from './port.js';

type Bytes = Uint8Array<ArrayBuffer>;
const SHA384 = { name: 'SHA-384', length: 48 };
const BODY = new TextEncoder().encode('what was signed');

interface Signed {
  readonly holder: KeyHolder;
  readonly signature: Bytes;
}

const spki = async ({ publicKey }: CryptoKeyPair): Promise<KeyHolder> => ({
  publicKey: new Uint8Array(await crypto.subtle.exportKey('spki', publicKey)),
});

async function rsa(hash: string, saltLength: number): Promise<Signed> {
  const algorithm = { name: 'RSA-PSS', hash, modulusLength: 2048 };
  const publicExponent = Uint8Array.of(1, 0, 1);
  const keys = await crypto.subtle.generateKey({ ...algorithm, publicExponent }, true, [
    'sign',
    'verify',
  ]);
  const scheme = { name: 'RSA-PSS', saltLength };
  const signature = await crypto.subtle.sign(scheme, keys.privateKey, BODY);
  return { holder: await spki(keys), signature: new Uint8Array(signature) };
}

async function ec(namedCurve: string): Promise<Signed> {
  const algorithm = { name: 'ECDSA', namedCurve };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const scheme = { name: 'ECDSA', hash: 'SHA-384' };
  const signature = await crypto.subtle.sign(scheme, keys.privateKey, BODY);
  return { holder: await spki(keys), signature: new Uint8Array(signature) };
}

/** Where in a SubjectPublicKeyInfo of either kind the algorithm ends and the numbers begin. */
const NUMBERS_AT = 24;
const HASHES = [SHA384, { name: 'SHA-256', length: 32 }, { name: 'SHA-512', length: 64 }];

let byHash: readonly Signed[];
let pss: Signed;
let otherSalt: Signed;
let p384: Signed;
let p256: Signed;
beforeAll(async () => {
  byHash = await Promise.all(HASHES.map(({ name, length }) => rsa(name, length)));
  [pss, otherSalt] = [byHash[0]!, await rsa('SHA-384', 32)];
  [p384, p256] = [await ec('P-384'), await ec('P-256')];
});

const flipped = (bytes: Bytes, at: number, by: number): Bytes => {
  const copy = bytes.slice();
  copy[at % copy.length]! ^= by;
  return copy;
};

describe.each(BUILDS)('signatures in $name', ({ signatures }) => {
  test.each([...HASHES.entries()])('with RSASSA-PSS are good (%i, %o)', async (index, hash) => {
    const { holder, signature } = byHash[index]!;
    expect(await signatures.rsaPss(holder, hash, signature, BODY)).toBe(true);
  });

  test('with ECDSA P-384 are good', async () => {
    expect(await signatures.ecdsaP384(p384.holder, p384.signature, BODY)).toBe(true);
  });

  test('under keys of other kinds, with another salt or in DER are not', async () => {
    const { rsaPss, ecdsaP384 } = signatures;
    expect(await rsaPss(p384.holder, SHA384, p384.signature, BODY)).toBe(false);
    expect(await rsaPss(otherSalt.holder, SHA384, otherSalt.signature, BODY)).toBe(false);
    expect(await ecdsaP384(pss.holder, pss.signature, BODY)).toBe(false);
    expect(await ecdsaP384(p256.holder, p256.signature, BODY)).toBe(false);
    const [r, s] = [p384.signature.slice(0, 48), p384.signature.slice(48)];
    const number = (bytes: Bytes) => [2, 49, 0, ...bytes];
    const der = Uint8Array.from([0x30, 102, ...number(r), ...number(s)]);
    expect(await ecdsaP384(p384.holder, der, BODY)).toBe(false);
  });

  test('with a byte flipped, or of another length, are refused and never thrown', async () => {
    const which = fc.constantFrom('signature', 'body', 'key', 'shorter', 'longer');
    const change = fc.record({ which, at: fc.nat(), by: fc.integer({ min: 1, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(change, fc.boolean(), async ({ which, at, by }, ecdsa) => {
        const { holder, signature } = ecdsa ? p384 : pss;
        const key = which === 'key' ? flipped(holder.publicKey, at, by) : holder.publicKey;
        const body = which === 'body' ? flipped(BODY, at, by) : BODY;
        const changed =
          which === 'signature'
            ? flipped(signature, at, by)
            : which === 'shorter'
              ? signature.slice(0, at % signature.length)
              : which === 'longer'
                ? Uint8Array.from([...signature, by])
                : signature;
        const good = ecdsa
          ? await signatures.ecdsaP384({ publicKey: key }, changed, body)
          : await signatures.rsaPss({ publicKey: key }, SHA384, changed, body);
        // Before its numbers a key may be damaged so that readers still take it for the same.
        if (which === 'key' && at % key.length < NUMBERS_AT) return;
        expect(good).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  test('under bytes that are no key are refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const holder = { publicKey: Uint8Array.from(bytes) };
        expect(await signatures.ecdsaP384(holder, p384.signature, BODY)).toBe(false);
        expect(await signatures.rsaPss(holder, SHA384, pss.signature, BODY)).toBe(false);
      }),
      { numRuns: 50 },
    );
  });
});
