/**
 * What a certificate and a CRL have in common: a body, an algorithm, a signature.
 *
 * Source: RFC 5280 sections 4.1.1 and 5.1.1; RFC 4055 section 3.1 for RSASSA-PSS parameters.
 * The signature does not cover the frame around them: it must be in the one encoding that DER
 * allows and name the algorithm that the body names, so that no byte of a file can change without
 * being noticed.
 */
import { VmmError } from '@cloister/core';
import { RsaSaPssParams } from '@peculiar/asn1-rsa';
import { AsnConvert } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier, Name } from '@peculiar/asn1-x509';
import type { NamedHash } from '../signature/port.js';
import { sameBytes } from './bytes.js';
import { DER, type DerValue, derInside, derValues } from './der.js';
import { remembered } from './remembered.js';

const RSASSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';
const HASHES: Readonly<Record<string, NamedHash>> = {
  '2.16.840.1.101.3.4.2.1': { name: 'SHA-256', length: 32 },
  '2.16.840.1.101.3.4.2.2': { name: 'SHA-384', length: 48 },
  '2.16.840.1.101.3.4.2.3': { name: 'SHA-512', length: 64 },
};

/** The body that was signed, the signature, and the hash of its RSASSA-PSS. */
export interface SignedObject {
  readonly der: Uint8Array<ArrayBuffer>;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly signature: Uint8Array<ArrayBuffer>;
  readonly hash: NamedHash;
}

/** Runs a parser; whatever it throws becomes one error that says what was read. */
export function guarded<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (cause instanceof VmmError) throw cause;
    throw new VmmError('invalid-file', `${what}: not DER as X.509 defines it`, { cause });
  }
}

/** Takes the frame off: a body, an algorithm, a signature, and nothing else. */
export function signedObject(
  what: string,
  der: Uint8Array<ArrayBuffer>,
  /** Which of the body's fields names the algorithm. */
  algorithmAt: (fields: readonly DerValue[]) => number,
): { readonly signed: SignedObject; readonly fields: readonly DerValue[] } {
  const parts = derInside(der, DER.sequence);
  expectTags(parts, [DER.sequence, DER.sequence, DER.bitString]);
  const [body, algorithm, bits] = parts as [DerValue, DerValue, DerValue];
  const fields = derValues(body.content);
  const inner = fields[algorithmAt(fields)];
  // A signature is whole bytes: the bit string leaves no bits over.
  if (inner === undefined || !sameBytes(inner.der, algorithm.der) || bits.content[0] !== 0) {
    throw new VmmError('invalid-file', `${what}: its two algorithms or its signature are damaged`);
  }
  const hash = pssHash(algorithm.der);
  if (hash === undefined) {
    throw new VmmError('unsupported', `${what}: not signed with RSASSA-PSS as AMD does`, {
      remedy: 'SHA-256, SHA-384 or SHA-512, MGF1 with the same, a salt as long as the hash',
    });
  }
  const signed = { der, body: body.der, signature: bits.content.subarray(1), hash };
  return { signed, fields };
}

/** Insists on values of these types, and no others. */
export function expectTags(values: readonly DerValue[], tags: readonly number[]): void {
  const same = values.length === tags.length && values.every(({ tag }, i) => tag === tags[i]);
  if (!same) throw new Error('other values than the format has');
}

/** The hash of RSASSA-PSS parameters whose salt is as long as the hash, as AMD's always are. */
const pssHash = remembered((der): NamedHash | undefined => {
  const { algorithm, parameters } = AsnConvert.parse(der, AlgorithmIdentifier);
  if (algorithm !== RSASSA_PSS || !parameters) return undefined;
  const { hashAlgorithm, maskGenAlgorithm, saltLength, trailerField } = AsnConvert.parse(
    parameters,
    RsaSaPssParams,
  );
  const hash = HASHES[hashAlgorithm.algorithm];
  const mask = maskGenAlgorithm.parameters
    ? AsnConvert.parse(maskGenAlgorithm.parameters, AlgorithmIdentifier)
    : undefined;
  const usual =
    maskGenAlgorithm.algorithm === MGF1 &&
    mask?.algorithm === hashAlgorithm.algorithm &&
    saltLength === hash?.length &&
    trailerField === 1;
  return usual ? hash : undefined;
});

/** The library makes an invalid date of digits that are none. */
export function dateOf(what: string, date: Date): Date {
  if (Number.isNaN(date.getTime()))
    throw new VmmError('invalid-file', `${what}: a date that is none`);
  return date;
}

const ATTRIBUTES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
};

/** A name as text, in its own order; a comma and a backslash in it are escaped. */
export const nameText = remembered((der): string =>
  AsnConvert.parse(der, Name)
    .flatMap((set) =>
      [...set].map(({ type, value }) => {
        const text = value.toString().replace(/[\\,]/g, '\\$&');
        return `${ATTRIBUTES[type] ?? type}=${text}`;
      }),
    )
    .join(', '),
);
