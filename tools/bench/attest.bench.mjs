// Verifications of attestation reports, beside the same signatures checked by node:crypto alone:
// one ECDSA P-384 over the report, three RSASSA-PSS with 4096 bits over the certificates. In turns,
// so that what else the machine does meets both alike. Reports of real machines from the vectors.
import { constants, verify, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCertificate, verifyReport } from '@cloister/sev/attest';
import { root } from '../lib/workspace.mjs';
import { median } from './statistics.mjs';

export const name = 'attest';
export const description = 'verified reports a second, beside the bare signatures of node:crypto';

const ROUNDS = 7;
const ROUND_MS = 400;
const AT = new Date('2026-06-01');

export async function run(report) {
  const vectors = process.env.CLOISTER_VECTORS ?? join(root, '..', 'shared', 'vectors');
  const folder = join(vectors, 'reports');
  if (!existsSync(folder)) return void report.note(`skipped: no vectors at ${folder}`);
  const file = (path) => readFileSync(join(folder, path));
  const bytes = file('reports/turin-v5-vcek.bin');
  const ders = ['turin-v5-vcek-vek', 'SEV-Turin', 'ARK-Turin'].map((each) =>
    file(`certs/${each}.der`),
  );
  const bare = bareSignatures(bytes, ders);
  const certificates = ders.map(parseCertificate);
  const contestants = [
    { title: 'node:crypto signatures alone', once: bare },
    { title: 'certificates parsed before', once: () => trusted({ report: bytes, certificates }) },
    { title: 'all from files', once: () => trusted({ report: bytes, certificates: ders }) },
    // Each report from a chip not seen before: its certificate is read anew.
    {
      title: 'a new chip each time',
      once: () => {
        const vek = parseCertificate(ders[0]);
        return trusted({ report: bytes, certificates: ders.slice(1), vek });
      },
    },
  ];
  const rates = contestants.map(() => []);
  for (let round = -1; round < ROUNDS; round++) {
    for (const [index, { once }] of contestants.entries()) {
      const rate = await perSecond(once);
      // The first round warms up.
      if (round >= 0) rates[index].push(rate);
    }
  }
  const [floor] = rates.map(median);
  for (const [index, { title }] of contestants.entries()) {
    const rate = median(rates[index]);
    report.row({ verification: title, 'a second': Math.round(rate), 'time ratio': floor / rate });
  }
  report.note('one caller, one report at a time; the ratio is of times, to the first row');
}

async function trusted(options) {
  const verdict = await verifyReport({ ...options, at: AT });
  if (!verdict.trusted) throw new Error(`not trusted: ${verdict.failure}`);
}

/** The four signatures with keys and bytes made ready, which is the least there is to do. */
function bareSignatures(bytes, ders) {
  const [vek, ask, ark] = ders.map((der) => new X509Certificate(der).publicKey);
  const parts = ders.map((der) => parseCertificate(der));
  const reverse = (from) => Buffer.from(bytes.subarray(from, from + 48)).reverse();
  const signature = Buffer.concat([reverse(0x2a0), reverse(0x2a0 + 72)]);
  const signed = bytes.subarray(0, 0x2a0);
  const ecdsa = { key: vek, dsaEncoding: 'ieee-p1363' };
  const pss = (key) => ({ key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 });
  const issuers = [ask, ark, ark].map(pss);
  return () => {
    const good =
      verify('sha384', signed, ecdsa, signature) &&
      parts.every(({ body, signature: own }, i) => verify('sha384', body, issuers[i], own));
    if (!good) throw new Error('a signature that is good was refused');
  };
}

async function perSecond(once) {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < ROUND_MS) {
    await once();
    count += 1;
  }
  return (count * 1000) / (performance.now() - start);
}
