/**
 * Verification with a made-up AMD: what is trusted, and each way in which something is not.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ASK_SERIAL, type Authority, createAuthority, issue } from '../testing/authority.js';
import { BUILDS, useBuild } from '../testing/node-builds.js';
import type { Policy } from './policy.js';
import { parseReport } from './report.js';
import { reportJson } from './report-json.js';
import { type VerifyOptions, verifyReport } from './verify.js';

let amd: Authority;
let report: Uint8Array;
let base: VerifyOptions;
const AT = new Date('2026-06-01T00:00:00Z');

beforeAll(async () => {
  amd = await createAuthority('Turin');
  report = await amd.report();
  const certificates = [amd.ark.der, amd.vek.der, amd.ask.der];
  base = { report, certificates, roots: [amd.ark.der], at: AT };
});

async function failures(options: Partial<VerifyOptions>): Promise<string[]> {
  const { checks, trusted } = await verifyReport({ ...base, ...options });
  const failed = checks.filter(({ ok }) => !ok).map(({ id }) => id);
  expect(trusted).toBe(failed.length === 0);
  return failed;
}

describe('a report under roots of the caller', () => {
  test('is trusted, and what nobody looked at is named', async () => {
    const verdict = await verifyReport(base);
    expect(verdict.trusted).toBe(true);
    expect(verdict.failure).toBeUndefined();
    expect(verdict.unchecked).toEqual([
      'measurement',
      'hostData',
      'reportData',
      'minimumTcb',
      'revocation',
    ]);
  });

  test('is not trusted under AMD’s', async () => {
    const { roots: _roots, ...without } = base;
    const { checks } = await verifyReport(without);
    expect(checks.filter(({ ok }) => !ok).map(({ id }) => id)).toEqual(['chain.root-key']);
  });

  test.each(['Milan', 'Genoa', 'Venice'] as const)('is trusted for %s', async (product) => {
    const other = await createAuthority(product, amd);
    const certificates = [other.vek.der, other.ask.der];
    const roots = [other.ark.der];
    expect(await failures({ report: await other.report(), certificates, roots })).toEqual([]);
  });

  test.each([2, 3, 4, 5])('is trusted in version %i, with the fields it has', async (version) => {
    const older = await amd.report((bytes, view) => {
      view.setUint32(0, version, true);
      if (version < 3) bytes.fill(0, 0x188, 0x18b);
      if (version < 5) bytes.fill(0, 0x1f8, 0x208);
    });
    expect(await failures({ report: older, policy: { refuseUnknownFields: true } })).toEqual([]);
    const { cpuid, mitigations } = parseReport(older);
    expect([cpuid !== undefined, mitigations !== undefined]).toEqual([version >= 3, version >= 5]);
  });

  test('with HWID wrapped in an OCTET STRING is trusted', async () => {
    const hwid = Uint8Array.from([4, amd.chipId.length, ...amd.chipId]);
    expect(await failures({ vek: await amd.reissue({ hwid }) })).toEqual([]);
  });
});

describe('the chain is refused', () => {
  test('without its intermediate', async () => {
    const failed = await failures({ certificates: [amd.vek.der] });
    expect(failed).toContain('chain.vek-signature');
    expect(failed).toContain('chain.intermediate-signature');
  });

  test('when an end certificate vouches for another', async () => {
    // A chip's key that calls itself the intermediate.
    const rogue = await issue({
      subject: 'SEV-Turin',
      issuer: 'ARK-Turin',
      signer: amd.ark.keys.privateKey,
      keys: amd.ask.keys,
    });
    const failed = await failures({ certificates: [amd.vek.der, rogue.der] });
    expect(failed).toEqual(['chain.authorities']);
  });

  test('for another chip, TCB, product, kind of key', async () => {
    const hwid = amd.chipId.toReversed();
    expect(await failures({ vek: await amd.reissue({ hwid }) })).toEqual(['chain.chip']);
    const tcb = { ...amd.tcb, snp: 23 };
    expect(await failures({ vek: await amd.reissue({ tcb }) })).toEqual(['chain.tcb']);
    expect(await failures({ product: 'Milan' })).toEqual(['chain.product']);
    const vek = await amd.reissue({ subject: 'SEV-VLEK' });
    expect(await failures({ vek })).toEqual(['chain.key-kind', 'chain.branch']);
  });

  test('before and after its dates', async () => {
    const vek = await amd.reissue({ to: '2026-05-31T23:59:59Z' });
    expect(await failures({ vek })).toEqual(['chain.vek-dates']);
    const at = new Date('2024-01-01T00:00:00Z');
    expect(await failures({ at })).toEqual([
      'chain.vek-dates',
      'chain.intermediate-dates',
      'chain.root-dates',
    ]);
  });

  test('when the report masks its chip, unless that is allowed', async () => {
    const masked = await amd.report((bytes) => bytes.fill(0, 0x1a0, 0x1e0));
    expect(await failures({ report: masked })).toEqual(['chain.chip']);
    expect(await failures({ report: masked, policy: { allowMaskedChipId: true } })).toEqual([]);
  });
});

describe('a revocation list', () => {
  test('without the certificates changes nothing', async () => {
    expect(await failures({ crl: [await amd.crl([])] })).toEqual([]);
    const policy = { requireCrl: true };
    expect(await failures({ crl: [await amd.crl([0x7f])], policy })).toEqual([]);
  });

  test('revokes the intermediate', async () => {
    expect(await failures({ crl: [await amd.crl([ASK_SERIAL])] })).toEqual(['chain.revocation']);
  });

  test('of another root is for that root’s chain if it lies there, else a stranger’s', async () => {
    const other = await createAuthority('Milan', amd);
    const crl = [await other.crl([ASK_SERIAL])];
    expect(await failures({ crl })).toEqual(['chain.crl', 'chain.revocation']);
    const certificates = [...base.certificates, other.ark.der];
    expect(await failures({ crl, certificates })).toEqual([]);
    const { unchecked } = await verifyReport({ ...base, crl, certificates });
    expect(unchecked).toContain('revocation');
    const policy = { requireCrl: true };
    expect(await failures({ crl, certificates, policy })).toEqual(['chain.crl']);
    const both = [...crl, await amd.crl([])];
    expect(await failures({ crl: both, certificates, policy })).toEqual([]);
  });

  test('counts when it is the root’s, and current; and can be demanded', async () => {
    expect(await failures({ crl: [await amd.crl([], { signer: amd.ask })] })).toEqual([
      'chain.crl',
    ]);
    const old = await amd.crl([], { nextUpdate: '2026-05-01T00:00:00Z' });
    expect(await failures({ crl: [old] })).toEqual(['chain.crl-dates']);
    expect(await failures({ policy: { requireCrl: true } })).toEqual(['chain.crl']);
  });
});

describe('the policy', () => {
  const filled = (byte: number, length: number) => [new Uint8Array(length).fill(byte)];
  const good: Policy = {
    measurement: filled(0x22, 48),
    hostData: filled(0x33, 32),
    reportData: filled(0x11, 64),
    idKeyDigest: filled(0, 48),
    authorKeyDigest: filled(0, 48),
    minimumTcb: {
      current: { snp: 24 },
      reported: { microcode: 217 },
      committed: { fmc: 1 },
      launch: { bootloader: 4 },
      certificate: { tee: 0, snp: 24 },
    },
    minimumFirmware: { major: 1, minor: 55, build: 40 },
    platformInfo: { required: ['smt', 'ecc'], refused: ['tsme'] },
    requiredMitigations: 0x21n,
    guestPolicy: { required: ['smt'], refused: ['singleSocket'], refuseUnknown: true },
    refuseUnknownFields: true,
  };

  test('lets pass what satisfies it', async () => {
    expect(await failures({ policy: good })).toEqual([]);
  });

  const rows: [string, Policy, string][] = [
    ['measurement', { measurement: filled(0x23, 48) }, 'policy.measurement'],
    ['host data', { hostData: filled(0, 32) }, 'policy.host-data'],
    ['report data', { reportData: filled(0, 64) }, 'policy.report-data'],
    ['an empty list', { measurement: [] }, 'policy.measurement'],
    ['ID key', { idKeyDigest: filled(1, 48) }, 'policy.id-key-digest'],
    ['author key', { authorKeyDigest: filled(1, 48) }, 'policy.author-key-digest'],
    ['current', { minimumTcb: { current: { snp: 25 } } }, 'policy.minimum-tcb.current'],
    ['reported', { minimumTcb: { reported: { snp: 25 } } }, 'policy.minimum-tcb.reported'],
    ['committed', { minimumTcb: { committed: { fmc: 2 } } }, 'policy.minimum-tcb.committed'],
    ['launch', { minimumTcb: { launch: { tee: 1 } } }, 'policy.minimum-tcb.launch'],
    ['cert', { minimumTcb: { certificate: { snp: 25 } } }, 'policy.minimum-tcb.certificate'],
    ['VMPL', { vmpl: [1, 2] }, 'policy.vmpl'],
    ['platform', { platformInfo: { required: ['aliasCheck', 'tsme'] } }, 'policy.platform-info'],
    ['unknown bit', { platformInfo: { refuseUnknown: true } }, 'policy.platform-info'],
    ['guest policy', { guestPolicy: { refused: ['smt'] } }, 'policy.guest-policy'],
    ['mitigations', { requiredMitigations: 0x40n }, 'policy.mitigations'],
    ['guest SVN', { minimumGuestSvn: 1 }, 'policy.guest-svn'],
  ];
  test.each(rows)('refuses by %s', async (_name, policy, id) => {
    expect(await failures({ policy })).toEqual([id]);
  });

  test('refuses firmware that is too old, current and committed', async () => {
    const policy = { minimumFirmware: { major: 1, minor: 55, build: 41 } };
    expect(await failures({ policy })).toEqual([
      'policy.firmware.current',
      'policy.firmware.committed',
    ]);
  });

  test('refuses debugging, migration and other VMPLs unless told', async () => {
    const debug = await amd.report((_, view) => view.setBigUint64(8, 0xb001fn, true));
    expect(await failures({ report: debug })).toEqual(['policy.debug']);
    expect(await failures({ report: debug, policy: { allowDebug: true } })).toEqual([]);
    const migrates = await amd.report((_, view) => view.setBigUint64(8, 0x7001fn, true));
    expect(await failures({ report: migrates })).toEqual(['policy.migration-agent']);
    const agent = await amd.report((bytes) => bytes.fill(7, 0x160, 0x180));
    expect(await failures({ report: agent })).toEqual(['policy.migration-agent']);
    expect(await failures({ report: agent, policy: { allowMigrationAgent: true } })).toEqual([]);
    const host = await amd.report((_, view) => view.setUint32(0x30, 0xffffffff, true));
    expect(await failures({ report: host })).toEqual(['policy.vmpl']);
    expect(await failures({ report: host, policy: { vmpl: 'any' } })).toEqual([]);
  });
});

describe('what has no meaning yet', () => {
  test('stays visible', async () => {
    const strange = parseReport(
      await amd.report((bytes, view) => {
        bytes[0x210] = 9;
        view.setUint32(0x48, 0x20, true);
        view.setBigUint64(8, 0x1_0003_001fn, true);
      }),
    );
    expect(strange.unknown.map(({ offset }) => offset)).toEqual([0x48, 0x208]);
    expect(strange.guestPolicy.unknown).toBe(0x1_0000_0000n);
    expect(strange.platformInfo.unknown).toBe(0x40n);
    expect(JSON.stringify(reportJson(strange))).toContain('"unknown":"0x40"');
  });

  test('a later version is read on demand, and verified as received', async () => {
    const later = await amd.report((bytes, view) => {
      view.setUint32(0, 9, true);
      bytes.fill(0x5a, 0x208, 0x2a0);
    });
    await expect(failures({ report: later })).rejects.toMatchObject({ code: 'unsupported' });
    expect(await failures({ report: later, laterVersions: true })).toEqual([]);
    const policy = { refuseUnknownFields: true };
    expect(await failures({ report: later, laterVersions: true, policy })).toEqual([
      'policy.unknown-fields',
    ]);
  });
});

describe.each(BUILDS)('any flipped byte, in $name,', (build) => {
  let restore = () => {};
  beforeAll(() => {
    restore = useBuild(build);
  });
  afterAll(() => restore());

  const mask = fc.integer({ min: 1, max: 255 });
  const flipped = (bytes: Uint8Array, at: number, by: number): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    copy[at % bytes.length]! ^= by;
    return copy;
  };

  /** Refused: a verdict of not trusted, or the typed error. */
  async function refused(options: VerifyOptions): Promise<boolean> {
    try {
      return !(await verifyReport(options)).trusted;
    } catch (error) {
      expect((error as Error).name).toBe('VmmError');
      return true;
    }
  }

  test('of the signed part or the signature refuses the report', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(0x49f), mask, async (at, by) =>
        refused({ ...base, report: flipped(report, at, by), laterVersions: true }),
      ),
      { numRuns: 250 },
    );
  });

  test('of a certificate or of the list refuses the report', async () => {
    const crl = await amd.crl([]);
    await fc.assert(
      fc.asyncProperty(fc.nat(3), fc.nat(), mask, async (which, at, by) => {
        const files = [amd.vek.der, amd.ask.der, amd.ark.der, crl];
        const [vek, ask, ark, list] = files.map((file, i) =>
          i === which ? flipped(file, at, by) : file,
        );
        return refused({ ...base, certificates: [vek!, ask!, ark!], crl: [list!], roots: [ark!] });
      }),
      { numRuns: 250 },
    );
  });
});
