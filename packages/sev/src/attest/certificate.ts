/**
 * X.509 certificates as AMD issues them, and PEM files of several.
 *
 * Source: RFC 5280 sections 4.1 and 4.2, RFC 7468 for PEM. The frame is walked here, strictly;
 * names, dates, algorithms and standard extensions are read by @peculiar/asn1-x509. Of the latter
 * basic constraints and key usage count; a critical extension that is neither makes a certificate
 * unusable, as RFC 5280 demands. Unique identifiers, which it forbids to issue, are refused.
 */
import { VmmError } from '@cloister/core';
import { AsnConvert } from '@peculiar/asn1-schema';
import { BasicConstraints, KeyUsage, KeyUsageFlags, Time } from '@peculiar/asn1-x509';
import { sameBytes, toHex } from './bytes.js';
import { DER, type DerValue, derInside, derValues, identifierText } from './der.js';
import {
  dateOf,
  expectTags,
  guarded,
  nameText,
  type SignedObject,
  signedObject,
} from './signed-object.js';

const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const UNDERSTOOD = new Set([BASIC_CONSTRAINTS, KEY_USAGE]);

/** Tags of the body's fields that have one of their own. */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;

const VERSION_3 = Uint8Array.of(DER.integer, 1, 2);
const TRUE = Uint8Array.of(0xff);

/** Larger than any certificate of AMD's by far. */
const CERTIFICATE_MAX = 0x10000;

export interface Certificate extends SignedObject {
  /** `OU=Engineering, …, CN=SEV-VCEK`; the order is the certificate's. */
  readonly subject: string;
  readonly issuer: string;
  /** The last part of the subject, e.g. `ARK-Milan`. */
  readonly commonName: string;
  /** In hexadecimal, without leading zeros; `0` for every VCEK and VLEK. */
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** Whether it may sign certificates. */
  readonly isAuthority: boolean;
  /** How many authorities may come between this one and an end; none said: no limit. */
  readonly pathLength: number | undefined;
  /** The values of the extensions, by their identifier. */
  readonly extensions: ReadonlyMap<string, Uint8Array>;
  /** Critical extensions that are not understood here. */
  readonly unknownCritical: readonly string[];
}

/** Reads one certificate in DER. `VmmError('invalid-file')` when it is none. */
export function parseCertificate(received: Uint8Array): Certificate {
  if (received.length > CERTIFICATE_MAX) {
    throw new VmmError('invalid-file', `certificate of ${received.length} bytes`);
  }
  return guarded('certificate', () => certificateOf(Uint8Array.from(received)));
}

/** Version, serial, algorithm, issuer, validity, subject, key. */
const FIELDS = [VERSION, DER.integer, ...Array<number>(5).fill(DER.sequence)];
const ALGORITHM = 2;

type Fields = readonly [DerValue, DerValue, DerValue, DerValue, DerValue, DerValue, DerValue];

function certificateOf(der: Uint8Array<ArrayBuffer>): Certificate {
  const { signed, fields } = signedObject('certificate', der, () => ALGORITHM);
  expectTags(fields.slice(0, FIELDS.length), FIELDS);
  const [version, serial, , issuer, validity, subject, key] = fields as unknown as Fields;
  if (!sameBytes(version.content, VERSION_3)) {
    throw new VmmError('unsupported', 'certificate: not of X.509 version 3');
  }
  const [notBefore, notAfter, ...others] = derValues(validity.content);
  if (notBefore === undefined || notAfter === undefined || others.length > 0) {
    throw new VmmError('invalid-file', 'certificate: its validity is not two dates');
  }
  const name = nameText(subject.der);
  return {
    ...signed,
    subject: name,
    issuer: nameText(issuer.der),
    commonName: /(?:^|, )CN=([^,]*)$/.exec(name)?.[1] ?? '',
    serial: serialText(serial.content),
    notBefore: dateOf('certificate', timeOf(notBefore)),
    notAfter: dateOf('certificate', timeOf(notAfter)),
    publicKey: key.der,
    ...extensionsOf(fields.slice(FIELDS.length)),
  };
}

const timeOf = ({ der }: DerValue): Date => AsnConvert.parse(der, Time).getTime();

export const serialText = (serial: Uint8Array): string => toHex(serial).replace(/^0+(?=.)/, '');

/** What follows the key: the extensions, or nothing. */
function extensionsOf(rest: readonly DerValue[]) {
  const extensions = new Map<string, Uint8Array>();
  const unknownCritical: string[] = [];
  const [list] = rest;
  expectTags(rest, list === undefined ? [] : [EXTENSIONS]);
  for (const each of list === undefined ? [] : derInside(list.content, DER.sequence)) {
    const { id, critical, value } = extensionOf(each);
    if (extensions.has(id)) {
      throw new VmmError('invalid-file', `certificate: extension ${id} twice`);
    }
    extensions.set(id, value);
    if (critical && !UNDERSTOOD.has(id)) unknownCritical.push(id);
  }
  return { ...authority(extensions), extensions, unknownCritical };
}

/** DER leaves out `critical` where it is false, and has one value for true. */
function extensionOf({ der }: DerValue) {
  const parts = derInside(der, DER.sequence);
  const critical = parts.length === 3;
  const middle = critical ? [DER.boolean] : [];
  expectTags(parts, [DER.identifier, ...middle, DER.octetString]);
  if (critical && !sameBytes(parts[1]!.content, TRUE)) throw new Error('not true in DER');
  return { id: identifierText(parts[0]!.content), critical, value: parts.at(-1)!.content };
}

function authority(extensions: ReadonlyMap<string, Uint8Array>) {
  const constraints = extensions.get(BASIC_CONSTRAINTS);
  const usage = extensions.get(KEY_USAGE);
  const basic = constraints && AsnConvert.parse(constraints, BasicConstraints);
  const signs = usage === undefined || maySign(AsnConvert.parse(usage, KeyUsage));
  return { isAuthority: basic?.cA === true && signs, pathLength: basic?.pathLenConstraint };
}

const maySign = (usage: KeyUsage): boolean => (usage.toNumber() & KeyUsageFlags.keyCertSign) !== 0;

const PEM = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g;

/** Every certificate in a file: one in DER, or any number in PEM. */
export function parseCertificates(file: Uint8Array): Certificate[] {
  if (file[0] === 0x30) return [parseCertificate(file)];
  const found = pemBlocks(file, 'CERTIFICATE').map(parseCertificate);
  if (found.length === 0) {
    throw new VmmError('invalid-file', 'no certificate in it', {
      remedy: 'give DER, or PEM with BEGIN CERTIFICATE lines',
    });
  }
  return found;
}

/** The bytes of each PEM block with this label. */
export function pemBlocks(file: Uint8Array, label: string): Uint8Array[] {
  const text = new TextDecoder('latin1').decode(file);
  return [...text.matchAll(PEM)]
    .filter(([, found]) => found === label)
    .map(([, , base64]) => {
      const characters = guarded('PEM', () => atob(base64!.replace(/\s+/g, '')));
      return Uint8Array.from(characters, (character) => character.charCodeAt(0));
    });
}
