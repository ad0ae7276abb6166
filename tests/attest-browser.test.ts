// The attestation library in a browser: a page bundled for it verifies a report of a real Turin
// machine in headless Chromium. Needs Debian's chromium and the vectors; says which is missing.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const vectors = process.env['CLOISTER_VECTORS'] ?? join(root, '..', 'shared', 'vectors');
const reports = join(vectors, 'reports');
const CHROMIUM = '/usr/bin/chromium';
const missing = [
  existsSync(CHROMIUM) ? '' : `${CHROMIUM} is not installed`,
  existsSync(reports) ? '' : `no vectors at ${reports}`,
].filter((each) => each !== '');
const why = missing.length === 0 ? '' : ` (skipped: ${missing.join(', ')})`;

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

const FILES = [
  'reports/turin-v5-vcek.bin',
  'certs/turin-v5-vcek-vek.der',
  'certs/SEV-Turin.der',
  'certs/ARK-Turin.der',
];

/** The page's program: fetches the files, verifies twice, times it, and sends what it found. */
const PAGE = `
import { verifyReport } from '@cloister/sev/attest';
async function load(name) {
  return new Uint8Array(await (await fetch('/vectors/' + name)).arrayBuffer());
}
async function main() {
  const [report, ...certificates] = await Promise.all(${JSON.stringify(FILES)}.map(load));
  const options = { certificates, at: new Date('2026-06-01') };
  const good = await verifyReport({ ...options, report });
  const changed = report.slice();
  changed[0x90] ^= 1;
  const bad = await verifyReport({ ...options, report: changed });
  const start = performance.now();
  for (let i = 0; i < 20; i++) await verifyReport({ ...options, report });
  const each = (performance.now() - start) / 20;
  const failed = good.checks.filter(({ ok }) => !ok);
  return { good: good.trusted, failed, bad: bad.failure, each };
}
main()
  .catch((error) => ({ error: String(error) }))
  .then((result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) }));
`;

interface Result {
  readonly error?: string;
  readonly good: boolean;
  readonly failed: readonly unknown[];
  readonly bad: string;
  readonly each: number;
}

let folder: string;
let server: Server;
let browser: ChildProcess | undefined;
let bundle: string;
let received: (result: Result) => void;

beforeAll(async () => {
  if (why !== '') return;
  folder = mkdtempSync(join(tmpdir(), 'cloister-browser-'));
  const entry = join(root, 'node_modules', '.attest-page.mjs');
  writeFileSync(entry, PAGE);
  await build({
    root: folder,
    logLevel: 'error',
    configFile: false,
    build: {
      outDir: join(folder, 'out'),
      lib: { entry, formats: ['es'], fileName: () => 'page.js' },
      minify: false,
    },
  });
  rmSync(entry);
  bundle = readFileSync(join(folder, 'out', 'page.js'), 'utf8');
  server = createServer((request, response) => {
    const path = request.url ?? '/';
    if (path === '/result') {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        response.end();
        received(JSON.parse(body));
      });
    } else if (path === '/page.js') {
      response.setHeader('content-type', 'text/javascript');
      response.end(bundle);
    } else if (FILES.includes(path.replace('/vectors/', ''))) {
      response.end(readFileSync(join(reports, path.replace('/vectors/', ''))));
    } else {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><script type="module" src="/page.js"></script>');
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
});

afterAll(async () => {
  if (why !== '') return;
  if (browser?.exitCode === null) {
    const gone = new Promise((resolve) => browser?.once('exit', resolve));
    browser.kill('SIGKILL');
    await gone;
  }
  server?.close();
  server?.closeAllConnections();
  rmSync(folder, { recursive: true, force: true, maxRetries: 40, retryDelay: 100 });
});

test.skipIf(why !== '')(`a page verifies the Turin report of the vectors${why}`, async () => {
  expect(bundle).not.toMatch(/from\s*['"]node:/);
  const { port } = server.address() as AddressInfo;
  const result = await new Promise<Result>((resolve, reject) => {
    received = resolve;
    const profile = `--user-data-dir=${join(folder, 'profile')}`;
    browser = spawn(CHROMIUM, [...FLAGS, profile, `http://127.0.0.1:${port}/`], {
      stdio: 'ignore',
    });
    browser.once('error', reject);
    browser.once('exit', (status) => reject(new Error(`chromium ended with ${status}`)));
    setTimeout(() => reject(new Error('the page sent nothing in 90 s')), 90_000).unref();
  });
  expect(result.error).toBeUndefined();
  expect(result).toMatchObject({ good: true, failed: [], bad: 'signature' });
  const kilobytes = Math.round(bundle.length / 1024);
  const rate = Math.round(1000 / result.each);
  process.stdout.write(`browser: ${rate} verifications a second; page of ${kilobytes} KiB\n`);
});
