// Saved VMs in files: whole or not at all, private, and errors that name the file.
import {
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeSnapshot, type Snapshot, type VmmError } from '@cloister/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readState, requireWritableState, writeState } from './state-file.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-state-'));
  path = join(folder, 'vm.state');
});
afterEach(() => rmSync(folder, { recursive: true }));

const snapshot: Snapshot = {
  type: 'vm',
  version: 1,
  state: { configuration: { memory: 4096, cpus: 2 }, ram: Uint8Array.of(1, 2, 3) },
};

test('reads back what was written, readable by the owner only', async () => {
  await writeState(path, snapshot);
  expect(await readState(path)).toEqual({ snapshot, memory: 4096, cpus: 2 });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(existsSync(`${path}.tmp`)).toBe(false);
});

async function mistake(action: Promise<unknown>): Promise<string> {
  const error = await action.then(
    () => new Error('nothing was thrown'),
    (thrown: VmmError) => thrown,
  );
  return 'describe' in error ? error.describe() : String(error);
}

test('a cut file, another file and one without a VM are bad files', async () => {
  await writeState(path, snapshot);
  const whole = readFileSync(path);
  const other = await encodeSnapshot({ type: 'other', version: 1, state: null });
  for (const content of [whole.subarray(0, whole.length - 1), 'text', '', other]) {
    writeFileSync(path, content);
    expect(await mistake(readState(path))).toMatch(/^invalid-file: saved state ".*vm\.state": ./);
  }
});

test('where no state can be written is known before a guest leaves for it', async () => {
  const writable = async (at: string) => requireWritableState(at);
  expect(await mistake(writable(join(folder, 'no', 'where')))).toContain('where": no such file');
  expect(await mistake(writable(folder))).toContain('it is a folder');
  await writeState(path, snapshot);
  requireWritableState(path);
  expect(await readState(path)).toMatchObject({ memory: 4096 });
  expect(existsSync(`${path}.tmp`)).toBe(false);
});

test('a link in place of the temporary file leads nowhere', async () => {
  const victim = join(folder, 'victim');
  writeFileSync(victim, 'precious');
  symlinkSync(victim, `${path}.tmp`);
  requireWritableState(path);
  symlinkSync(victim, `${path}.tmp`);
  await writeState(path, snapshot);
  expect(readFileSync(victim, 'utf8')).toBe('precious');
  expect(await readState(path)).toMatchObject({ memory: 4096 });
});

test('a folder that cannot be flushed has the file nevertheless', async () => {
  await writeState(path, snapshot);
  const other: Snapshot = { ...snapshot, state: { configuration: { memory: 8192, cpus: 1 } } };
  const flushed: string[] = [];
  await writeState(path, other, (file) => {
    const isFolder = fstatSync(file).isDirectory();
    flushed.push(isFolder ? 'folder' : 'file');
    if (isFolder) throw Object.assign(new Error('no'), { code: 'EINVAL' });
  });
  expect(flushed).toEqual(['file', 'folder']);
  expect(await readState(path)).toMatchObject({ memory: 8192 });
});

test('what the disk refuses to keep does not take the place of what was there', async () => {
  await writeState(path, snapshot);
  const other: Snapshot = { ...snapshot, state: { configuration: { memory: 8192, cpus: 1 } } };
  const broken = () => {
    throw Object.assign(new Error('no'), { code: 'EIO' });
  };
  expect(await mistake(writeState(path, other, broken))).toMatch(/before is still there/);
  expect(await readState(path)).toMatchObject({ memory: 4096 });
  expect(existsSync(`${path}.tmp`)).toBe(false);
});

test('what cannot be written leaves what was there, and says so', async () => {
  const other: Snapshot = { ...snapshot, state: { configuration: { memory: 8192, cpus: 1 } } };
  mkdirSync(`${path}.tmp`);
  expect(await mistake(writeState(path, other))).toMatch(/vm\.state": .*; nothing is there/);
  rmdirSync(`${path}.tmp`);
  await writeState(path, snapshot);
  mkdirSync(`${path}.tmp`);
  expect(await mistake(writeState(path, other))).toMatch(/; what was saved there before is still/);
  expect(await readState(path)).toMatchObject({ memory: 4096 });
});

test('a missing file and a folder that cannot be written are named', async () => {
  expect(await mistake(readState(join(folder, 'none')))).toContain('none": no such file');
  const bad = join(folder, 'no', 'where');
  expect(await mistake(writeState(bad, snapshot))).toContain('where": no such file');
});
