// The attestation library in a browser: a page bundled for it verifies a report of a real Turin
// machine in headless Chromium. Needs Debian's chromium and the vectors; says which is missing.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { attestPage, attestPageLacks } from '../tools/lib/attest-page.mjs';

const lacks = attestPageLacks();
const why = lacks === '' ? '' : ` (skipped: ${lacks})`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-attest-page-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 40, retryDelay: 100 }));

test.skipIf(why !== '')(`a page verifies the Turin report of the vectors${why}`, async () => {
  const { result, ofNode } = await attestPage(folder);
  expect(ofNode).toEqual([]);
  expect(result).toMatchObject({
    implementations: ['pure', 'WebCrypto'],
    good: true,
    failed: [],
    bad: 'signature',
  });
  const scripts = readdirSync(join(folder, 'assets')).filter((name) => name.endsWith('.js'));
  const code = scripts.map((name) => readFileSync(join(folder, 'assets', name), 'utf8'));
  expect(code.join('')).not.toMatch(/\b(?:from|import|require)\s*\(?\s*["'`]node:/);
  const kilobytes = Math.round(code.join('').length / 1024);
  const rate = Math.round(result.known);
  process.stdout.write(`browser: ${rate} verifications a second; page of ${kilobytes} KiB\n`);
});
