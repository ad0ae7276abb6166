/**
 * Signature checks, all of them through WebCrypto.
 *
 * Source: W3C Web Cryptography API; SEV-SNP ABI (AMD 56860), "Signature" format: R and S of 72
 * bytes each, little-endian, then zeros.
 */
import { concat, isZero, reversed } from './bytes.js';
import type { Certificate } from './certificate.js';
import { type Report, SIGNED_SIZE } from './report.js';
import type { SignedObject } from './signed-object.js';

/** A key of each use, imported once for as long as its certificate object lives. */
const imported = new WeakMap<Certificate, Map<string, Promise<CryptoKey>>>();

function keyOf(certificate: Certificate, algorithm: RsaHashedImportParams | EcKeyImportParams) {
  const kept = imported.get(certificate) ?? new Map<string, Promise<CryptoKey>>();
  imported.set(certificate, kept);
  const use = JSON.stringify(algorithm);
  const key =
    kept.get(use) ??
    crypto.subtle.importKey('spki', certificate.publicKey, algorithm, false, ['verify']);
  kept.set(use, key);
  return key;
}

/** Whether `issuer`'s key signed a certificate or a CRL. A key of another kind did not. */
export async function signedBy(signed: SignedObject, issuer: Certificate): Promise<boolean> {
  const { hash, signature, body } = signed;
  try {
    const key = await keyOf(issuer, { name: 'RSA-PSS', hash: hash.name });
    const scheme = { name: 'RSA-PSS', saltLength: hash.length };
    return await crypto.subtle.verify(scheme, key, signature, body);
  } catch {
    return false;
  }
}

/** Where the parts of a report's signature are. */
const R = 0x2a0;
const S = R + 72;
const END = S + 72;
const P384_BYTES = 48;

/** Whether the bytes of the signature field that a P-384 signature leaves over are zero. */
export function signaturePaddingIsZero({ bytes }: Report): boolean {
  return (
    isZero(bytes.subarray(R + P384_BYTES, S)) &&
    isZero(bytes.subarray(S + P384_BYTES, END)) &&
    isZero(bytes.subarray(END))
  );
}

/** Whether the certificate's P-384 key signed the report, over the bytes as received. */
export async function reportSignedBy({ bytes }: Report, vek: Certificate): Promise<boolean> {
  const signature = concat(
    reversed(bytes.subarray(R, R + P384_BYTES)),
    reversed(bytes.subarray(S, S + P384_BYTES)),
  );
  try {
    const key = await keyOf(vek, { name: 'ECDSA', namedCurve: 'P-384' });
    const scheme = { name: 'ECDSA', hash: 'SHA-384' };
    const signed = Uint8Array.from(bytes.subarray(0, SIGNED_SIZE));
    return await crypto.subtle.verify(scheme, key, signature, signed);
  } catch {
    return false;
  }
}
