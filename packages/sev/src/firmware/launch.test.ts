/**
 * PSP-04 to PSP-08, PSP-11, PSP-12: what a launch measures and encrypts, who checks it, and what
 * its policy forbids. Measurements, sessions and reports are checked by the other half of this
 * package, and by node:crypto alone.
 */
import { createHash, createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS } from '../abi/status.js';
import { parseLegacyCertificate, parseLegacyReport, verifyLegacyReport } from '../attest/index.js';
import { toHex } from '../bytes.js';
import { PAGE_KEY_SIZE } from '../cipher/port.js';
import { secretPacket } from '../measure/launch-secret.js';
import { sessionData, type TransportKeys } from '../measure/session.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { certificate } from './certificate.js';
import { generateKey, sharedX } from './ec-key.js';
import { seededEntropy } from './entropy.js';

const PAGE = 4096;
const measure = { measure_paddr: AT.measure, measure_len: SIZE.MEASURE };
const fill = (length: number, seed: number) =>
  new Uint8Array(length).map((_, at) => (at * seed + 7) >> 2);

/** LAUNCH_START with an owner's session: its arguments, and the keys that the owner chose. */
async function ownerStart(bench: FirmwareBench, policy: number) {
  const entropy = seededEntropy('owner');
  const own = generateKey(entropy);
  const platform = parseLegacyCertificate(bench.exportCertificates());
  if (platform.key.kind !== 'ec') throw new Error('the PDH is no elliptic-curve key');
  const z = sharedX(own, platform.key.point)!;
  const keys: TransportKeys = { tek: entropy(16), tik: entropy(16) };
  const inputs = { ...keys, z, nonce: entropy(16), iv: entropy(16), policy };
  bench.put(AT.session, (await sessionData(inputs)).bytes);
  bench.put(AT.certificate, certificate('PDH', own.point, { major: 1, minor: 55 }));
  const start = {
    policy,
    dh_cert_paddr: AT.certificate,
    dh_cert_len: SIZE.CERTIFICATE,
    session_paddr: AT.session,
    session_len: SIZE.SESSION,
  };
  return { keys, start };
}

/** LAUNCH_MEASURE's HMAC, by node:crypto and the manual's formula. */
function expectedMeasure(tik: Uint8Array, policy: number, digest: Uint8Array, nonce: Uint8Array) {
  const text = Buffer.alloc(8);
  text.set([4, 1, 55, 1]);
  text.writeUInt32LE(policy, 4);
  return createHmac('sha256', tik).update(text).update(digest).update(nonce).digest('hex');
}

describe('PSP-04 LAUNCH_START', () => {
  test.each([
    ['SEV-ES without INIT for it', POLICY.ES, STATUS.UNSUPPORTED],
    ['a minimum API that is too new', (1 << 16) | (56 << 24), STATUS.POLICY_FAILURE],
    ['a major version that is too new', 2 << 16, STATUS.POLICY_FAILURE],
    ['this very API', (1 << 16) | (55 << 24), STATUS.SUCCESS],
    ['an older API with a larger minor version', 200 << 24, STATUS.SUCCESS],
    ['reserved bits', 1 << 6, STATUS.POLICY_FAILURE],
  ])('%s', (_, policy, status) => {
    const bench = new FirmwareBench().start();
    expect(bench.run('LAUNCH_START', { policy: policy >>> 0 }).status).toBe(status);
  });

  test('handles differ, and guests share a key only if both policies allow it', () => {
    const bench = new FirmwareBench().start();
    const first = bench.ok('LAUNCH_START').handle!;
    const second = bench.ok('LAUNCH_START', { handle: first }).handle!;
    const apart = bench.ok('LAUNCH_START').handle!;
    expect(new Set([first, second, apart]).size).toBe(3);
    bench.put(AT.guest, fill(64, 3));
    const asids = [first, second, apart].map((handle, n) => {
      bench.ok('ACTIVATE', { handle, asid: 4 + n });
      return 4 + n;
    });
    bench.ok('LAUNCH_UPDATE_DATA', { handle: first, paddr: AT.guest, length: 64 });
    expect(bench.get(AT.guest, 64, asids[1])).toEqual(fill(64, 3));
    expect(bench.get(AT.guest, 64, asids[2])).not.toEqual(fill(64, 3));
    const { status } = bench.run('LAUNCH_START', { handle: first, policy: POLICY.NODBG });
    expect(status).toBe(STATUS.POLICY_FAILURE);
    const alone = bench.ok('LAUNCH_START', { policy: POLICY.NOKS }).handle!;
    const shared = { handle: alone, policy: POLICY.NOKS };
    expect(bench.run('LAUNCH_START', shared).status).toBe(STATUS.POLICY_FAILURE);
    expect(bench.run('LAUNCH_START', { handle: 99 }).status).toBe(STATUS.INVALID_GUEST);
  });

  test('keys of memory are wiped with the last guest that has them', () => {
    const made: Uint8Array[] = [];
    const entropy = seededEntropy('wiped');
    const bench = new FirmwareBench({
      entropy: (length) => {
        const bytes = entropy(length);
        made.push(bytes);
        return bytes;
      },
    }).start();
    const [first, other] = [0, 0].map(() => bench.ok('LAUNCH_START', { policy: 0 }).handle!);
    const [key, otherKey] = made.filter(({ length }) => length === PAGE_KEY_SIZE);
    const sharing = bench.ok('LAUNCH_START', { policy: 0, handle: first! }).handle!;
    const wiped = (bytes?: Uint8Array) => bytes!.every((byte) => byte === 0);
    bench.ok('DECOMMISSION', { handle: first! });
    expect(wiped(key)).toBe(false);
    bench.ok('DECOMMISSION', { handle: sharing });
    expect([wiped(key), wiped(otherKey)]).toEqual([true, false]);
    bench.ok('ACTIVATE', { handle: other!, asid: 4 });
    bench.ok('SHUTDOWN');
    expect(wiped(otherKey)).toBe(true);
  });

  test('a session with any byte flipped, or for another policy, is refused', async () => {
    const bench = new FirmwareBench().start();
    const { start } = await ownerStart(bench, POLICY.NODBG);
    expect(bench.run('LAUNCH_START', { ...start, policy: 0 }).status).toBe(STATUS.BAD_MEASUREMENT);
    const session = bench.get(AT.session, SIZE.SESSION);
    for (let at = 0; at < SIZE.SESSION; at += 5) {
      bench.put(
        AT.session,
        session.map((byte, n) => (n === at ? byte ^ 1 : byte)),
      );
      expect(bench.run('LAUNCH_START', start).status).toBe(STATUS.BAD_MEASUREMENT);
    }
    bench.put(AT.session, session);
    bench.put(AT.certificate + 0x20, Uint8Array.of(1, 2, 3));
    expect(bench.run('LAUNCH_START', start).status).toBe(STATUS.INVALID_CERTIFICATE);
    expect(bench.processor.state).toBe('INIT');
  });
});

describe('PSP-05 LAUNCH_UPDATE_DATA', () => {
  test('encrypts in place and measures the plaintext in the order of calls', () => {
    const digestOf = (order: readonly number[]) => {
      const bench = new FirmwareBench().start();
      const handle = bench.guest('LUPDATE', { asid: 4 });
      const pages = [fill(PAGE, 3), fill(3 * PAGE, 5)];
      for (const n of order) {
        const paddr = AT.guest + n * 0x4000;
        bench.put(paddr, pages[n]!);
        bench.ok('LAUNCH_UPDATE_DATA', { handle, paddr, length: pages[n]!.length });
        expect(toHex(bench.get(paddr, 64))).not.toBe(toHex(pages[n]!.subarray(0, 64)));
        expect(bench.get(paddr, pages[n]!.length, 4)).toEqual(pages[n]!);
      }
      bench.ok('LAUNCH_MEASURE', { handle, ...measure });
      const blob = bench.get(AT.measure, SIZE.MEASURE);
      const hash = createHash('sha256');
      for (const n of order) hash.update(pages[n]!);
      const expected = expectedMeasure(new Uint8Array(16), 0, hash.digest(), blob.subarray(32));
      expect(toHex(blob.subarray(0, 32))).toBe(expected);
      return expected;
    };
    expect(digestOf([0, 1])).not.toBe(digestOf([1, 0]));
  });

  test.each([
    ['an address between blocks', { paddr: AT.guest + 8, length: 64 }, STATUS.INVALID_ADDRESS],
    ['a length of no blocks', { paddr: AT.guest, length: 24 }, STATUS.INVALID_LEN],
    ['no length', { paddr: AT.guest, length: 0 }, STATUS.INVALID_LEN],
    ['memory that ends too early', { paddr: AT.end - 32, length: 64 }, STATUS.INVALID_ADDRESS],
    ['no memory', { paddr: 2 ** 63, length: 16 }, STATUS.INVALID_ADDRESS],
    ["the firmware's own region", { paddr: AT.tmr - 16, length: 32 }, STATUS.INVALID_ADDRESS],
  ])('refuses %s', (_, region, status) => {
    const bench = new FirmwareBench().start({ es: true });
    const handle = bench.guest('LUPDATE');
    const before = toHex(bench.get(AT.guest, 64));
    expect(bench.run('LAUNCH_UPDATE_DATA', { handle, ...region }).status).toBe(status);
    expect(toHex(bench.get(AT.guest, 64))).toBe(before);
  });
});

describe('PSP-06 LAUNCH_UPDATE_VMSA', () => {
  const vmsa = { paddr: AT.vmsa, length: SIZE.VMSA };

  test('is for SEV-ES alone, and for whole pages', () => {
    const bench = new FirmwareBench().start({ es: true });
    const plain = bench.guest('LUPDATE');
    expect(bench.run('LAUNCH_UPDATE_VMSA', { handle: plain, ...vmsa }).status).toBe(
      STATUS.UNSUPPORTED,
    );
    const handle = bench.guest('LUPDATE', { policy: POLICY.ES });
    const short = { handle, ...vmsa, length: SIZE.VMSA - 16 };
    expect(bench.run('LAUNCH_UPDATE_VMSA', short).status).toBe(STATUS.INVALID_LEN);
    bench.ok('LAUNCH_UPDATE_VMSA', { handle, ...vmsa });
  });

  test('measures every byte of it', () => {
    const measured = (change: number | null) => {
      const bench = new FirmwareBench().start({ es: true });
      const page = fill(PAGE, 9);
      if (change !== null) page[change]! ^= 0x80;
      bench.put(AT.vmsa, page);
      const handle = bench.guest('LUPDATE', { policy: POLICY.ES });
      bench.ok('LAUNCH_UPDATE_VMSA', { handle, ...vmsa });
      bench.ok('LAUNCH_MEASURE', { handle, ...measure });
      return toHex(bench.get(AT.measure, 32));
    };
    const all = [null, 0, 0x178, PAGE - 1].map(measured);
    expect(new Set(all).size).toBe(4);
    expect(measured(null)).toBe(all[0]);
  });
});

describe('PSP-07 LAUNCH_MEASURE', () => {
  test("is an HMAC under the owner's integrity key", async () => {
    const bench = new FirmwareBench().start();
    const policy = POLICY.NODBG | POLICY.NOKS;
    const { keys, start } = await ownerStart(bench, policy);
    const handle = bench.ok('LAUNCH_START', start).handle!;
    bench.ok('ACTIVATE', { handle, asid: 4 });
    bench.put(AT.guest, fill(PAGE, 11));
    bench.ok('LAUNCH_UPDATE_DATA', { handle, paddr: AT.guest, length: PAGE });
    bench.ok('LAUNCH_MEASURE', { handle, ...measure });
    const blob = bench.get(AT.measure, SIZE.MEASURE);
    const digest = createHash('sha256').update(fill(PAGE, 11)).digest();
    expect(toHex(blob.subarray(0, 32))).toBe(
      expectedMeasure(keys.tik, policy, digest, blob.subarray(32)),
    );
  });

  test('tells its length to who asks with none, and changes nothing', () => {
    const bench = new FirmwareBench().start();
    const handle = bench.guest('LUPDATE');
    const { status, values } = bench.run('LAUNCH_MEASURE', { handle });
    expect([status, values.measure_len]).toEqual([STATUS.INVALID_LEN, 48]);
    expect(bench.ok('GUEST_STATUS', { handle }).state).toBe(1);
  });
});

describe('PSP-08 LAUNCH_SECRET', () => {
  async function stage() {
    const bench = new FirmwareBench().start();
    const { keys, start } = await ownerStart(bench, 0);
    const handle = bench.ok('LAUNCH_START', start).handle!;
    bench.ok('ACTIVATE', { handle, asid: 4 });
    bench.ok('LAUNCH_MEASURE', { handle, ...measure });
    const plaintext = new TextEncoder().encode('the password of the guest is 42!');
    const measurement = bench.get(AT.measure, SIZE.MEASURE);
    const packet = await secretPacket({ plaintext, keys, iv: new Uint8Array(16), measurement });
    bench.put(AT.header, packet.header);
    bench.put(AT.transport, packet.ciphertext);
    const secret = {
      handle,
      hdr_paddr: AT.header,
      hdr_len: SIZE.PACKET_HEADER,
      guest_paddr: AT.guest,
      guest_len: 32,
      trans_paddr: AT.transport,
      trans_len: 32,
    };
    return { bench, handle, plaintext, secret };
  }

  test('puts the plaintext where only the guest reads it', async () => {
    const { bench, plaintext, secret } = await stage();
    bench.ok('LAUNCH_SECRET', secret);
    expect(bench.get(AT.guest, 32, 4)).toEqual(plaintext);
    expect(bench.get(AT.guest, 32)).not.toEqual(plaintext);
  });

  test('with any byte flipped is BAD_MEASUREMENT, and leaves memory alone', async () => {
    const { bench, secret } = await stage();
    for (const [base, length] of [
      [AT.header, SIZE.PACKET_HEADER],
      [AT.transport, 32],
    ] as const) {
      const kept = bench.get(base, length);
      for (let at = 0; at < length; at += 3) {
        bench.put(
          base,
          kept.map((byte, n) => (n === at ? byte ^ 0x40 : byte)),
        );
        expect(bench.run('LAUNCH_SECRET', secret).status).toBe(STATUS.BAD_MEASUREMENT);
      }
      bench.put(base, kept);
    }
    expect(bench.get(AT.guest, 32)).toEqual(new Uint8Array(32));
  });

  test('is for guests that are launched: not after LAUNCH_FINISH', async () => {
    const { bench, handle, secret } = await stage();
    bench.ok('LAUNCH_FINISH', { handle });
    expect(bench.run('LAUNCH_SECRET', secret).status).toBe(STATUS.INVALID_GUEST_STATE);
  });

  test.each([
    ['another header length', { hdr_len: 51 }, STATUS.INVALID_LEN],
    ['more than a packet', { guest_len: 16400, trans_len: 16400 }, STATUS.INVALID_LEN],
    ['two lengths', { trans_len: 48 }, STATUS.INVALID_LEN],
    ['an address between blocks', { guest_paddr: AT.guest + 4 }, STATUS.INVALID_ADDRESS],
    ['no memory for it', { guest_paddr: AT.end }, STATUS.INVALID_ADDRESS],
    ['no header', { hdr_paddr: 2 ** 52 }, STATUS.INVALID_ADDRESS],
  ])('with %s is refused', async (_, change, status) => {
    const { bench, secret } = await stage();
    expect(bench.run('LAUNCH_SECRET', { ...secret, ...change }).status).toBe(status);
  });
});

describe('PSP-11 ATTESTATION', () => {
  test('reports nonce, digest and policy under the PEK that the platform exports', async () => {
    const bench = new FirmwareBench().start();
    const policy = POLICY.NODBG | POLICY.NOSEND;
    bench.put(AT.guest, fill(PAGE, 13));
    const handle = bench.ok('LAUNCH_START', { policy }).handle!;
    bench.ok('ACTIVATE', { handle, asid: 4 });
    bench.ok('LAUNCH_UPDATE_DATA', { handle, paddr: AT.guest, length: PAGE });
    bench.ok('LAUNCH_MEASURE', { handle, ...measure });
    const mnonce = fill(16, 77);
    const request = { handle, paddr: AT.report, mnonce, length: 0x200 };
    expect(bench.ok('ATTESTATION', request).length).toBe(0xd0);
    const report = parseLegacyReport(bench.get(AT.report, 0xd0));
    expect(report.nonce).toEqual(mnonce);
    bench.exportCertificates();
    const pek = parseLegacyCertificate(bench.get(AT.chain, SIZE.CERTIFICATE));
    const launchDigest = Uint8Array.from(createHash('sha256').update(fill(PAGE, 13)).digest());
    const rules = { nonce: mnonce, launchDigest, requiredPolicy: policy };
    const checks = await verifyLegacyReport(report, pek, rules);
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
  });

  test('tells its length to who asks with less', () => {
    const bench = new FirmwareBench().start();
    const { status, values } = bench.run('ATTESTATION', { handle: bench.guest('RUNNING') });
    expect([status, values.length]).toEqual([STATUS.INVALID_LEN, 0xd0]);
  });
});

describe('PSP-12 debugging', () => {
  const move = { src_paddr: AT.guest, dst_paddr: AT.guest + 0x8000, length: 3 * PAGE };

  test('round-trips what a policy lets the host see', () => {
    const bench = new FirmwareBench().start();
    const handle = bench.guest('RUNNING', { asid: 4 });
    bench.put(AT.guest, fill(3 * PAGE, 17));
    bench.ok('DBG_ENCRYPT', { handle, ...move });
    expect(bench.get(move.dst_paddr, move.length, 4)).toEqual(fill(3 * PAGE, 17));
    expect(bench.get(move.dst_paddr, 64)).not.toEqual(fill(64, 17));
    const back = { src_paddr: move.dst_paddr, dst_paddr: AT.vmsa, length: move.length };
    bench.ok('DBG_DECRYPT', { handle, ...back });
    expect(bench.get(AT.vmsa, move.length)).toEqual(fill(3 * PAGE, 17));
  });

  test.each(['DBG_DECRYPT', 'DBG_ENCRYPT'] as const)('NODBG forbids %s', (name) => {
    const bench = new FirmwareBench().start();
    const handle = bench.guest('RUNNING', { policy: POLICY.NODBG });
    expect(bench.run(name, { handle, ...move }).status).toBe(STATUS.POLICY_FAILURE);
  });

  test('COPY moves pages under one key, overlapping ones too', () => {
    const bench = new FirmwareBench().start();
    const handle = bench.guest('LUPDATE', { asid: 4 });
    const bytes = fill(3 * PAGE, 19);
    bench.put(AT.guest, bytes);
    bench.ok('LAUNCH_UPDATE_DATA', { handle, paddr: AT.guest, length: bytes.length });
    const to = AT.guest + PAGE;
    bench.ok('COPY', { handle, src_paddr: AT.guest, dst_paddr: to, length: bytes.length });
    expect(bench.get(to, bytes.length, 4)).toEqual(bytes);
  });
});
