/**
 * Certificate revocation lists. AMD's ARK signs one for each product; since every VCEK and VLEK
 * has the serial number 0, what a list can revoke is an intermediate certificate.
 *
 * Source: RFC 5280 section 5; AMD KDS specification (57230), "CRL". No list of AMD's could be had
 * to test with: the tests make their own.
 */
import { VmmError } from '@cloister/core';
import { AsnConvert } from '@peculiar/asn1-schema';
import { type Extension, TBSCertList } from '@peculiar/asn1-x509';
import { pemBlocks, serialText } from './certificate.js';
import { DER, type DerValue } from './der.js';
import { dateOf, guarded, nameText, type SignedObject, signedObject } from './signed-object.js';

const CRL_MAX = 0x400000;

/** Extensions of a list that are understood: its number, and whose key signed. */
const UNDERSTOOD = new Set(['2.5.29.20', '2.5.29.35']);
const NONE: ReadonlySet<string> = new Set();

export interface RevocationList extends SignedObject {
  readonly issuer: string;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date | undefined;
  /** Serial numbers in hexadecimal, without leading zeros. */
  readonly revoked: ReadonlySet<string>;
}

/** Reads a list in DER or PEM. `VmmError('invalid-file')` when it is none. */
export function parseCrl(file: Uint8Array): RevocationList {
  if (file.length > CRL_MAX) throw new VmmError('invalid-file', `CRL of ${file.length} bytes`);
  const der = Uint8Array.from(file[0] === 0x30 ? file : (pemBlocks(file, 'X509 CRL')[0] ?? file));
  return guarded('CRL', () => {
    const { signed, fields } = signedObject('CRL', der, algorithmAt);
    const list = AsnConvert.parse(signed.body, TBSCertList);
    const entries = list.revokedCertificates ?? [];
    refuseCritical(list.crlExtensions ?? [], UNDERSTOOD);
    for (const { crlEntryExtensions } of entries) refuseCritical(crlEntryExtensions ?? [], NONE);
    const [, issuer] = fields.slice(algorithmAt(fields));
    return {
      ...signed,
      issuer: nameText(issuer!.der),
      thisUpdate: dateOf('CRL', list.thisUpdate.getTime()),
      nextUpdate: list.nextUpdate && dateOf('CRL', list.nextUpdate.getTime()),
      revoked: new Set(
        entries.map(({ userCertificate }) => serialText(new Uint8Array(userCertificate))),
      ),
    };
  });
}

/** The version stands first, where there is one. */
const algorithmAt = ([first]: readonly DerValue[]): number => (first?.tag === DER.integer ? 1 : 0);

function refuseCritical(extensions: readonly Extension[], understood: ReadonlySet<string>): void {
  const unknown = extensions.find(({ extnID, critical }) => critical && !understood.has(extnID));
  if (unknown === undefined) return;
  throw new VmmError('unsupported', `CRL: critical extension ${unknown.extnID}`);
}
