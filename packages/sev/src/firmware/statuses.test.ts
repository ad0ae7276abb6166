/**
 * Every status code of the API before SNP can be had, by a command that is listed with it. The
 * codes from 0x19 on are SNP's: no command here answers with one.
 */
import { describe, expect, test } from 'vitest';
import { SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS, type StatusName, statusName } from '../abi/status.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';

const packet = {
  hdr_paddr: AT.header,
  hdr_len: SIZE.PACKET_HEADER,
  guest_paddr: AT.guest,
  guest_len: 64,
  trans_paddr: AT.transport,
  trans_len: 64,
};
const update = { paddr: AT.guest, length: 64 };
const started = () => new FirmwareBench().start();
const broken = { encryptionEnabled: () => false, coresAnswer: () => false };

/** What leads to each code. */
const WAYS: Readonly<Record<StatusName, (() => number) | 'SNP'>> = {
  SUCCESS: () => new FirmwareBench().run('INIT').status,
  INVALID_PLATFORM_STATE: () => new FirmwareBench().run('PEK_GEN').status,
  INVALID_GUEST_STATE: () => {
    const bench = started();
    return bench.run('LAUNCH_FINISH', { handle: bench.guest('LUPDATE') }).status;
  },
  INVALID_CONFIG: () => new FirmwareBench().run('INIT', { flags: 2 }).status,
  INVALID_LEN: () => new FirmwareBench().run('GET_ID', { paddr: AT.report, length: 63 }).status,
  ALREADY_OWNED: () => {
    const bench = started();
    const arguments_ = importOwn(bench);
    bench.ok('PEK_CERT_IMPORT', arguments_);
    return bench.run('PEK_CERT_IMPORT', arguments_).status;
  },
  INVALID_CERTIFICATE: () => {
    const bench = started();
    const arguments_ = importOwn(bench);
    bench.put(AT.certificate, Uint8Array.of(2));
    return bench.run('PEK_CERT_IMPORT', arguments_).status;
  },
  POLICY_FAILURE: () => started().run('LAUNCH_START', { policy: 2 << 16 }).status,
  INACTIVE: () => {
    const bench = started();
    const handle = bench.guest('LUPDATE', { active: false });
    return bench.run('LAUNCH_UPDATE_DATA', { handle, ...update }).status;
  },
  INVALID_ADDRESS: () => {
    const bench = started();
    const handle = bench.guest('LUPDATE');
    return bench.run('LAUNCH_UPDATE_DATA', { handle, ...update, paddr: AT.guest + 8 }).status;
  },
  BAD_SIGNATURE: () => {
    const bench = started();
    const arguments_ = importOwn(bench);
    bench.put(AT.chain + 0x414 + 8, new Uint8Array(8));
    return bench.run('PEK_CERT_IMPORT', arguments_).status;
  },
  BAD_MEASUREMENT: () => {
    const bench = started();
    return bench.run('LAUNCH_SECRET', { handle: bench.guest('LSECRET'), ...packet }).status;
  },
  ASID_OWNED: () => {
    const bench = started();
    bench.guest('LUPDATE', { asid: 5 });
    const handle = bench.ok('LAUNCH_START').handle!;
    return bench.run('ACTIVATE', { handle, asid: 5 }).status;
  },
  INVALID_ASID: () => {
    const bench = started();
    const handle = bench.ok('LAUNCH_START').handle!;
    return bench.run('ACTIVATE', { handle, asid: 9 }).status;
  },
  WBINVD_REQUIRED: () => {
    const bench = new FirmwareBench();
    bench.ok('INIT');
    return bench.run('DF_FLUSH').status;
  },
  DFFLUSH_REQUIRED: () => {
    const bench = new FirmwareBench();
    bench.ok('INIT');
    const handle = bench.ok('LAUNCH_START').handle!;
    return bench.run('ACTIVATE', { handle, asid: 4 }).status;
  },
  INVALID_GUEST: () => {
    const bench = started();
    bench.guest('LUPDATE');
    return bench.run('LAUNCH_FINISH', { handle: 77 }).status;
  },
  INVALID_COMMAND: () => new FirmwareBench().processor.command(0x3ff, AT.buffer),
  ACTIVE: () => {
    const bench = started();
    return bench.run('DECOMMISSION', { handle: bench.guest('LUPDATE') }).status;
  },
  HWERROR_PLATFORM: () => new FirmwareBench({ hardware: broken }).run('INIT').status,
  HWERROR_UNSAFE: () => {
    const hardware = { encryptionEnabled: () => true, coresAnswer: () => false };
    const bench = new FirmwareBench({ hardware }).start();
    return bench.run('LAUNCH_FINISH', { handle: bench.guest('LSECRET') }).status;
  },
  UNSUPPORTED: () => started().run('LAUNCH_START', { policy: POLICY.ES }).status,
  INVALID_PARAM: () => {
    const bench = started();
    const handle = bench.guest('LUPDATE', { active: false });
    return bench.run('ACTIVATE_EX', { handle, asid: 4, ex_len: 8 }).status;
  },
  RESOURCE_LIMIT: () => {
    const bench = new FirmwareBench({ guestsMax: 1 }).start();
    bench.ok('LAUNCH_START');
    return bench.run('LAUNCH_START').status;
  },
  SECURE_DATA_INVALID: () => {
    const bench = new FirmwareBench();
    const nv = { ex_len: SIZE.INIT_EX, nv_paddr: AT.nv, nv_length: SIZE.NV };
    return bench.run('INIT_EX', nv).status;
  },
  INVALID_PAGE_SIZE: 'SNP',
  INVALID_PAGE_STATE: 'SNP',
  INVALID_MDATA_ENTRY: 'SNP',
  INVALID_PAGE_OWNER: 'SNP',
  AEAD_OFLOW: 'SNP',
  EXIT_RING_BUFFER: 'SNP',
  RMP_INIT_REQUIRED: 'SNP',
  BAD_SVN: 'SNP',
  BAD_VERSION: 'SNP',
  SHUTDOWN_REQUIRED: 'SNP',
  UPDATE_FAILED: 'SNP',
  RESTORE_REQUIRED: 'SNP',
  RMP_INIT_FAILED: 'SNP',
  INVALID_KEY: 'SNP',
};

/** A PEK certificate by the platform's own authority, as an owner would bring it. */
function importOwn(bench: FirmwareBench) {
  bench.exportCertificates();
  const chain = bench.get(AT.chain, SIZE.CERTIFICATE_CHAIN);
  const pek = chain.slice(0, SIZE.CERTIFICATE);
  pek.fill(0, 0x61c);
  pek.set([0, 0x10], 0x61c);
  bench.put(AT.certificate, pek);
  bench.put(AT.chain, chain.subarray(SIZE.CERTIFICATE, 2 * SIZE.CERTIFICATE));
  return {
    pek_cert_paddr: AT.certificate,
    pek_cert_len: SIZE.CERTIFICATE,
    oca_cert_paddr: AT.chain,
    oca_cert_len: SIZE.CERTIFICATE,
  };
}

describe('every status code', () => {
  const ways = Object.entries(WAYS) as [StatusName, (() => number) | 'SNP'][];
  const before = ways.filter(([, way]) => way !== 'SNP') as [StatusName, () => number][];

  test.each(before)('%s is reached', (name, way) => {
    expect(statusName(way())).toBe(name);
  });

  test('of this API is below 0x19', () => {
    expect(before.map(([name]) => STATUS[name])).toEqual(Array.from({ length: 25 }, (_, n) => n));
  });
});
