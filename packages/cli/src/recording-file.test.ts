// Recordings in files: replaced only when whole, whatever fails on the way; bad files are named.
import {
  chmodSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeRecording, type InputRecording, type VmmError } from '@cloister/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Disk, RecordingFile, readRecording } from './recording-file.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-recording-'));
  path = join(folder, 'r');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Several blocks. */
const recording: InputRecording = {
  ...{ seed: '7', epochSeconds: 1, memory: 4096, cpus: 2 },
  inputs: Array.from({ length: 10 }, (_, i) => {
    return { at: i, time: 2 * i, source: 'disk', data: new Uint8Array(30_000).fill(i) };
  }),
  end: { at: 50, time: 60, reason: 'power-off' },
};

const never = (error: unknown) => {
  throw error;
};

function record(failed: (error: unknown) => void = never, disk?: Disk): void {
  const file = new RecordingFile(path, failed, disk);
  file.begin(recording);
  for (const input of recording.inputs) file.add(input);
  file.finish(recording.end);
}

function mistake(action: () => void): string {
  try {
    action();
  } catch (error) {
    return (error as VmmError).describe();
  }
  return 'nothing was thrown';
}

/** A disk with room for so many blocks. */
function smallDisk(blocks: number): Disk {
  let left = blocks;
  return {
    write(file, block) {
      if (left-- <= 0) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      writeFileSync(file, block);
    },
    flush: fsyncSync,
  };
}

test('reads back as it was written, and is core’s text', () => {
  record();
  expect(readFileSync(path, 'utf8')).toBe(encodeRecording(recording));
  expect(readRecording(path)).toEqual(recording);
  expect(readdirSync(folder)).toEqual(['r']);
});

test('what was there stays until the recording is whole', () => {
  writeFileSync(path, 'before');
  const file = new RecordingFile(path, never);
  file.begin(recording);
  for (const input of recording.inputs) file.add(input);
  expect(readFileSync(path, 'utf8')).toBe('before');
  file.finish(recording.end);
  file.drop();
  expect(readRecording(path)).toEqual(recording);
});

test('a recording that is dropped leaves nothing', () => {
  writeFileSync(path, 'before');
  const file = new RecordingFile(path, never);
  file.begin(recording);
  for (const input of recording.inputs) file.add(input);
  file.drop();
  file.add(recording.inputs[0]!);
  file.finish(recording.end);
  expect(readFileSync(path, 'utf8')).toBe('before');
  expect(readdirSync(folder)).toEqual(['r']);
});

test('a disk that is full in mid-run is told once; what was there stays', () => {
  writeFileSync(path, 'before');
  const failures: unknown[] = [];
  record((error) => void failures.push(error), smallDisk(2));
  expect(failures).toHaveLength(1);
  expect(mistake(() => never(failures[0]))).toMatch(
    /^invalid-file: recording ".*r": no space left on the device; what was there before is still/,
  );
  expect(readFileSync(path, 'utf8')).toBe('before');
  expect(readdirSync(folder)).toEqual(['r']);
});

test('a failure at the very end is told; nothing is left', () => {
  const full = mistake(() => record(never, smallDisk(6)));
  expect(full).toMatch(/: no space left on the device; nothing is there$/);
  const flush = () => {
    throw new Error('the disk is gone');
  };
  const broken = mistake(() => record(never, { ...smallDisk(100), flush }));
  expect(broken).toMatch(/: the disk is gone; nothing is there$/);
  expect(readdirSync(folder)).toEqual([]);
  const file = new RecordingFile(path, never);
  file.begin(recording);
  mkdirSync(path);
  expect(mistake(() => file.finish(recording.end))).toMatch(/r": is a directory$/);
  expect(readdirSync(folder)).toEqual(['r']);
});

test('a file keeps its mode, and a link leads to it', () => {
  writeFileSync(path, 'before');
  chmodSync(path, 0o666);
  const target = path;
  path = join(folder, 'link');
  symlinkSync(target, path);
  record();
  expect(readdirSync(folder)).toEqual(['link', 'r']);
  expect(readRecording(target)).toEqual(recording);
  expect(statSync(target).mode & 0o777).toBe(0o666);
});

test('what is no file is written to as it is', () => {
  path = '/dev/null';
  record();
  expect(statSync(path).isCharacterDevice()).toBe(true);
});

test('where no recording can be written is known before the guest runs', () => {
  const begin = (at: string) => mistake(() => new RecordingFile(at, never).begin(recording));
  expect(begin(join(folder, 'no', 'where'))).toMatch(/where": no such file; nothing is there$/);
  mkdirSync(path);
  expect(begin(path)).toMatch(/r": is a directory$/);
});

test('a file that is cut, missing or a folder is a bad one', () => {
  record();
  const file = readFileSync(path);
  for (let length = 0; length < file.length - 1; length += 7919) {
    writeFileSync(path, file.subarray(0, length));
    expect(mistake(() => readRecording(path))).toMatch(/^invalid-file: recording, line \d+: ./);
  }
  expect(mistake(() => readRecording(join(folder, 'none')))).toMatch(/none": no such file$/);
  expect(mistake(() => readRecording(folder))).toMatch(/": is a directory$/);
});
