// The page of tests/attest-page, bundled for browsers, with a report of a real Turin machine from
// the vectors: for the test, and for the benchmark.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { build } from 'vite';
import { chromium, look } from './chromium.mjs';
import { vectors } from './vectors.mjs';
import { root } from './workspace.mjs';

const reports = join(vectors, 'reports');

const FILES = [
  'reports/turin-v5-vcek.bin',
  'certs/turin-v5-vcek-vek.der',
  'certs/SEV-Turin.der',
  'certs/ARK-Turin.der',
];

/** What the page needs and this machine lacks, as text; '' when nothing. */
export function attestPageLacks() {
  return [
    chromium() === null ? 'Chromium is not installed' : '',
    existsSync(reports) ? '' : `no vectors at ${reports}`,
  ]
    .filter((each) => each !== '')
    .join(', ');
}

/**
 * Bundles the page into `folder`, opens it, and returns what it found.
 *
 * @param {string} folder a new one
 * @returns {Promise<{ result: any, ofNode: string[] }>} `ofNode`: imports of Node's own modules
 */
export async function attestPage(folder) {
  /** Vite would put empty modules in their place. */
  const ofNode = [];
  await build({
    configFile: false,
    root: join(root, 'tests', 'attest-page'),
    build: { outDir: folder, emptyOutDir: true, target: 'es2022' },
    plugins: [
      {
        name: 'noted',
        enforce: 'pre',
        resolveId(id, importer) {
          if (isBuiltin(id)) ofNode.push(`${id} in ${importer}`);
        },
      },
    ],
    logLevel: 'silent',
  });
  const files = FILES.map((path) => readFileSync(join(reports, path)).toString('base64'));
  writeFileSync(join(folder, 'vectors.json'), JSON.stringify(files));
  const { error, result } = await look(chromium(), folder, 'result');
  return { result: error === undefined ? JSON.parse(result) : { error }, ofNode };
}
