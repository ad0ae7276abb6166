/**
 * Whatever bytes come, a parser returns or throws the typed error.
 */
import { isVmmError } from '@cloister/core';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Authority, createAuthority } from '../testing/authority.js';
import { parseCertTable } from './cert-table.js';
import { parseCertificate, parseCertificates } from './certificate.js';
import { parseCrl } from './crl.js';
import { parseLegacyCertificate } from './legacy-certificate.js';
import { parseLegacyReport } from './legacy-verify.js';
import { readPolicy } from './policy-file.js';
import { parseReport } from './report.js';
import { reportJson } from './report-json.js';
import { vekExtensions } from './vek-extensions.js';

const whole = (bytes: Uint8Array) => vekExtensions(parseCertificate(bytes));
const PARSERS: [string, (bytes: Uint8Array) => unknown][] = [
  ['a report', (bytes) => reportJson(parseReport(bytes, { laterVersions: true }))],
  ['a certificate', whole],
  ['certificates', parseCertificates],
  ['a revocation list', parseCrl],
  ['a certificate table', parseCertTable],
  ['a certificate before SNP', parseLegacyCertificate],
  ['a report before SNP', parseLegacyReport],
];

function quiet(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch (error) {
    if (!isVmmError(error)) throw error;
    return true;
  }
}

let amd: Authority;
beforeAll(async () => {
  amd = await createAuthority();
});

describe.each(PARSERS)('%s', (_name, parse) => {
  test('of random bytes throws nothing but the typed error', () => {
    const sizes = fc.constantFrom(0, 1, 0xd0, 0x240, 0x340, 0x4a0, 0x640, 0x824);
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      sizes.chain((size) => fc.uint8Array({ minLength: size, maxLength: size })),
      // What begins like DER, like version 1, like PEM.
      fc.uint8Array({ maxLength: 200 }).map((tail) => Uint8Array.from([0x30, 0x82, ...tail])),
      fc
        .uint8Array({ minLength: 0x820, maxLength: 0x820 })
        .map((tail) => Uint8Array.from([1, 0, 0, 0, ...tail])),
      fc
        .string()
        .map((text) =>
          new TextEncoder().encode(`-----BEGIN CERTIFICATE-----${text}-----END CERTIFICATE-----`),
        ),
    );
    fc.assert(
      fc.property(bytes, (each) => quiet(() => parse(each))),
      { numRuns: 300 },
    );
  });

  test('of nested DER without end throws the typed error', () => {
    const deep = new Uint8Array(60_000).map((_, i) => (i % 2 === 0 ? 0x30 : 0x80));
    expect(quiet(() => parse(deep))).toBe(true);
  });
});

test('a certificate with several bytes changed is read, or refused with the typed error', () => {
  const change = fc.tuple(fc.nat(), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = Uint8Array.from(amd.vek.der);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      return quiet(() => whole(bytes));
    }),
    { numRuns: 500 },
  );
});

describe('a policy', () => {
  test('of any JSON is read, or refused with the typed error', () => {
    fc.assert(fc.property(fc.jsonValue(), (json) => quiet(() => readPolicy(json))));
  });

  test('is read with bytes in hexadecimal, one or several', () => {
    const measurement = 'ab'.repeat(48);
    expect(
      readPolicy({
        measurement,
        reportData: ['0x01', '0203'],
        minimumTcb: { reported: { snp: 24 } },
        minimumFirmware: { major: 1, minor: 55 },
        requiredMitigations: '0x3',
        vmpl: 1,
        platformInfo: { refused: 'smt', refuseUnknown: true },
      }),
    ).toEqual({
      measurement: [new Uint8Array(48).fill(0xab)],
      reportData: [Uint8Array.of(1), Uint8Array.of(2, 3)],
      minimumTcb: { reported: { snp: 24 } },
      minimumFirmware: { major: 1, minor: 55, build: 0 },
      requiredMitigations: 3n,
      vmpl: [1],
      platformInfo: { refused: ['smt'], refuseUnknown: true },
    });
  });

  test.each([
    [{ mesurement: '00' }, 'mesurement'],
    [{ measurement: '00' }, 'measurement'],
    [{ allowDebug: 'no' }, 'allowDebug'],
    [{ minimumTcb: { reported: { snp: 256 } } }, 'minimumTcb.reported.snp'],
    [{ minimumTcb: { Reported: {} } }, 'minimumTcb.Reported'],
    [{ platformInfo: { required: ['SMT'] } }, 'platformInfo.required'],
    [[], 'policy'],
  ])('%j is refused by the path of its fault', (json, path) => {
    expect(() => readPolicy(json)).toThrow(
      expect.objectContaining({ code: 'invalid-config', path }),
    );
  });
});
