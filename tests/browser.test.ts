// The emulated processor in a browser: the example's page, bundled, holds nothing of Node and boots
// its guest in a Worker and in the page itself.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chromium, look } from '../tools/lib/chromium.mjs';

const browser = chromium();
let folders: string;
/** Modules of Node's own that the bundle's sources import: Vite would put empty ones in place. */
const ofNode: string[] = [];
/** Packages that are in it. */
const found = new Set<string>();

const noted = (): Plugin => ({
  name: 'noted',
  enforce: 'pre',
  resolveId(id, importer) {
    found.add(id);
    if (isBuiltin(id)) ofNode.push(`${id} in ${importer}`);
  },
});

/** Bundles the page in `source` and returns the folder that it went to. */
async function bundle(source: string): Promise<string> {
  const outDir = mkdtempSync(join(folders, 'page-'));
  await build({
    configFile: false,
    root: fileURLToPath(new URL(source, import.meta.url)),
    build: { outDir, emptyOutDir: true, target: 'es2022' },
    plugins: [noted()],
    worker: { format: 'es', plugins: () => [noted()] },
    logLevel: 'silent',
  });
  return outDir;
}

let example: string;
beforeAll(async () => {
  folders = mkdtempSync(join(tmpdir(), 'cloister-browser-'));
  example = await bundle('../examples/worker-vmm');
});
afterAll(() => rmSync(folders, { recursive: true, force: true, maxRetries: 40, retryDelay: 100 }));

test('a bundle for browsers holds nothing of Node', () => {
  expect([...found]).toEqual(expect.arrayContaining(['@cloister/core', '@cloister/backend-emu']));
  expect(ofNode).toEqual([]);
  const names = readdirSync(example, { recursive: true, encoding: 'utf8' });
  const scripts = names.filter((name) => name.endsWith('.js'));
  // The page and the Worker.
  expect(scripts.length).toBeGreaterThanOrEqual(2);
  for (const name of scripts) {
    const code = readFileSync(join(example, name), 'utf8');
    expect(code).not.toMatch(/\b(?:from|import|require)\s*\(?\s*["'`]node:/);
  }
});

test.skipIf(browser === null)(
  'its guest boots in Chromium (skipped where there is none)',
  async () => {
    const seen = await look(browser!, example, 'end');
    expect(seen['error']).toBeUndefined();
    expect(seen['end']).toMatch(/^(acpi-s5 after \d+ instructions), \1$/);
    expect(seen['worker']).toBe('BROWSER-OK\n');
    expect(seen['inline']).toBe('BROWSER-OK\n');
  },
);

test.skipIf(browser === null)('a Web Worker that fails is an error of the page’s', async () => {
  const seen = await look(browser!, await bundle('lib/failing-page'), 'end');
  expect(seen).toEqual({
    throw: expect.stringMatching(/^internal: the VM's Worker failed: .*thrown by a timer/),
    reject: expect.stringMatching(/^internal: the VM's Worker failed: .*rejected by nobody/),
    missing: expect.stringMatching(/^unavailable: the VM module served no VM: .*loaded/),
    refused: expect.stringMatching(/^invalid-config: memory: "much"/),
    end: 'done',
  });
});
