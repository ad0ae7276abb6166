// Plugins by path and by package name.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmmError } from '@cloister/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadPlugin } from './module-loader.js';

let from: string;
const file = (name: string, text: string) => writeFileSync(join(from, name), text);

const PLUGIN =
  '{ name: "p", version: "1.0.0", api: 1, requires: [], provides: [], setup() {}, given }';

beforeAll(() => {
  from = mkdtempSync(join(tmpdir(), 'cloister-plugin-'));
  file('plain.mjs', `const given = null; export default ${PLUGIN};`);
  file('factory.mjs', `export const plugin = (given) => (${PLUGIN});`);
  file('throws.mjs', 'throw new Error("at import");');
  file('imports.mjs', 'import "not-installed-anywhere";');
  file('empty.mjs', 'export const x = 1;');
  const pack = join(from, 'node_modules', 'a-plugin');
  mkdirSync(pack, { recursive: true });
  writeFileSync(join(pack, 'package.json'), '{"type":"module","exports":"./index.js"}');
  writeFileSync(join(pack, 'index.js'), `const given = null; export default ${PLUGIN};`);
});
afterAll(() => rmSync(from, { recursive: true }));

const load = (module: string, options = {}) => loadPlugin({ module, options, from });

async function mistake(module: string): Promise<string> {
  const error = await load(module).then(
    () => new Error('nothing was thrown'),
    (thrown: VmmError) => thrown,
  );
  return 'describe' in error ? error.describe() : String(error);
}

test('a module exports a plugin, or a factory that gets the options', async () => {
  expect(await load('./plain.mjs')).toMatchObject({ name: 'p' });
  expect(await load('./factory.mjs', { a: 1 })).toMatchObject({ given: { a: 1 } });
  expect(await load(join(from, 'plain.mjs'))).toMatchObject({ name: 'p' });
});

test('a package is found from the folder of the user', async () => {
  expect(await load('a-plugin')).toMatchObject({ name: 'p' });
});

test('a plugin that does not exist is unknown', async () => {
  const remedy = '(name a file (starting with ./ or /) or an installed package)';
  expect(await mistake('./none.mjs')).toBe(
    `unknown-plugin: there is no plugin "./none.mjs" ${remedy}`,
  );
  expect(await mistake('none')).toBe(`unknown-plugin: there is no plugin "none" ${remedy}`);
});

test('a module without a plugin, and one that fails, are told apart', async () => {
  expect(await mistake('./empty.mjs')).toMatch(/^unknown-plugin: .* exports no plugin/);
  expect(await mistake('./throws.mjs')).toMatch(/^plugin-failed: .* does not load: at import$/);
  expect(await mistake('./imports.mjs')).toMatch(/^plugin-failed: .*not-installed-anywhere/);
});
