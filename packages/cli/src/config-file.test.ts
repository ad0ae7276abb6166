// The configuration file: what it may say, and that a mistake is told with the field's path.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmmError } from '@cloister/core';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseArguments } from './arguments.js';
import { loadConfig, parseConfig } from './config-file.js';
import { DEFAULTS, resolveOptions } from './run-options.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const check = (value: unknown) => parseConfig(JSON.stringify(value), 'vm.json');

function mistake(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as VmmError).describe();
  }
  throw new Error('nothing was thrown');
}

test.each([
  [{ memory: 'lots' }, 'memory: "lots" is not a size such as 256M, 1G or a number of bytes'],
  [{ memory: true }, 'memory: true is not a size such as 256M, 1G or a number of bytes'],
  [{ cpu: 3 }, 'cpu: 3 is not of type string'],
  [{ cpus: 'two' }, 'cpus: "two" is not of type integer'],
  [{ cpus: 0 }, 'cpus: 0 must be >= 1'],
  [{ entry: 64 }, 'entry: 64 is not one of 64, 32, pvh, multiboot, flat'],
  [{ kernel: '' }, 'kernel: "" must NOT have fewer than 1 characters'],
  [{ flat: { mode: 'huge' } }, 'flat.mode: "huge" is not one of real, protected, long'],
  [{ flat: { loadAddress: 'x' } }, 'flat.loadAddress: "x" is not a whole number'],
  [{ seed: -1 }, 'seed: -1 is not a whole number'],
  [{ plugins: ['a', { module: 3 }] }, 'plugins[1].module: 3 is not of type string'],
  [{ plugins: [{ module: 'a', option: 1 }] }, 'plugins[0]: unknown field "option"'],
  [{ plugins: [{}] }, "plugins[0]: {} must have required property 'module'"],
  [{ plugins: [7] }, 'plugins[0]: 7 is not of type string or object'],
  [{ plugins: 'a' }, 'plugins: "a" is not of type array'],
  [{ kernal: 'k' }, '"vm.json": unknown field "kernal"'],
  [[], '"vm.json": [] is not of type object'],
])('%j is refused', (value, text) => {
  expect(mistake(() => check(value))).toContain(`invalid-config: ${text}`);
});

test('text that is not JSON is refused in one line', () => {
  expect(mistake(() => parseConfig('{"a":\n', 'vm.json'))).toMatch(
    /^invalid-config: "vm\.json" is not JSON: /,
  );
});

test('any JSON is taken or refused with an error of ours', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        parseConfig(text, 'x');
      } catch (error) {
        expect((error as VmmError).code).toBe('invalid-config');
      }
    }),
    { numRuns: 50 },
  );
});

test('every field is taken, and paths are relative to the file', () => {
  const path = join(folder, 'vm.json');
  writeFileSync(
    path,
    JSON.stringify({
      backend: 'emu',
      cpu: 'cloister-v1,-smap',
      memory: '1G',
      cpus: 2,
      kernel: 'k',
      initrd: '/abs/i',
      append: 'quiet',
      entry: 'flat',
      flat: { mode: 'long', loadAddress: '0x1000' },
      protect: 'sev-es',
      sevHost: 'openbsd',
      policy: '0x3',
      platform: 'pl',
      session: 'se',
      dhCert: 'dh',
      sendTo: 'ce',
      measureOut: 'm',
      requireHardware: true,
      dumpMemory: 'd',
      clock: 'icount',
      seed: 7,
      timeout: 1.5,
      onReset: 'reboot',
      exits: 'out/exits.jsonl',
      record: 'r',
      save: 's',
      saveAt: 5,
      plugins: ['p', { module: './q.js', options: { a: 1 } }],
    }),
  );
  expect(resolveOptions([loadConfig(path)]).options).toEqual({
    ...DEFAULTS,
    cpu: 'cloister-v1,-smap',
    memory: 2 ** 30,
    cpus: 2,
    kernel: join(folder, 'k'),
    initrd: '/abs/i',
    append: 'quiet',
    entry: 'flat',
    flatMode: 'long',
    loadAddress: 0x1000,
    protect: 'sev-es',
    sevHost: 'openbsd',
    policy: 3,
    platform: join(folder, 'pl'),
    session: join(folder, 'se'),
    dhCert: join(folder, 'dh'),
    sendTo: join(folder, 'ce'),
    measureOut: join(folder, 'm'),
    requireHardware: true,
    dumpMemory: join(folder, 'd'),
    clock: 'icount',
    seed: 7n,
    timeout: 1.5,
    onReset: 'reboot',
    exits: join(folder, 'out/exits.jsonl'),
    record: join(folder, 'r'),
    save: join(folder, 's'),
    saveAt: 5,
    plugins: [
      { module: 'p', options: {}, from: folder },
      { module: './q.js', options: { a: 1 }, from: folder },
    ],
  });
});

test('a flag wins over the file; plugins of both are used', () => {
  const path = join(folder, 'vm.json');
  writeFileSync(path, JSON.stringify({ memory: '1G', kernel: 'k', plugins: ['p'] }));
  const line = ['run', '--memory', '64M', '--plugin', 'q'];
  const { flags } = parseArguments(line, { version: '0', cwd: '/cwd' }) as never;
  const { options, given } = resolveOptions([loadConfig(path), flags]);
  expect(options).toMatchObject({ memory: 64 * 2 ** 20, kernel: join(folder, 'k') });
  expect(options.plugins.map((plugin) => [plugin.module, plugin.from])).toEqual([
    ['p', folder],
    ['q', '/cwd'],
  ]);
  expect([...given].sort()).toEqual(['kernel', 'memory', 'plugins']);
});

test('a size of 0 names the field, not an option', () => {
  const path = join(folder, 'vm.json');
  writeFileSync(path, '{"memory": 0, "kernel": "k"}');
  expect(mistake(() => resolveOptions([loadConfig(path)]))).toBe(
    'invalid-config: memory: 0 is not a size above 0 such as 256M or 1G',
  );
});

test('a file that is not there is named', () => {
  expect(mistake(() => loadConfig(join(folder, 'none.json')))).toMatch(
    /^invalid-file: configuration ".*none\.json": no such file$/,
  );
});

test('the schema states the defaults that the code has', () => {
  const schema = JSON.parse(
    readFileSync(new URL('../schema/vm.schema.json', import.meta.url), 'utf8'),
  );
  const { memory, ...defaults } = Object.fromEntries(
    Object.entries(schema.properties as Record<string, { default?: unknown }>)
      .filter(([, property]) => property.default !== undefined)
      .map(([name, property]) => [name, property.default]),
  );
  expect(DEFAULTS).toMatchObject(defaults);
  expect(memory).toBe('256M');
  expect(DEFAULTS.memory).toBe(256 * 2 ** 20);
});
