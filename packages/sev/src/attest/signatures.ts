/**
 * Who signed what: reports, certificates and revocation lists.
 *
 * Source: SEV-SNP ABI (AMD 56860), "Signature" format: R and S of 72 bytes each, little-endian,
 * then zeros.
 */
import { signatures } from '../signature/port.js';
import { concat, isZero, reversed } from './bytes.js';
import type { Certificate } from './certificate.js';
import { type Report, SIGNED_SIZE } from './report.js';
import type { SignedObject } from './signed-object.js';

/** Whether `issuer`'s key signed a certificate or a CRL. A key of another kind did not. */
export async function signedBy(signed: SignedObject, issuer: Certificate): Promise<boolean> {
  const { hash, signature, body } = signed;
  return signatures().rsaPss(issuer, hash, signature, body);
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
  return signatures().ecdsaP384(vek, signature, Uint8Array.from(bytes.subarray(0, SIGNED_SIZE)));
}
