/**
 * Certificates as a platform writes and checks them (SEV API 55766, appendix B.1 "AMD signing key
 * certificate format", C.1 "SEV certificate format"). Reading is `attest/legacy-certificate`'s.
 */

import { SIZE } from '../abi/commands.js';
import { STATUS, type Status } from '../abi/status.js';
import {
  type LegacyCertificate,
  type LegacyUsage,
  parseLegacyCertificate,
} from '../attest/legacy-certificate.js';
import { concat, reversed, u32, viewOf } from '../bytes.js';
import { type EcKey, FIELD_SIZE, sign, verify } from './ec-key.js';
import type { Entropy } from './entropy.js';
import { publicBytes, RSA_BITS, type RsaKey, signPss, verifyPss } from './rsa-key.js';

export const USAGE = {
  ARK: 0x0000,
  ASK: 0x0013,
  INVALID: 0x1000,
  OCA: 0x1001,
  PEK: 0x1002,
  PDH: 0x1003,
  CEK: 0x1004,
} as const;

export const ALGORITHM = { INVALID: 0, RSA_SHA256: 1, ECDSA_SHA256: 2, ECDH_SHA256: 3 } as const;

/** Bytes of a SEV certificate that signatures cover. */
export const BODY_SIZE = 0x414;
const SIGNATURES = [BODY_SIZE, 0x61c] as const;
const SIGNATURE_SIZE = 0x208;
const P384 = 2;

/** The API version that a certificate names. */
export interface ApiVersion {
  readonly major: number;
  readonly minor: number;
}

type KeyUsage = 'OCA' | 'PEK' | 'PDH' | 'CEK';

/** A certificate of this key without signatures. */
export function certificate(
  usage: KeyUsage,
  point: Uint8Array,
  { major, minor }: ApiVersion,
): Uint8Array {
  const bytes = new Uint8Array(SIZE.CERTIFICATE);
  const view = viewOf(bytes);
  view.setUint32(0x00, 1, true);
  bytes[0x04] = major;
  bytes[0x05] = minor;
  view.setUint32(0x08, USAGE[usage], true);
  view.setUint32(0x0c, usage === 'PDH' ? ALGORITHM.ECDH_SHA256 : ALGORITHM.ECDSA_SHA256, true);
  view.setUint32(0x10, P384, true);
  bytes.set(reversed(point.subarray(1, 49)), 0x14);
  bytes.set(reversed(point.subarray(49)), 0x14 + FIELD_SIZE);
  for (const at of SIGNATURES) view.setUint32(at, USAGE.INVALID, true);
  return bytes;
}

/** The point of a certificate's key: 0x04, x, y. */
export function certifiedPoint(bytes: Uint8Array): Uint8Array {
  const [x, y] = [0x14, 0x14 + FIELD_SIZE].map((at) => reversed(bytes.subarray(at, at + 48)));
  return concat(Uint8Array.of(4), x!, y!);
}

/** Adds a signature in the first free place; false if both are taken. */
export function signCertificate(bytes: Uint8Array, usage: KeyUsage, key: EcKey): boolean {
  const signature = sign(key, bytes.subarray(0, BODY_SIZE));
  return addSignature(bytes, USAGE[usage], ALGORITHM.ECDSA_SHA256, signature);
}

/** Adds a chip's certification by the ASK. */
export function signByAsk(bytes: Uint8Array, ask: RsaKey, entropy: Entropy): boolean {
  const signature = reversed(signPss(ask, bytes.subarray(0, BODY_SIZE), entropy));
  return addSignature(bytes, USAGE.ASK, ALGORITHM.RSA_SHA256, signature);
}

function addSignature(
  bytes: Uint8Array,
  usage: number,
  algorithm: number,
  signature: Uint8Array,
): boolean {
  const at = SIGNATURES.find((place) => viewOf(bytes).getUint32(place, true) === USAGE.INVALID);
  if (at === undefined) return false;
  bytes.fill(0, at, at + SIGNATURE_SIZE);
  bytes.set(concat(u32(usage), u32(algorithm), signature), at);
  return true;
}

/** The signature of `usage` in another certificate goes on into this one. */
export function copySignature(from: Uint8Array, to: Uint8Array, usage: number): boolean {
  const at = SIGNATURES.find((place) => viewOf(from).getUint32(place, true) === usage);
  const free = SIGNATURES.find((place) => viewOf(to).getUint32(place, true) === USAGE.INVALID);
  if (at === undefined || free === undefined) return false;
  to.set(from.subarray(at, at + SIGNATURE_SIZE), free);
  return true;
}

/** A certificate of an authority. Key identifiers are 16 bytes. */
export function authorityCertificate(
  usage: 'ARK' | 'ASK',
  key: RsaKey,
  ids: { readonly own: Uint8Array; readonly certifying: Uint8Array },
  signer: RsaKey,
  entropy: Entropy,
): Uint8Array {
  const head = new Uint8Array(0x40);
  const view = viewOf(head);
  view.setUint32(0x00, 1, true);
  head.set(ids.own, 0x04);
  head.set(ids.certifying, 0x14);
  view.setUint32(0x24, USAGE[usage], true);
  view.setUint32(0x38, RSA_BITS, true);
  view.setUint32(0x3c, RSA_BITS, true);
  const numbers = publicBytes(key);
  const body = concat(head, reversed(numbers.exponent), reversed(numbers.modulus));
  return concat(body, reversed(signPss(signer, body, entropy)));
}

/** Reads what a host passed as a certificate; null if it is none. */
export function readCertificate(bytes: Uint8Array): LegacyCertificate | null {
  try {
    return parseLegacyCertificate(bytes);
  } catch {
    return null;
  }
}

/** Who may certify whom. */
const ISSUERS: Readonly<Record<LegacyUsage, readonly LegacyUsage[]>> = {
  ark: ['ark'],
  ask: ['ark'],
  cek: ['ask'],
  oca: ['oca'],
  pek: ['oca', 'cek'],
  pdh: ['pek'],
};

/** SUCCESS, or what the firmware says of `subject` as certified by `issuer`. */
export function checkCertificate(
  subject: LegacyCertificate | null,
  issuer: LegacyCertificate | null,
): Status {
  if (subject === null || issuer === null) return STATUS.INVALID_CERTIFICATE;
  if (!ISSUERS[subject.usage].includes(issuer.usage)) return STATUS.INVALID_CERTIFICATE;
  if (subject.certifyingId !== undefined && subject.certifyingId !== issuer.keyId) {
    return STATUS.INVALID_CERTIFICATE;
  }
  const by = subject.signatures.filter(({ usage }) => usage === issuer.usage);
  if (by.length === 0) return STATUS.INVALID_CERTIFICATE;
  const { key } = issuer;
  const good = by.some(({ algorithm, bytes }) => {
    if (algorithm.hash !== 'SHA-256') return false;
    if (key.kind === 'ec') {
      return (
        key.curve === 'P-384' &&
        algorithm.kind === 'ecdsa' &&
        verify(key.point, subject.signed, bytes)
      );
    }
    const signature = reversed(bytes.subarray(0, key.modulus.length));
    return algorithm.kind === 'rsa' && verifyPss(key, subject.signed, signature);
  });
  return good ? STATUS.SUCCESS : STATUS.BAD_SIGNATURE;
}
