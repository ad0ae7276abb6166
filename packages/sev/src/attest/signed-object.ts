/**
 * What a certificate and a CRL have in common: a body, an algorithm, a signature.
 *
 * Source: RFC 5280 sections 4.1.1 and 5.1.1; RFC 4055 section 3.1 for RSASSA-PSS parameters.
 * The ASN.1 library reads BER and so accepts one value in several encodings, and the signature
 * does not cover the outer shell. The shell is therefore built again from what is signed and
 * compared: no byte of the file can change without being noticed.
 */
import { VmmError } from '@cloister/core';
import { RsaSaPssParams } from '@peculiar/asn1-rsa';
import { AsnConvert } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier, type Name } from '@peculiar/asn1-x509';
import { concat, sameBytes, toHex } from './bytes.js';

const RSASSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';
const HASHES: Readonly<Record<string, { readonly name: string; readonly length: number }>> = {
  '2.16.840.1.101.3.4.2.1': { name: 'SHA-256', length: 32 },
  '2.16.840.1.101.3.4.2.2': { name: 'SHA-384', length: 48 },
  '2.16.840.1.101.3.4.2.3': { name: 'SHA-512', length: 64 },
};

/** The body that was signed, the signature, and the hash of its RSASSA-PSS. */
export interface SignedObject {
  readonly der: Uint8Array<ArrayBuffer>;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly signature: Uint8Array<ArrayBuffer>;
  readonly hash: { readonly name: string; readonly length: number };
}

/** Runs the library's parser; whatever it throws becomes one error that says what was read. */
export function guarded<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (cause instanceof VmmError) throw cause;
    throw new VmmError('invalid-file', `${what}: not DER as X.509 defines it`, { cause });
  }
}

/** Puts the parts together and insists that they give the bytes received. */
export function signedObject(
  what: string,
  der: Uint8Array<ArrayBuffer>,
  parts: {
    readonly body: ArrayBuffer | undefined;
    /** The algorithm that the body itself names. */
    readonly inner: AlgorithmIdentifier;
    readonly signature: ArrayBuffer;
  },
): SignedObject {
  const body = new Uint8Array(parts.body ?? new ArrayBuffer(0));
  const signature = new Uint8Array(parts.signature);
  const { hash, algorithm } = schemeOf(what, parts.inner);
  const bits = tagged(0x03, concat(Uint8Array.of(0), signature));
  if (!sameBytes(tagged(0x30, concat(body, algorithm, bits)), der)) {
    throw new VmmError('invalid-file', `${what}: not the one encoding that DER allows`);
  }
  return { der, body, signature, hash };
}

interface Scheme {
  readonly hash: SignedObject['hash'];
  /** The algorithm's DER. */
  readonly algorithm: Uint8Array;
}

/** AMD writes its parameters in one way: reading them once is enough. */
const seen = new Map<string, Scheme>();
const SEEN_MAX = 16;

function schemeOf(what: string, inner: AlgorithmIdentifier): Scheme {
  const key = `${inner.algorithm} ${toHex(new Uint8Array(inner.parameters ?? []))}`;
  const known = seen.get(key);
  if (known !== undefined) return known;
  const algorithm = new Uint8Array(AsnConvert.serialize(inner));
  const scheme = { hash: pssHash(what, inner), algorithm };
  if (seen.size < SEEN_MAX) seen.set(key, scheme);
  return scheme;
}

/** The hash of RSASSA-PSS parameters whose salt is as long as the hash, as AMD's always are. */
function pssHash(what: string, { algorithm, parameters }: AlgorithmIdentifier) {
  if (algorithm !== RSASSA_PSS || !parameters) {
    throw new VmmError('unsupported', `${what}: signature algorithm ${algorithm}`, {
      remedy: 'AMD signs with RSASSA-PSS',
    });
  }
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
  if (hash === undefined || !usual) {
    throw new VmmError('unsupported', `${what}: RSASSA-PSS with unusual parameters`);
  }
  return hash;
}

function tagged(tag: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = content;
  if (length < 0x80) return concat(Uint8Array.of(tag, length), content);
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return concat(Uint8Array.of(tag, 0x80 | digits.length, ...digits), content);
}

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

/** A name as text, in its own order; what follows a comma or a backslash is escaped. */
export function nameText(name: Name): string {
  return name
    .flatMap((set) =>
      [...set].map(({ type, value }) => {
        const text = value.toString().replace(/[\\,]/g, '\\$&');
        return `${ATTRIBUTES[type] ?? type}=${text}`;
      }),
    )
    .join(', ');
}
