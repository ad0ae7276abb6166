// Verifications of attestation reports, beside the same work by node:crypto alone: one ECDSA P-384
// over the report, three RSASSA-PSS with 4096 bits over the certificates, and where a certificate
// is new, reading it with X509Certificate. In turns, so that what else the machine does meets all
// alike. A report of a real machine from the vectors. Also the browser build, in Node and, where
// there is one, in Chromium.
import { constants, verify, X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCertificate, useSignatures, verifyReport, webSignatures } from '@cloister/sev/attest';
import { pureHashes, useHashes } from '@cloister/sev/measure';
import { attestPage, attestPageLacks } from '../lib/attest-page.mjs';
import { vectors } from '../lib/vectors.mjs';
import { median } from './statistics.mjs';

export const name = 'attest';
export const description = 'verified reports a second, beside the same work by node:crypto alone';

const ROUNDS = 25;
const ROUND_MS = 100;
const AT = new Date('2026-06-01');

export async function run(report) {
  const folder = join(vectors, 'reports');
  if (!existsSync(folder)) return void report.note(`skipped: no vectors at ${folder}`);
  const file = (path) => readFileSync(join(folder, path));
  const bytes = file('reports/turin-v5-vcek.bin');
  const ders = ['turin-v5-vcek-vek', 'SEV-Turin', 'ARK-Turin'].map((each) =>
    file(`certs/${each}.der`),
  );
  const contestants = contestantsOf(bytes, ders);
  for (let round = -1; round < ROUNDS; round++) {
    for (const each of contestants) {
      const taken = await timed(each);
      // The first round warms up.
      if (round >= 0) each.taken.push(taken);
    }
  }
  for (const { title, beside, taken } of contestants) {
    const floor = contestants.find((each) => each.title === beside)?.taken;
    const each = taken.map(({ cpu }) => cpu);
    report.row({
      verification: title,
      'a second': Math.round(1000 / median(taken.map(({ wall }) => wall))),
      'CPU µs each': Math.round(1000 * median(each)),
      'CPU ratio': floor && median(each.map((cpu, round) => cpu / floor[round].cpu)),
    });
  }
  await browserRows(report);
  report.note(
    'one caller, one report at a time; ratios to the bare row of the same case, goal: 1.5',
  );
}

const KNOWN = 'known certificates: bare node:crypto';
const FRESH = 'a new certificate each: bare node:crypto';

/** `known`: all certificates read before. `fresh`: each report from a chip not seen before. */
function contestantsOf(bytes, ders) {
  const bare = bareSignatures(bytes, ders);
  const certificates = ders.map(parseCertificate);
  const authorities = certificates.slice(1);
  const known = () => trusted({ report: bytes, certificates });
  const fresh = () =>
    trusted({ report: bytes, certificates: authorities, vek: parseCertificate(ders[0]) });
  const files = () => trusted({ report: bytes, certificates: ders });
  const row = (title, once, beside, browser = false) => ({
    title,
    once,
    beside,
    browser,
    taken: [],
  });
  return [
    row(KNOWN, () => bare(bare.vek)),
    row('known certificates', known, KNOWN),
    row('known certificates, given as files', files, KNOWN),
    row('known certificates, browser build', known, KNOWN, true),
    row(FRESH, () => bare(new X509Certificate(ders[0]).publicKey)),
    row('a new certificate each', fresh, FRESH),
    row('a new certificate each, browser build', fresh, FRESH, true),
  ];
}

async function trusted(options) {
  const verdict = await verifyReport({ ...options, at: AT });
  if (!verdict.trusted) throw new Error(`not trusted: ${verdict.failure}`);
}

/** The four signatures, with the authorities' keys and all bytes made ready. */
function bareSignatures(bytes, ders) {
  const [vek, ask, ark] = ders.map((der) => new X509Certificate(der).publicKey);
  const parts = ders.map((der) => parseCertificate(der));
  const reverse = (from) => Buffer.from(bytes.subarray(from, from + 48)).reverse();
  const signature = Buffer.concat([reverse(0x2a0), reverse(0x2a0 + 72)]);
  const signed = bytes.subarray(0, 0x2a0);
  const pss = (key) => ({ key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 });
  const issuers = [ask, ark, ark].map(pss);
  const check = (key) => {
    const good =
      verify('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }, signature) &&
      parts.every(({ body, signature: own }, i) => verify('sha384', body, issuers[i], own));
    if (!good) throw new Error('a signature that is good was refused');
  };
  return Object.assign(check, { vek });
}

/**
 * Milliseconds of each verification, by the clock and of the process's threads together. With the
 * implementations of the browser build where the row asks for them.
 */
async function timed({ once, browser }) {
  const before = browser ? [useHashes(pureHashes), useSignatures(webSignatures)] : undefined;
  const start = performance.now();
  const used = process.cpuUsage();
  let count = 0;
  while (performance.now() - start < ROUND_MS) {
    await once();
    count += 1;
  }
  const { user, system } = process.cpuUsage(used);
  const wall = (performance.now() - start) / count;
  if (before !== undefined) {
    useHashes(before[0]);
    useSignatures(before[1]);
  }
  return { wall, cpu: (user + system) / 1000 / count };
}

async function browserRows(report) {
  const lacks = attestPageLacks();
  if (lacks !== '') return void report.note(`not measured in Chromium: ${lacks}`);
  const folder = mkdtempSync(join(tmpdir(), 'cloister-attest-bench-'));
  try {
    const { result } = await attestPage(folder);
    if (result.good !== true) throw new Error(`Chromium: ${JSON.stringify(result)}`);
    const row = (what, rate) =>
      report.row({ verification: `${what}, in Chromium`, 'a second': Math.round(rate) });
    row('known certificates', result.known);
    row('a new certificate each', result.fresh);
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 40, retryDelay: 100 });
  }
}
