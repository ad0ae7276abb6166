/**
 * Reports from real machines, with the negatives that their README lists. They are not in this
 * repository: $CLOISTER_VECTORS names their folder; without them these tests say so and skip.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILDS, useBuild } from '../testing/node-builds.js';
import { vectorFolder, vectorsAbsent } from '../testing/node-vectors.js';
import { toHex } from './bytes.js';
import { parseCertificate } from './certificate.js';
import { keyDigest } from './chain.js';
import { type Check, STAGES } from './check.js';
import { kdsUrl } from './kds-url.js';
import { parseReport } from './report.js';
import { signedBy } from './signatures.js';
import { decodeTcb, encodeTcb } from './tcb.js';
import { vekExtensions } from './vek-extensions.js';
import { type VerifyOptions, verifyReport } from './verify.js';

const folder = join(vectorFolder, 'reports');
const absent = vectorsAbsent('reports/index.json');
const missing = absent === undefined ? '' : ` (skipped: ${absent})`;

interface Vector {
  readonly id: string;
  readonly report: string;
  readonly vek: string;
  readonly ca: readonly string[];
  readonly vek_valid: readonly [string, string];
  readonly fields: Readonly<Record<string, string | number>>;
  readonly vek_extensions: Readonly<Record<string, string | number>>;
  readonly kds_vcek_url?: string;
}

interface Index {
  readonly arks: Readonly<Record<string, { readonly spki_sha256: string }>>;
  readonly reports: readonly Vector[];
}

const { arks, reports } = missing
  ? { arks: {}, reports: [] }
  : (JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as Index);

const file = (path: string): Uint8Array => readFileSync(join(folder, path));

/** What of a vector has to be allowed for it to pass: these are facts of the machines. */
const ALLOWED: Readonly<Record<string, VerifyOptions['policy']>> = {
  'milan-v2-vcek-debug': { allowDebug: true },
  'milan-v3-vlek-aws': { vmpl: [1] },
};

function optionsOf(vector: Vector): VerifyOptions {
  return {
    report: file(vector.report),
    certificates: [file(vector.vek), ...vector.ca.map(file)],
    at: new Date(Date.parse(vector.vek_valid[0]) + 86_400_000),
    policy: ALLOWED[vector.id] ?? {},
  };
}

const flip = (bytes: Uint8Array, at: number, mask = 0xff): Uint8Array => {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= mask;
  return copy;
};

const failed = (checks: readonly Check[]): string[] =>
  checks.filter(({ ok }) => !ok).map(({ id }) => id);

let ran = 0;
const counted = (body: () => Promise<void> | void) => async () => {
  await body();
  ran += 1;
};

afterAll(() => {
  const what = missing === '' ? `${ran} cases over ${reports.length} reports ran` : missing;
  process.stdout.write(`attestation vectors: ${what}\n`);
});

/** Every how many bytes one is flipped: each, in a full run. */
const full = process.env['CLOISTER_FULL'] === '1';
const strideOf = (sample: number): number => (full ? 1 : sample);
const LIMIT_MS = full ? 300_000 : 20_000;

describe.skipIf(missing !== '').each(BUILDS)(`vectors${missing}, $name`, (build) => {
  let restore = () => {};
  beforeAll(() => {
    restore = useBuild(build);
  });
  afterAll(() => restore());

  describe.each([...reports])('$id', (vector) => {
    test(
      'is trusted',
      counted(async () => {
        const verdict = await verifyReport(optionsOf(vector));
        expect(failed(verdict.checks)).toEqual([]);
        expect(verdict.trusted).toBe(true);
        for (const stage of STAGES) {
          expect(verdict.checks.some(({ id }) => id.startsWith(stage))).toBe(true);
        }
      }),
    );

    test(
      'is read as the index has it',
      counted(() => readsAs(vector)),
    );

    test(
      'is refused with any signed byte or byte of the VEK flipped',
      counted(async () => {
        const options = optionsOf(vector);
        const report = file(vector.report);
        // Every 41st from the one that upstream flips, or each; the property test takes any.
        for (let at = full ? 0 : 21; at < 0x2a0; at += strideOf(41)) {
          const verdict = await refusal({ ...options, report: flip(report, at, 0x80) });
          expect(verdict, `byte ${at}`).toMatch(/signature|unsupported/);
        }
        const vek = file(vector.vek);
        for (let at = full ? 0 : 40; at < vek.length; at += strideOf(97)) {
          const certificates = [flip(vek, at), ...vector.ca.map(file)];
          expect(await refusal({ ...options, certificates }), `byte ${at}`).not.toBe('trusted');
        }
      }),
      LIMIT_MS,
    );

    test(
      'is refused with the VEK of every other report',
      counted(async () => {
        for (const other of reports.filter(({ id }) => id !== vector.id)) {
          const certificates = [...optionsOf(vector).certificates, ...other.ca.map(file)];
          const options = { ...optionsOf(vector), certificates, vek: file(other.vek) };
          expect(await refusal(options), other.id).toBe('signature');
        }
      }),
    );

    test(
      'is found among the certificates of all',
      counted(async () => {
        const certificates = readdirSync(join(folder, 'certs')).map((name) =>
          file(`certs/${name}`),
        );
        const verdict = await verifyReport({ ...optionsOf(vector), certificates });
        expect(failed(verdict.checks)).toEqual([]);
      }),
    );
  });

  test(
    'a guest that may be debugged is refused by default',
    counted(async () => {
      const options = { ...optionsOf(byId('milan-v2-vcek-debug')), policy: {} };
      const verdict = await verifyReport(options);
      expect(failed(verdict.checks)).toEqual(['policy.debug']);
      expect(verdict.failure).toBe('policy');
    }),
  );

  test(
    'a VLEK is refused a day after it ends, and at VMPL 1 by default',
    counted(async () => {
      const vector = byId('milan-v3-vlek-aws');
      const at = new Date(Date.parse(vector.vek_valid[1]) + 86_400_000);
      const verdict = await verifyReport({ ...optionsOf(vector), at, policy: {} });
      expect(failed(verdict.checks)).toEqual(['chain.vek-dates', 'policy.vmpl']);
      expect(verdict.failure).toBe('chain');
      expect(verdict.vek.cspId).toBe('CN=cc-us-east-2.amazonaws.com');
    }),
  );

  test(
    'a Genoa VEK is refused under the authorities of Milan',
    counted(async () => {
      const options = optionsOf(byId('genoa-v3-vcek'));
      const { ca } = byId('milan-v2-vcek');
      const certificates = [file('certs/genoa-v3-vcek-vek.der'), ...ca.map(file)];
      const verdict = await verifyReport({ ...options, certificates });
      expect(verdict.failure).toBe('chain');
      expect(failed(verdict.checks)).toContain('chain.vek-signature');
    }),
  );

  test(
    'certificates for another chip are refused, with HWID bare and wrapped',
    counted(async () => {
      const options = optionsOf(byId('milan-v2-vcek'));
      const chip = Array.from({ length: 64 }, (_, i) => i);
      for (const name of ['legacy', 'new']) {
        const vek = parseCertificate(file(`certs/trustee-test-vcek-invalid-${name}.der`));
        expect(vekExtensions(vek).hwid).toEqual(Uint8Array.from(chip));
        const verdict = await verifyReport({ ...options, vek });
        expect(verdict.failure).toBe('signature');
        expect(failed(verdict.checks)).toContain('chain.chip');
      }
    }),
  );

  test(
    'a certificate without a report hangs from the same root',
    counted(async () => {
      const [vek, ask] = ['turin-other-vcek', 'SEV-Turin'].map((name) =>
        parseCertificate(file(`certs/${name}.der`)),
      );
      expect(await signedBy(vek!, ask!)).toBe(true);
    }),
  );

  test(
    'every root has the pinned key and vouches for its intermediates',
    counted(async () => {
      for (const product of ['Milan', 'Genoa', 'Turin']) {
        const ark = parseCertificate(file(`certs/ARK-${product}.der`));
        expect(keyDigest(ark)).toBe(arks[`ARK-${product}`]!.spki_sha256);
        for (const name of [`ARK-${product}`, `SEV-${product}`, `SEV-VLEK-${product}`]) {
          expect(await signedBy(parseCertificate(file(`certs/${name}.der`)), ark)).toBe(true);
        }
      }
    }),
  );

  test(
    'a flipped byte of an authority is refused',
    counted(async () => {
      const vector = byId('turin-v5-vcek');
      for (const [index, name] of vector.ca.entries()) {
        for (let at = full ? 0 : 3; at < file(name).length; at += strideOf(131)) {
          const ca = vector.ca.map((each, i) => (i === index ? flip(file(each), at) : file(each)));
          const certificates = [file(vector.vek), ...ca];
          const result = await refusal({ ...optionsOf(vector), certificates });
          expect(result, `${name} byte ${at}`).not.toBe('trusted');
        }
      }
    }),
    LIMIT_MS,
  );
});

const byId = (id: string): Vector => reports.find((each) => each.id === id)!;

/** `trusted`, the failed stage, or the code of the error. */
async function refusal(options: VerifyOptions): Promise<string> {
  try {
    return (await verifyReport(options)).failure ?? 'trusted';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function readsAs({ report, vek, fields, vek_extensions: expected, kds_vcek_url }: Vector): void {
  const parsed = parseReport(file(report));
  const { major, minor, build } = parsed.currentFirmware;
  expect({
    version: parsed.version,
    guest_svn: parsed.guestSvn,
    policy: `0x${parsed.guestPolicy.value.toString(16)}`,
    family: toHex(parsed.familyId),
    image: toHex(parsed.imageId),
    vmpl: parsed.vmpl,
    algo: parsed.signatureAlgorithm,
    plat: `0x${parsed.platformInfo.value.toString(16)}`,
    author_en: Number(parsed.authorKeyEnabled),
    mask_key: Number(parsed.chipKeyMasked),
    signing_key: ['vcek', 'vlek'].indexOf(parsed.signingKey),
    report_data: toHex(parsed.reportData),
    measurement: toHex(parsed.measurement),
    host_data: toHex(parsed.hostData),
    id_key: toHex(parsed.idKeyDigest),
    author: toHex(parsed.authorKeyDigest),
    report_id: toHex(parsed.reportId),
    report_id_ma: toHex(parsed.reportIdMa),
    current: toHex(parsed.tcb.current),
    reported: toHex(parsed.tcb.reported),
    committed: toHex(parsed.tcb.committed),
    launch_tcb: toHex(parsed.tcb.launch),
    chip_id: toHex(parsed.chipId),
    cur_ver: `${major}.${minor}.${build}`,
    launch_mit: `0x${(parsed.mitigations?.launch ?? 0n).toString(16)}`,
    current_mit: `0x${(parsed.mitigations?.current ?? 0n).toString(16)}`,
  }).toEqual(Object.fromEntries(Object.entries(fields).filter(([name]) => !SKIPPED.has(name))));
  expect(parsed.unknown).toEqual([]);

  const extensions = vekExtensions(parseCertificate(file(vek)));
  expect(extensions.productName).toBe(expected['2']);
  expect(extensions.tcb.microcode).toBe(expected['3.8']);
  expect(extensions.tcb.fmc).toBe(expected['3.9']);
  expect(extensions.hwid && toHex(extensions.hwid)).toBe(expected['4']);
  expect(encodeTcb(extensions.tcb, extensions.product)).toEqual(
    Uint8Array.from(parsed.tcb.reported),
  );
  if (kds_vcek_url !== undefined) {
    const tcb = decodeTcb(parsed.tcb.reported, extensions.product);
    expect(kdsUrl.vcek(extensions.product, parsed.chipId, tcb)).toBe(kds_vcek_url);
  }
}

/** Compared above in another form. */
const SKIPPED = new Set(['cpuid', 'com_ver']);
