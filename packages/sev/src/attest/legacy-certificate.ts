/**
 * Certificates of SEV before SNP: AMD's own format, not X.509.
 *
 * Source: SEV API (AMD 55766), appendix C, "SEV certificate format" and "CA certificate format".
 * PDH, PEK, OCA and CEK are SEV certificates with room for two signatures; ASK and ARK are CA
 * certificates. Numbers are little-endian throughout. The Naples ARK that AMD published lacks its
 * signature: it parses, and counts as not signed.
 */
import { VmmError } from '@cloister/core';
import { isZero, reversed, toHex, viewOf } from './bytes.js';

export type LegacyUsage = 'ark' | 'ask' | 'oca' | 'pek' | 'pdh' | 'cek';

const USAGES: Readonly<Record<number, LegacyUsage>> = {
  0: 'ark',
  19: 'ask',
  4097: 'oca',
  4098: 'pek',
  4099: 'pdh',
  4100: 'cek',
};

/** RSA is RSASSA-PSS; ECDH is the PDH's, which signs nothing. */
export type LegacyAlgorithm = { readonly kind: 'rsa' | 'ecdsa' | 'ecdh'; readonly hash: string };

const ALGORITHMS: Readonly<Record<number, LegacyAlgorithm>> = {
  1: { kind: 'rsa', hash: 'SHA-256' },
  2: { kind: 'ecdsa', hash: 'SHA-256' },
  3: { kind: 'ecdh', hash: 'SHA-256' },
  257: { kind: 'rsa', hash: 'SHA-384' },
  258: { kind: 'ecdsa', hash: 'SHA-384' },
  259: { kind: 'ecdh', hash: 'SHA-384' },
};

export const SEV_CERTIFICATE_SIZE = 0x824;
const SIGNED = 0x414;
const FIELD = 72;

export interface LegacySignature {
  readonly usage: LegacyUsage;
  readonly algorithm: LegacyAlgorithm;
  /** The signature as it stands in the certificate. */
  readonly bytes: Uint8Array;
}

export type LegacyKey =
  | { readonly kind: 'ec'; readonly curve: 'P-256' | 'P-384'; readonly point: Uint8Array }
  | { readonly kind: 'rsa'; readonly modulus: Uint8Array; readonly exponent: Uint8Array };

export interface LegacyCertificate {
  readonly bytes: Uint8Array;
  readonly usage: LegacyUsage;
  /** What its key is for; a CA certificate's follows from its size. */
  readonly algorithm: LegacyAlgorithm;
  readonly key: LegacyKey;
  readonly signed: Uint8Array<ArrayBuffer>;
  readonly signatures: readonly LegacySignature[];
  /** CA certificates: the key's identifier and that of the key that certified it. */
  readonly keyId?: string;
  readonly certifyingId?: string;
}

/** Reads a certificate of either format. `VmmError('invalid-file')` when it is none. */
export function parseLegacyCertificate(received: Uint8Array): LegacyCertificate {
  const bytes = Uint8Array.from(received);
  if (bytes.length < 0x40) throw damaged(`${bytes.length} bytes`);
  const version = viewOf(bytes).getUint32(0, true);
  if (version !== 1) throw damaged(`version ${version}`);
  return bytes.length === SEV_CERTIFICATE_SIZE ? sevCertificate(bytes) : caCertificate(bytes);
}

function sevCertificate(bytes: Uint8Array<ArrayBuffer>): LegacyCertificate {
  const view = viewOf(bytes);
  const usage = USAGES[view.getUint32(0x08, true)];
  const algorithm = ALGORITHMS[view.getUint32(0x0c, true)];
  if (usage === undefined || usage === 'ark' || usage === 'ask') throw damaged('its key usage');
  if (algorithm === undefined || algorithm.kind === 'rsa') throw damaged('its key algorithm');
  return {
    bytes,
    usage,
    algorithm,
    key: ecKey(bytes.subarray(0x10, SIGNED)),
    signed: bytes.subarray(0, SIGNED),
    signatures: [SIGNED, 0x61c].flatMap((at) => {
      const signer = USAGES[view.getUint32(at, true)];
      const scheme = ALGORITHMS[view.getUint32(at + 4, true)];
      if (signer === undefined || scheme === undefined) return [];
      return [{ usage: signer, algorithm: scheme, bytes: bytes.subarray(at + 8, at + 0x208) }];
    }),
  };
}

const CURVES = { 1: 'P-256', 2: 'P-384' } as const;

function ecKey(field: Uint8Array): LegacyKey {
  const curve = CURVES[viewOf(field).getUint32(0, true) as 1 | 2];
  if (curve === undefined) throw damaged('its curve');
  const size = curve === 'P-256' ? 32 : 48;
  const x = field.subarray(4, 4 + FIELD);
  const y = field.subarray(4 + FIELD, 4 + 2 * FIELD);
  const rest = field.subarray(4 + 2 * FIELD);
  if (!isZero(x.subarray(size)) || !isZero(y.subarray(size)) || !isZero(rest)) {
    throw damaged('its public key');
  }
  const point = new Uint8Array(1 + 2 * size);
  point[0] = 4;
  point.set(reversed(x.subarray(0, size)), 1);
  point.set(reversed(y.subarray(0, size)), 1 + size);
  return { kind: 'ec', curve, point };
}

const HEAD = 0x40;

function caCertificate(bytes: Uint8Array<ArrayBuffer>): LegacyCertificate {
  const view = viewOf(bytes);
  const usage = USAGES[view.getUint32(0x24, true)];
  if (usage !== 'ark' && usage !== 'ask') throw damaged('its key usage');
  const [exponentBits, modulusBits] = [view.getUint32(0x38, true), view.getUint32(0x3c, true)];
  if (exponentBits !== modulusBits || (modulusBits !== 2048 && modulusBits !== 4096)) {
    throw damaged('its key size');
  }
  const size = modulusBits / 8;
  const signed = HEAD + 2 * size;
  if (bytes.length !== signed + size && bytes.length !== signed) {
    throw damaged(`${bytes.length} bytes`);
  }
  const algorithm = { kind: 'rsa', hash: size === 256 ? 'SHA-256' : 'SHA-384' } as const;
  return {
    bytes,
    usage,
    algorithm,
    key: {
      kind: 'rsa',
      exponent: reversed(bytes.subarray(HEAD, HEAD + size)),
      modulus: reversed(bytes.subarray(HEAD + size, signed)),
    },
    signed: bytes.subarray(0, signed),
    signatures:
      bytes.length === signed
        ? []
        : [{ usage: 'ark', algorithm, bytes: bytes.subarray(signed, signed + size) }],
    keyId: toHex(bytes.subarray(0x04, 0x14)),
    certifyingId: toHex(bytes.subarray(0x14, 0x24)),
  };
}

function damaged(why: string): VmmError {
  return new VmmError('invalid-file', `SEV certificate: ${why} is not what the format allows`);
}
