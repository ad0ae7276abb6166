/**
 * Certificates, against two other readers: Node's X509Certificate and the whole of the ASN.1
 * library; and the frame that is walked here, against the one encoding that DER allows.
 */
import { X509Certificate } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isVmmError } from '@cloister/core';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate as Whole } from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Authority, createAuthority } from '../testing/authority.js';
import { vectorBytes, vectorFolder, vectorsAbsent } from '../testing/node-vectors.js';
import { concat, toHex } from './bytes.js';
import { type Certificate, parseCertificate } from './certificate.js';
import { derInside, derValues, identifierText } from './der.js';

let amd: Authority;
beforeAll(async () => {
  amd = await createAuthority();
});

/** A certificate that is read here is read by the others, and says the same to them. */
function sameForOthers(read: Certificate): void {
  const theirs = new X509Certificate(read.der);
  expect(theirs.subject.split('\n').join(', ')).toBe(read.subject);
  expect(theirs.issuer.split('\n').join(', ')).toBe(read.issuer);
  expect(theirs.serialNumber.toLowerCase().replace(/^0+(?=.)/, '')).toBe(read.serial);
  expect(new Date(theirs.validFrom)).toEqual(read.notBefore);
  expect(new Date(theirs.validTo)).toEqual(read.notAfter);
  expect(theirs.ca).toBe(read.isAuthority);
  const key = theirs.publicKey.export({ type: 'spki', format: 'der' });
  expect(toHex(key)).toBe(toHex(read.publicKey));
  sameForLibrary(read);
}

function sameForLibrary(read: Certificate): void {
  const whole = AsnConvert.parse(read.der, Whole);
  const { extensions = [], serialNumber } = whole.tbsCertificate;
  expect(toHex(new Uint8Array(whole.tbsCertificateRaw!))).toBe(toHex(read.body));
  expect(toHex(new Uint8Array(whole.signatureValue))).toBe(toHex(read.signature));
  expect(toHex(new Uint8Array(serialNumber)).replace(/^0+(?=.)/, '')).toBe(read.serial);
  expect(
    [...extensions].map(({ extnID, extnValue }) => [
      extnID,
      toHex(new Uint8Array(extnValue.buffer)),
    ]),
  ).toEqual([...read.extensions].map(([id, value]) => [id, toHex(value)]));
  const critical = [...extensions].filter((each) => each.critical).map(({ extnID }) => extnID);
  expect(read.unknownCritical).toEqual(
    critical.filter((id) => id !== '2.5.29.19' && id !== '2.5.29.15'),
  );
}

describe('a certificate', () => {
  test('says the same to other readers', () => {
    for (const { der } of [amd.vek, amd.ask, amd.ark]) sameForOthers(parseCertificate(der));
  });

  const absent = vectorsAbsent('reports');
  test.skipIf(absent)(
    `of AMD’s says the same to other readers${absent ? ` (${absent})` : ''}`,
    () => {
      const names = readdirSync(join(vectorFolder, 'reports', 'certs'));
      expect(names.length).toBeGreaterThan(10);
      for (const name of names)
        sameForOthers(parseCertificate(vectorBytes(`reports/certs/${name}`)));
    },
  );

  test('that is damaged and still read is read alike by the library', () => {
    let accepted = 0;
    const change = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 2 }),
        fc.boolean(),
        (changes, ask) => {
          const bytes = (ask ? amd.ask : amd.vek).der.slice();
          for (const [at, by] of changes) bytes[at % bytes.length]! ^= by;
          let read: Certificate;
          try {
            read = parseCertificate(bytes);
          } catch (error) {
            if (!isVmmError(error)) throw error;
            return;
          }
          accepted += 1;
          // Inside of a key only its user looks, who refuses it: see signatures.test.ts.
          const own = parseCertificate((ask ? amd.ask : amd.vek).der).publicKey;
          if (toHex(read.publicKey) === toHex(own)) sameForLibrary(read);
        },
      ),
      { numRuns: 400 },
    );
    // Keys, serials and signatures may hold anything: the damage was not refused every time.
    expect(accepted).toBeGreaterThan(100);
  });

  /** The bytes of a certificate with one of its parts exchanged. */
  function rebuilt(change: (parts: Uint8Array<ArrayBuffer>[]) => void): Uint8Array {
    const parts = derInside(amd.vek.der, 0x30).map(({ der }) => der);
    change(parts);
    const content = concat(...parts);
    return concat(Uint8Array.of(0x30, 0x82, content.length >> 8, content.length & 0xff), content);
  }

  test('is refused in every other encoding of its frame', () => {
    expect(rebuilt(() => {})).toEqual(amd.vek.der);
    const der = amd.vek.der;
    const head = der.subarray(0, 4);
    const others: [string, Uint8Array][] = [
      ['a length in more digits', concat(Uint8Array.of(0x30, 0x83, 0), der.subarray(2))],
      ['no length', concat(Uint8Array.of(0x30, 0x80), der.subarray(4), new Uint8Array(2))],
      ['bytes behind', concat(der, Uint8Array.of(0))],
      ['a part more', rebuilt((parts) => parts.push(Uint8Array.of(5, 0)))],
      ['bits left over', rebuilt((parts) => void (parts[2]![4] = 1))],
      ['another algorithm outside', rebuilt((parts) => parts.splice(1, 1, Uint8Array.of(0x30, 0)))],
      ['another tag', concat(Uint8Array.of(0x31), der.subarray(1))],
      ['no parts', concat(head, new Uint8Array(0))],
    ];
    for (const [what, bytes] of others) {
      expect(() => parseCertificate(bytes), what).toThrow(
        expect.objectContaining({ code: 'invalid-file' }),
      );
    }
  });
});

describe('DER', () => {
  test('of any bytes is read as values that make up the bytes, or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        let values: ReturnType<typeof derValues>;
        try {
          values = derValues(Uint8Array.from(bytes));
        } catch (error) {
          expect((error as Error).message).toBe('not DER');
          return;
        }
        expect(concat(...values.map(({ der }) => der))).toEqual(bytes);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    [[0x55, 0x1d, 0x13], '2.5.29.19'],
    [[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], '1.2.840.113549.1.1.10'],
    [[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01, 0x03, 0x08], '1.3.6.1.4.1.3704.1.3.8'],
    [[0x88, 0x37], '2.999'],
    [[0x27], '0.39'],
  ])('%j is the identifier %s', (content, text) => {
    expect(identifierText(Uint8Array.from(content))).toBe(text);
  });

  test.each([
    [[]],
    [[0x80, 1]],
    [[0x2a, 0x80, 1]],
    [[0x2a, 0x86]],
    [[0x2a, 255, 255, 255, 255, 127]],
  ])('%j is no identifier', (content) => {
    expect(() => identifierText(Uint8Array.from(content))).toThrow('not DER');
  });
});
