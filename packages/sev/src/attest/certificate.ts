/**
 * X.509 certificates as AMD issues them, and PEM files of several.
 *
 * Source: RFC 5280 sections 4.1 and 4.2, RFC 7468 for PEM. The structure is read by
 * @peculiar/asn1-x509. Of the standard extensions basic constraints and key usage count here; a
 * critical extension that is neither makes a certificate unusable, as RFC 5280 demands.
 */
import { VmmError } from '@cloister/core';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  KeyUsage,
  KeyUsageFlags,
  Certificate as X509,
} from '@peculiar/asn1-x509';
import { toHex } from './bytes.js';
import { dateOf, guarded, nameText, type SignedObject, signedObject } from './signed-object.js';

const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const UNDERSTOOD = new Set([BASIC_CONSTRAINTS, KEY_USAGE]);

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
  const der = Uint8Array.from(received);
  return guarded('certificate', () => {
    const parsed = AsnConvert.parse(der, X509);
    const tbs = parsed.tbsCertificate;
    const extensions = new Map<string, Uint8Array>();
    const unknownCritical: string[] = [];
    for (const { extnID, critical, extnValue } of tbs.extensions ?? []) {
      if (extensions.has(extnID)) {
        throw new VmmError('invalid-file', `certificate: extension ${extnID} twice`);
      }
      extensions.set(extnID, new Uint8Array(extnValue.buffer));
      if (critical && !UNDERSTOOD.has(extnID)) unknownCritical.push(extnID);
    }
    const subject = nameText(tbs.subject);
    return {
      ...signedObject('certificate', der, {
        body: parsed.tbsCertificateRaw,
        inner: tbs.signature,
        signature: parsed.signatureValue,
      }),
      subject,
      issuer: nameText(tbs.issuer),
      commonName: /(?:^|, )CN=([^,]*)$/.exec(subject)?.[1] ?? '',
      serial: serialText(tbs.serialNumber),
      notBefore: dateOf('certificate', tbs.validity.notBefore.getTime()),
      notAfter: dateOf('certificate', tbs.validity.notAfter.getTime()),
      publicKey: new Uint8Array(AsnConvert.serialize(tbs.subjectPublicKeyInfo)),
      ...authority(extensions),
      extensions,
      unknownCritical,
    };
  });
}

export const serialText = (serial: ArrayBuffer): string =>
  toHex(new Uint8Array(serial)).replace(/^0+(?=.)/, '');

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
