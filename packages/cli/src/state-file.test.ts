// Saved VMs: what is written reads back; damage is a bad file, never another exception.
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { SnapshotValue, VmmError } from '@cloister/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readState, writeState } from './state-file.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-state-'));
  path = join(folder, 'vm.state');
});
afterEach(() => rmSync(folder, { recursive: true }));

const value = {
  type: 'vm',
  big: Uint8Array.from({ length: 3_000_000 }, (_, index) => (index * index) >> 5),
  list: [Uint8Array.of(1), null, true, 'text', { 2: Uint8Array.of(), 1: 0.5 }],
};

test('reads back what was written, readable by the owner only', async () => {
  await writeState(path, value);
  const { big, ...rest } = (await readState(path)) as Record<string, SnapshotValue>;
  expect(rest).toEqual({ ...value, big: undefined });
  // Much faster than toEqual on so many bytes.
  expect(Buffer.compare(big as Uint8Array, value.big)).toBe(0);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(existsSync(`${path}.tmp`)).toBe(false);
});

test('a Buffer is bytes like any other', async () => {
  await writeState(path, { data: Buffer.from('abc') });
  expect(await readState(path)).toEqual({ data: new TextEncoder().encode('abc') });
});

async function mistake(action: Promise<unknown>): Promise<string> {
  const error = await action.then(
    () => new Error('nothing was thrown'),
    (thrown: VmmError) => thrown,
  );
  return 'describe' in error ? error.describe() : String(error);
}

const DAMAGED = /^invalid-file: saved state ".*": damaged, or not a saved VM$/;

test('a cut or changed file is damaged', async () => {
  await writeState(path, value);
  const whole = readFileSync(path);
  for (const cut of [0, 5, 40, whole.length >> 1, whole.length - 1]) {
    writeFileSync(path, whole.subarray(0, cut));
    expect(await mistake(readState(path))).toMatch(DAMAGED);
  }
  for (const at of [0, 12, whole.length >> 1, whole.length - 6]) {
    const changed = Buffer.from(whole);
    changed[at]! ^= 0x10;
    writeFileSync(path, changed);
    expect(await mistake(readState(path))).toMatch(DAMAGED);
  }
});

test.each([
  ['text', Buffer.from('hello')],
  ['another gzip file', gzipSync('hello')],
  ['no JSON', gzipSync(Buffer.from('CLOISTER STATE 1\x05\0\0\0{"a":'))],
  ['a huge JSON length', gzipSync(Buffer.from('CLOISTER STATE 1\xff\xff\xff\xff', 'latin1'))],
  ['a huge blob', gzipSync(Buffer.from('CLOISTER STATE 1\x17\0\0\0{"$bytes":900000000000}'))],
])('%s is no saved VM', async (_what, content) => {
  writeFileSync(path, content);
  expect(await mistake(readState(path))).toMatch(DAMAGED);
});

test('a missing file and a folder that cannot be written are named', async () => {
  expect(await mistake(readState(join(folder, 'none')))).toContain('none": no such file');
  const bad = join(folder, 'no', 'where');
  expect(await mistake(writeState(bad, value))).toContain('where": no such file');
});
