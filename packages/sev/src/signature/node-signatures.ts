/**
 * The signature port over `node:crypto`: one synchronous call for each check, without WebCrypto's
 * way over other threads and back.
 */
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { KeyHolder, Signatures } from './port.js';

/** Keys for as long as their holders live; undefined for bytes that are none. */
const read = new WeakMap<KeyHolder, KeyObject | undefined>();

function keyOf(holder: KeyHolder): KeyObject | undefined {
  if (read.has(holder)) return read.get(holder);
  const key = attempt(() => {
    const der = Buffer.from(
      holder.publicKey.buffer,
      holder.publicKey.byteOffset,
      holder.publicKey.length,
    );
    return createPublicKey({ key: der, format: 'der', type: 'spki' });
  });
  read.set(holder, key);
  return key;
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

export const nodeSignatures: Signatures = {
  name: 'node:crypto',
  rsaPss: (by, hash, signature, body) => {
    const key = keyOf(by);
    if (key?.asymmetricKeyType !== 'rsa') return false;
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const scheme = { key, padding, saltLength: hash.length };
    // OpenSSL spells them without the hyphen.
    const name = hash.name.replace('-', '');
    return attempt(() => verify(name, body, scheme, signature)) ?? false;
  },
  ecdsaP384: (by, signature, body) => {
    const key = keyOf(by);
    if (key?.asymmetricKeyDetails?.namedCurve !== 'secp384r1') return false;
    const scheme = { key, dsaEncoding: 'ieee-p1363' } as const;
    return attempt(() => verify('SHA384', body, scheme, signature)) ?? false;
  },
};
