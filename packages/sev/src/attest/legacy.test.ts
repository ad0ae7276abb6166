/**
 * Attestation before SNP, with a made-up chain in AMD's formats.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type LegacyCertificate,
  type LegacyUsage,
  parseLegacyCertificate,
} from './legacy-certificate.js';
import {
  type LegacyChain,
  type LegacyReportRules,
  parseLegacyReport,
  verifyLegacyChain,
  verifyLegacyReport,
} from './legacy-verify.js';

const USAGE = { ark: 0, ask: 0x13, oca: 0x1001, pek: 0x1002, pdh: 0x1003, cek: 0x1004 };
type Bytes = Uint8Array<ArrayBuffer>;
type Signer = { readonly usage: LegacyUsage; readonly key: CryptoKey };

const flipped = (bytes: Uint8Array, at: number): Uint8Array => {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= 0x10;
  return copy;
};

const fromBase64url = (text: string): Uint8Array =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));

async function rsaKeys(): Promise<CryptoKeyPair> {
  const name = { name: 'RSA-PSS', hash: 'SHA-256', modulusLength: 2048 };
  const publicExponent = Uint8Array.of(1, 0, 1);
  return crypto.subtle.generateKey({ ...name, publicExponent }, true, ['sign', 'verify']);
}

const ecKeys = (): Promise<CryptoKeyPair> =>
  crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-384' }, true, ['sign', 'verify']);

async function signature({ key }: Signer, body: Bytes): Promise<Uint8Array> {
  if (key.algorithm.name === 'RSA-PSS') {
    const made = await crypto.subtle.sign({ name: 'RSA-PSS', saltLength: 32 }, key, body);
    return new Uint8Array(made).reverse();
  }
  const made = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, body);
  const pair = new Uint8Array(144);
  pair.set(new Uint8Array(made.slice(0, 48)).reverse(), 0);
  pair.set(new Uint8Array(made.slice(48)).reverse(), 72);
  return pair;
}

async function sevCertificate(usage: LegacyUsage, keys: CryptoKeyPair, signers: Signer[]) {
  const bytes = new Uint8Array(0x824);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 1, true);
  view.setUint32(0x08, USAGE[usage], true);
  view.setUint32(0x0c, usage === 'pdh' ? 3 : 2, true);
  view.setUint32(0x10, 2, true);
  const point = new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey));
  bytes.set(point.slice(1, 49).reverse(), 0x14);
  bytes.set(point.slice(49).reverse(), 0x14 + 72);
  const body = bytes.slice(0, 0x414);
  for (const at of [0x414, 0x61c]) view.setUint32(at, 0x1000, true);
  for (const [index, signer] of signers.entries()) {
    const at = 0x414 + index * 0x208;
    view.setUint32(at, USAGE[signer.usage], true);
    view.setUint32(at + 4, signer.key.algorithm.name === 'RSA-PSS' ? 1 : 2, true);
    bytes.set(await signature(signer, body), at + 8);
  }
  return parseLegacyCertificate(bytes);
}

async function caCertificate(usage: 'ark' | 'ask', keys: CryptoKeyPair, signer: Signer) {
  const bytes = new Uint8Array(0x40 + 3 * 256);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 1, true);
  bytes.fill(usage === 'ark' ? 1 : 2, 0x04, 0x14);
  bytes.fill(1, 0x14, 0x24);
  view.setUint32(0x24, USAGE[usage], true);
  view.setUint32(0x38, 2048, true);
  view.setUint32(0x3c, 2048, true);
  const { n, e } = await crypto.subtle.exportKey('jwk', keys.publicKey);
  bytes.set(fromBase64url(e!).reverse(), 0x40);
  bytes.set(fromBase64url(n!).reverse(), 0x140);
  bytes.set(await signature(signer, bytes.slice(0, 0x240)), 0x240);
  return parseLegacyCertificate(bytes);
}

let chain: Required<LegacyChain>;
let report: Uint8Array;

beforeAll(async () => {
  const [ark, ask] = [await rsaKeys(), await rsaKeys()];
  const [cek, pek, oca, pdh] = await Promise.all([ecKeys(), ecKeys(), ecKeys(), ecKeys()]);
  const by = (usage: LegacyUsage, { privateKey }: CryptoKeyPair): Signer => ({
    usage,
    key: privateKey,
  });
  chain = {
    ark: await caCertificate('ark', ark, by('ark', ark)),
    ask: await caCertificate('ask', ask, by('ark', ark)),
    cek: await sevCertificate('cek', cek, [by('ask', ask)]),
    oca: await sevCertificate('oca', oca, [by('oca', oca)]),
    pek: await sevCertificate('pek', pek, [by('oca', oca), by('cek', cek)]),
    pdh: await sevCertificate('pdh', pdh, [by('pek', pek)]),
  };
  const bytes = new Uint8Array(0xd0);
  const view = new DataView(bytes.buffer);
  bytes.fill(0xaa, 0, 0x10);
  bytes.fill(0xbb, 0x10, 0x30);
  view.setUint32(0x30, 5, true);
  view.setUint32(0x34, USAGE.pek, true);
  view.setUint32(0x38, 2, true);
  bytes.set(await signature(by('pek', pek), bytes.slice(0, 0x34)), 0x40);
  report = bytes;
});

async function chainFaults(change: Partial<LegacyChain>, trusted = chain.ark): Promise<string[]> {
  const checks = await verifyLegacyChain({ ...chain, ...change }, trusted);
  return checks.filter(({ ok }) => !ok).map(({ id }) => id);
}

async function reportFaults(bytes: Uint8Array, rules: LegacyReportRules = {}): Promise<string[]> {
  const checks = await verifyLegacyReport(parseLegacyReport(bytes), chain.pek, rules);
  return checks.filter(({ ok }) => !ok).map(({ id }) => id);
}

describe('a chain before SNP', () => {
  test('is trusted up to its ARK', async () => {
    const checks = await verifyLegacyChain(chain, chain.ark);
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(checks.map(({ id }) => id)).toEqual([
      'chain.root-key',
      'chain.usages',
      'chain.ark-by-ark',
      'chain.ask-by-ark',
      'chain.cek-by-ask',
      'chain.pek-by-cek',
      'chain.oca-by-oca',
      'chain.pek-by-oca',
      'chain.pdh-by-pek',
    ]);
  });

  test('with an ARK that lacks its own signature is trusted all the same', async () => {
    const ark = parseLegacyCertificate(chain.ark.bytes.subarray(0, 0x240));
    expect(await chainFaults({ ark }, ark)).toEqual([]);
  });

  test('is refused under another ARK, and with certificates exchanged', async () => {
    const other = parseLegacyCertificate(flipped(chain.ark.bytes, 0x30));
    expect(await chainFaults({}, other)).toEqual(['chain.root-key']);
    expect(await chainFaults({ cek: chain.oca })).toContain('chain.usages');
  });

  test('is refused with any byte flipped of what is signed', async () => {
    const rows: [LegacyUsage, number][] = [
      ['ark', 0x340],
      ['ask', 0x340],
      ['cek', 0x414],
      ['oca', 0x414],
      ['pek', 0x414],
      ['pdh', 0x414],
    ];
    const place = fc
      .constantFrom(...rows)
      .chain(([usage, size]) => fc.tuple(fc.constant(usage), fc.nat(size - 1)));
    await fc.assert(
      fc.asyncProperty(place, async ([usage, at]) => {
        let changed: LegacyCertificate;
        try {
          changed = parseLegacyCertificate(flipped(chain[usage].bytes, at));
        } catch (error) {
          return (error as Error).name === 'VmmError';
        }
        return (await chainFaults({ [usage]: changed })).length > 0;
      }),
      { numRuns: 120 },
    );
  });
});

describe('an ATTESTATION report', () => {
  test('is trusted, with its nonce and digest', async () => {
    const nonce = new Uint8Array(16).fill(0xaa);
    const launchDigest = new Uint8Array(32).fill(0xbb);
    expect(await reportFaults(report, { nonce, launchDigest, requiredPolicy: 4 })).toEqual([]);
  });

  test('is refused by what the caller demands', async () => {
    const nonce = new Uint8Array(16);
    expect(await reportFaults(report, { nonce })).toEqual(['policy.nonce']);
    const launchDigest = new Uint8Array(32);
    expect(await reportFaults(report, { launchDigest })).toEqual(['policy.launch-digest']);
    expect(await reportFaults(report, { requiredPolicy: 8 })).toEqual(['policy.bits']);
    expect(await reportFaults(flipped(report, 0x30))).toContain('signature.report');
  });

  test('that says nothing of NODBG is refused unless that is allowed', async () => {
    const debug = Uint8Array.from(report);
    debug[0x30] = 4;
    expect(await reportFaults(debug)).toContain('policy.debug');
    expect(await reportFaults(debug, { allowDebug: true })).not.toContain('policy.debug');
  });

  test('is refused with any byte flipped of what is signed, or of the signature', async () => {
    const place = fc.oneof(fc.nat(0x3b), fc.integer({ min: 0x40, max: 0xcf }));
    await fc.assert(
      fc.asyncProperty(place, async (at) =>
        (await reportFaults(flipped(report, at))).includes('signature.report'),
      ),
      { numRuns: 120 },
    );
  });
});
