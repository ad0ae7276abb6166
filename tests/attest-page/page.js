// Verifies the report of `vectors.json` beside the page, and the same report with a bit turned
// over; times verification with certificates known before and with a new one each. Writes what it
// found as JSON into the page.

import { parseCertificate, signatures, verifyReport } from '@cloister/sev/attest';
import { hashes } from '@cloister/sev/measure';

const REPEATS = 200;
const at = new Date('2026-06-01');

const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** Verifications a second. */
async function rate(once) {
  const start = performance.now();
  for (let count = 0; count < REPEATS; count++) await once();
  return (REPEATS * 1000) / (performance.now() - start);
}

async function main() {
  const files = await (await fetch('vectors.json')).json();
  const [report, vek, ...authorities] = files.map(bytes);
  const certificates = authorities.map(parseCertificate);
  const known = [parseCertificate(vek), ...certificates];
  const good = await verifyReport({ report, certificates: known, at });
  const changed = report.slice();
  changed[0x90] ^= 1;
  const bad = await verifyReport({ report: changed, certificates: known, at });
  const ofKnown = () => verifyReport({ report, certificates: known, at });
  const ofFresh = () => verifyReport({ report, vek: parseCertificate(vek), certificates, at });
  // Once over, so that both find the engine warm.
  await rate(ofKnown);
  await rate(ofFresh);
  return {
    implementations: [hashes().name, signatures().name],
    good: good.trusted,
    failed: good.checks.filter(({ ok }) => !ok),
    bad: bad.failure,
    known: await rate(ofKnown),
    fresh: await rate(ofFresh),
  };
}

const result = await main().catch((error) => ({ error: String(error) }));
document.getElementById('result').textContent = JSON.stringify(result);
