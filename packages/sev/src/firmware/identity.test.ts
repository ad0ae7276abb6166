/**
 * Whose platform it is: keys and certificates, what is kept and what is made afresh, and that no
 * chain can be taken for one of AMD's. The chain is checked by the attestation half.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SIZE } from '../abi/commands.js';
import { STATUS } from '../abi/status.js';
import { ARK_SPKI_SHA256, parseLegacyCertificate, verifyLegacyChain } from '../attest/index.js';
import { toHex } from '../bytes.js';
import { otherChip, TEST_CHIP_FILE, testChip } from '../testing/emulated-chip.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { certificate, signCertificate } from './certificate.js';
import { generateKey } from './ec-key.js';
import { seededEntropy } from './entropy.js';
import { firmwareImage } from './firmware-image.js';
import { memoryStore } from './persistent.js';
import {
  authorityChain,
  certifiedCek,
  decodeChip,
  encodeChip,
  makeChip,
  makeRoot,
} from './root.js';
import { modulus, publicBytes, signPss, verifyPss } from './rsa-key.js';

const version = { major: 1, minor: 55 };

function certificatesOf(bench: FirmwareBench) {
  bench.exportCertificates();
  const at = (spa: number) => parseLegacyCertificate(bench.get(spa, SIZE.CERTIFICATE));
  const [pek, oca, cek] = [0, 1, 2].map((n) => at(AT.chain + n * SIZE.CERTIFICATE));
  return { pdh: at(AT.certificate), pek: pek!, oca: oca!, cek: cek! };
}

function authorities() {
  const { askCertificate, arkCertificate } = testChip.root();
  const [ask, ark] = [askCertificate, arkCertificate].map(parseLegacyCertificate);
  return { ask: ask!, ark: ark! };
}

describe('the chain of a platform', () => {
  test('leads from its PDH to the root of its maker', async () => {
    const { pdh, pek, oca, cek } = certificatesOf(new FirmwareBench().start());
    const signed = parseLegacyCertificate(certifiedCek(testChip, version));
    expect(signed.signed).toEqual(cek.signed);
    expect(cek.signatures).toEqual([]);
    const { ask, ark } = authorities();
    const checks = await verifyLegacyChain({ pdh, pek, oca, cek: signed, ask, ark }, ark);
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
  });

  test('names its maker, and shares no key with AMD', () => {
    const { ask, ark } = authorities();
    const name = (id: string | undefined) => Buffer.from(id!, 'hex').toString('ascii');
    expect(name(ark.keyId)).toBe('CLOISTER-EMU-ARK');
    expect([name(ask.keyId), name(ask.certifyingId)]).toEqual([
      'CLOISTER-EMU-ASK',
      'CLOISTER-EMU-ARK',
    ]);
    // AMD's have 4096 bits; ours could not be one of them even with another identifier.
    expect(ark.bytes.length).toBe(0x40 + 3 * 256);
    expect(Object.values(ARK_SPKI_SHA256).length).toBeGreaterThan(0);
  });

  test("isn't trusted by a platform of another maker", async () => {
    const { pdh, pek, oca } = certificatesOf(new FirmwareBench().start());
    const cek = parseLegacyCertificate(certifiedCek(testChip, version));
    const { ask, ark } = authorities();
    const other = Uint8Array.from(ark.bytes);
    other[0x60]! ^= 1;
    const trusted = parseLegacyCertificate(other);
    const checks = await verifyLegacyChain({ pdh, pek, oca, cek, ask, ark }, trusted);
    expect(checks.find(({ id }) => id === 'chain.root-key')?.ok).toBe(false);
  });
});

describe('keys of a platform', () => {
  const keysOf = (bench: FirmwareBench) => {
    const { pdh, pek, oca } = certificatesOf(bench);
    return [oca, pek, pdh].map(({ signed }) => toHex(signed));
  };

  test('are kept from one INIT to the next', () => {
    const bench = new FirmwareBench().start();
    const before = keysOf(bench);
    bench.ok('SHUTDOWN');
    expect(keysOf(bench.start())).toEqual(before);
  });

  test('PDH_GEN changes the PDH alone, PEK_GEN and PLATFORM_RESET all', () => {
    const bench = new FirmwareBench().start();
    const [oca, pek, pdh] = keysOf(bench);
    bench.ok('PDH_GEN');
    const after = keysOf(bench);
    expect(after.slice(0, 2)).toEqual([oca, pek]);
    expect(after[2]).not.toBe(pdh);
    bench.ok('PEK_GEN');
    const generated = keysOf(bench);
    expect(generated.some((key) => after.includes(key))).toBe(false);
    bench.ok('SHUTDOWN');
    bench.ok('PLATFORM_RESET');
    expect(keysOf(bench.start()).some((key) => generated.includes(key))).toBe(false);
  });

  test('INIT_EX keeps them in memory of the host, sealed', () => {
    const bench = new FirmwareBench();
    bench.put(AT.nv, new Uint8Array(SIZE.NV).fill(0xff));
    const nv = { ex_len: SIZE.INIT_EX, nv_paddr: AT.nv, nv_length: SIZE.NV };
    bench.ok('INIT_EX', nv);
    const before = keysOf(bench);
    bench.ok('SHUTDOWN');
    bench.ok('INIT_EX', nv);
    expect(keysOf(bench)).toEqual(before);
    bench.ok('SHUTDOWN');
    bench.put(AT.nv + 0x200, Uint8Array.of(1));
    expect(bench.run('INIT_EX', nv).status).toBe(STATUS.SECURE_DATA_INVALID);
    // What could not be read was erased: the next attempt starts afresh.
    bench.ok('INIT_EX', nv);
    expect(keysOf(bench)).not.toEqual(before);
  });

  test.each([
    ['another length', { nv_length: SIZE.NV - 4096 }, STATUS.INVALID_LEN],
    ['no whole page', { nv_paddr: AT.nv + 16 }, STATUS.INVALID_ADDRESS],
    ['no memory', { nv_paddr: AT.end }, STATUS.INVALID_ADDRESS],
    ['the trusted region', { flags: 1, nv_paddr: AT.tmr }, STATUS.INVALID_ADDRESS],
    ['another length of the buffer', { ex_len: 4 }, STATUS.INVALID_LEN],
    ['reserved fields', { reserved: 1 }, STATUS.INVALID_CONFIG],
  ])('INIT_EX with %s is refused', (_, change, status) => {
    const bench = new FirmwareBench();
    const tmr = { tmr_paddr: AT.tmr, tmr_length: SIZE.TMR };
    const nv = { ex_len: SIZE.INIT_EX, nv_paddr: AT.nv, nv_length: SIZE.NV, ...tmr };
    expect(bench.run('INIT_EX', { ...nv, ...change }).status).toBe(status);
    expect(bench.processor.state).toBe('UNINIT');
  });

  test.each([
    ['no whole mebibyte', { tmr_paddr: AT.tmr + 4096 }, STATUS.INVALID_ADDRESS],
    ['another length', { tmr_length: SIZE.TMR / 2 }, STATUS.INVALID_LEN],
    ['no memory', { tmr_paddr: AT.end }, STATUS.INVALID_ADDRESS],
  ])('INIT with a trusted region of %s is refused', (_, change, status) => {
    const init = { flags: 1, tmr_paddr: AT.tmr, tmr_length: SIZE.TMR, ...change };
    expect(new FirmwareBench().run('INIT', init).status).toBe(status);
  });

  test("flash of another chip can't be read", () => {
    const flash = memoryStore();
    new FirmwareBench({ flash }).ok('INIT');
    const bench = new FirmwareBench({ flash, chip: otherChip });
    expect(bench.run('INIT').status).toBe(STATUS.SECURE_DATA_INVALID);
  });
});

describe('an owner', () => {
  const ownerKey = generateKey(seededEntropy('owner of the platform'));

  /** What an owner makes of PEK_CSR. */
  function certify(bench: FirmwareBench) {
    bench.ok('PEK_CSR', { paddr: AT.measure, length: SIZE.CERTIFICATE });
    const pek = bench.get(AT.measure, SIZE.CERTIFICATE);
    signCertificate(pek, 'OCA', ownerKey);
    const oca = certificate('OCA', ownerKey.point, version);
    signCertificate(oca, 'OCA', ownerKey);
    bench.put(AT.certificate, pek);
    bench.put(AT.chain, oca);
    return {
      pek_cert_paddr: AT.certificate,
      pek_cert_len: SIZE.CERTIFICATE,
      oca_cert_paddr: AT.chain,
      oca_cert_len: SIZE.CERTIFICATE,
    };
  }

  test('takes a platform over by PEK_CERT_IMPORT, for good', async () => {
    const bench = new FirmwareBench().start();
    const before = certificatesOf(bench);
    bench.ok('PEK_CERT_IMPORT', certify(bench));
    expect(bench.ok('PLATFORM_STATUS').owner).toBe(1);
    const { pdh, pek, oca } = certificatesOf(bench);
    expect(toHex(pek.signed)).toBe(toHex(before.pek.signed));
    expect(toHex(pdh.signed)).not.toBe(toHex(before.pdh.signed));
    const { ask, ark } = authorities();
    const cek = parseLegacyCertificate(certifiedCek(testChip, version));
    const checks = await verifyLegacyChain({ pdh, pek, oca, cek, ask, ark }, ark);
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
    bench.ok('SHUTDOWN');
    bench.start();
    expect(bench.ok('PLATFORM_STATUS').owner).toBe(1);
    expect(bench.run('PEK_CERT_IMPORT', certify(bench)).status).toBe(STATUS.ALREADY_OWNED);
    bench.ok('PEK_GEN');
    expect(bench.ok('PLATFORM_STATUS').owner).toBe(0);
  });

  test('who certified another key is refused', () => {
    const bench = new FirmwareBench().start();
    const import_ = certify(bench);
    const pek = certificate('PEK', generateKey(seededEntropy('x')).point, version);
    signCertificate(pek, 'OCA', ownerKey);
    bench.put(AT.certificate, pek);
    expect(bench.run('PEK_CERT_IMPORT', import_).status).toBe(STATUS.INVALID_CERTIFICATE);
  });
});

test('GET_ID gives 64 bytes that are the same for a chip and differ between chips', () => {
  const idOf = (chip: typeof testChip) => {
    const bench = new FirmwareBench({ chip, flash: memoryStore() });
    bench.ok('GET_ID', { paddr: AT.report, length: 64 });
    return toHex(bench.get(AT.report, 64));
  };
  expect(idOf(testChip)).toBe(idOf(testChip));
  expect(idOf(testChip)).not.toBe(idOf(otherChip));
});

describe('DOWNLOAD_FIRMWARE', () => {
  const image = firmwareImage({ major: 1, minor: 57, build: 9 });

  test('of an image for emulated processors changes the version', () => {
    const bench = new FirmwareBench();
    bench.put(AT.image, image);
    bench.ok('DOWNLOAD_FIRMWARE', { paddr: AT.image, length: image.length });
    expect(bench.ok('PLATFORM_STATUS')).toMatchObject({ api_major: 1, api_minor: 57, build: 9 });
  });

  test('refuses any other image', () => {
    const bench = new FirmwareBench();
    const download = { paddr: AT.image, length: image.length };
    const statusOf = (change: object) => bench.run('DOWNLOAD_FIRMWARE', { ...download, ...change });
    expect(statusOf({}).status).toBe(STATUS.BAD_SIGNATURE);
    bench.put(
      AT.image,
      image.map((byte, at) => (at === 0x61 ? byte ^ 1 : byte)),
    );
    expect(statusOf({}).status).toBe(STATUS.BAD_SIGNATURE);
    expect(statusOf({ paddr: AT.image + 16 }).status).toBe(STATUS.INVALID_ADDRESS);
    expect(statusOf({ length: 0 }).status).toBe(STATUS.INVALID_LEN);
    expect(statusOf({ paddr: AT.end - 32 }).status).toBe(STATUS.INVALID_ADDRESS);
  });
});

describe('a chip as a file', () => {
  test('is the same chip again', () => {
    const again = decodeChip(encodeChip(testChip));
    expect(toHex(certifiedCek(again, version))).toBe(toHex(certifiedCek(testChip, version)));
    expect(authorityChain(again.root())).toEqual(authorityChain(testChip.root()));
  });

  test('with any change is refused with a reason, or is another chip', () => {
    fc.assert(
      fc.property(fc.nat(TEST_CHIP_FILE.length - 1), fc.nat(127), (at, code) => {
        const text = TEST_CHIP_FILE;
        const changed = text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
        try {
          decodeChip(changed);
          return true;
        } catch (error) {
          return (error as { code?: string }).code === 'invalid-file';
        }
      }),
      { numRuns: 100 },
    );
    for (const text of ['', '{}', 'null', '[]', '{"format":"cloister-emulated-sev-chip"}']) {
      expect(() => decodeChip(text)).toThrow('emulated chip');
    }
  });

  test('with a factor that is odd and long enough, and no prime, is refused', () => {
    const file = JSON.parse(TEST_CHIP_FILE) as { ark: { p: string } };
    const { p } = file.ark;
    const composite = (BigInt(`0x${p}`) + 2n).toString(16);
    const text = JSON.stringify({ ...file, ark: { ...file.ark, p: composite } });
    expect(() => decodeChip(text)).toThrow('ark.p is no prime of a key');
  });

  test('from one seed is one chip, with one root', () => {
    const make = () => makeChip(seededEntropy('one seed'));
    expect(toHex(make().uniqueKey)).toBe(toHex(make().uniqueKey));
    const root = testChip.root();
    expect(makeChip(seededEntropy('x'), root).root()).toBe(root);
    // The chip of the tests was made from this seed.
    const again = makeRoot(seededEntropy('Cloister tests', 'root'));
    expect(authorityChain(again)).toEqual(authorityChain(root));
  });
});

describe('RSA', () => {
  const entropy = seededEntropy('rsa');
  const key = testChip.root().ask;
  const body = new TextEncoder().encode('what is signed');

  test('keys have 2048 bits, and WebCrypto takes their signatures', async () => {
    expect(modulus(key).toString(2).length).toBe(2048);
    const signature = signPss(key, body, entropy);
    expect(verifyPss(publicBytes(key), body, signature)).toBe(true);
    const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
    const n = base64url(publicBytes(key).modulus);
    const scheme = { name: 'RSA-PSS', hash: 'SHA-256' };
    const jwk = { kty: 'RSA', n, e: 'AQAB' };
    const web = await crypto.subtle.importKey('jwk', jwk, scheme, false, ['verify']);
    const pss = { name: 'RSA-PSS', saltLength: 32 };
    const signed = Uint8Array.from(signature);
    expect(await crypto.subtle.verify(pss, web, signed, Uint8Array.from(body))).toBe(true);
  });

  test('any bit flipped of signature or text is refused', () => {
    const signature = signPss(key, body, entropy);
    fc.assert(
      fc.property(fc.nat(2047), (bit) => {
        const wrong = Uint8Array.from(signature);
        wrong[bit >> 3]! ^= 1 << (bit & 7);
        return !verifyPss(publicBytes(key), body, wrong);
      }),
      { numRuns: 30 },
    );
    expect(verifyPss(publicBytes(key), body.subarray(1), signature)).toBe(false);
  });

  test('keys of other shapes verify nothing, in no time', () => {
    const signature = signPss(key, body, entropy);
    const { modulus: n } = publicBytes(key);
    const all = new Uint8Array(256).fill(0xff);
    expect(verifyPss({ modulus: n, exponent: all }, body, signature)).toBe(false);
    expect(verifyPss({ modulus: new Uint8Array(256), exponent: n }, body, signature)).toBe(false);
    expect(verifyPss({ modulus: n, exponent: Uint8Array.of(3) }, body, all)).toBe(false);
  });
});
