// node verify.js REPORT VCEK ASK ARK: verifies a report in five lines.
import { readFileSync } from 'node:fs';
import { verifyReport } from '@cloister/sev/attest';

const [report, ...certificates] = process.argv.slice(2).map((path) => readFileSync(path));
const { trusted, checks } = await verifyReport({ report, certificates });
process.stdout.write(`${trusted} ${JSON.stringify(checks.filter(({ ok }) => !ok))}\n`);
