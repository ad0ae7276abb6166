/**
 * The signature port over WebCrypto: works everywhere (W3C Web Cryptography API).
 */
import type { KeyHolder, Signatures } from './port.js';

/** A key for each use, imported once for as long as its holder lives. */
const imported = new WeakMap<KeyHolder, Map<string, Promise<CryptoKey>>>();

function keyOf(holder: KeyHolder, algorithm: RsaHashedImportParams | EcKeyImportParams) {
  const kept = imported.get(holder) ?? new Map<string, Promise<CryptoKey>>();
  imported.set(holder, kept);
  const use = JSON.stringify(algorithm);
  const key =
    kept.get(use) ??
    crypto.subtle.importKey('spki', holder.publicKey, algorithm, false, ['verify']);
  kept.set(use, key);
  return key;
}

export const webSignatures: Signatures = {
  name: 'WebCrypto',
  rsaPss: async (by, hash, signature, body) => {
    try {
      const key = await keyOf(by, { name: 'RSA-PSS', hash: hash.name });
      const scheme = { name: 'RSA-PSS', saltLength: hash.length };
      return await crypto.subtle.verify(scheme, key, signature, body);
    } catch {
      return false;
    }
  },
  ecdsaP384: async (by, signature, body) => {
    try {
      const key = await keyOf(by, { name: 'ECDSA', namedCurve: 'P-384' });
      const scheme = { name: 'ECDSA', hash: 'SHA-384' };
      return await crypto.subtle.verify(scheme, key, signature, body);
    } catch {
      return false;
    }
  },
};
