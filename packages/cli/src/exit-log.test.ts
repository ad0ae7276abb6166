// The exit log: lines in order, whole, in blocks of bounded size.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmExit } from '@cloister/core';
import { expect, test } from 'vitest';
import { blockFile, ExitLog } from './exit-log.js';
import { exitLine } from './exit-record.js';

const io = (instructions: number, length = 1): VmExit => ({
  kind: 'io',
  vcpu: 0,
  instructions,
  direction: 'out',
  port: 0x3f8,
  size: 1,
  count: length,
  data: new Uint8Array(length).fill(0x41),
});

function fakeWriter(failAfter = Number.POSITIVE_INFINITY) {
  const blocks: string[] = [];
  return {
    blocks,
    closed: false,
    write(block: Uint8Array) {
      if (blocks.length >= failAfter) throw new Error('disk full');
      blocks.push(Buffer.from(block).toString());
    },
    close() {
      this.closed = true;
    },
  };
}

const never = (error: unknown) => {
  throw error;
};

test('writes every exit once, in order, in blocks of at most 64 KiB', () => {
  const writer = fakeWriter();
  const log = new ExitLog(writer, never);
  const exits = [io(1), io(2, 50_000), ...Array.from({ length: 3000 }, (_, n) => io(n + 3))];
  for (const exit of exits) log.add(exit);
  log.close();
  expect(writer.blocks.join('')).toBe(exits.map(exitLine).join(''));
  expect(writer.blocks.length).toBeGreaterThan(1);
  expect(Math.max(...writer.blocks.map((block) => block.length))).toBeLessThanOrEqual(65_536);
  expect(writer.closed).toBe(true);
});

test('leaves out the host’s interruptions', () => {
  const writer = fakeWriter();
  const log = new ExitLog(writer, never);
  log.add({ kind: 'interrupted', vcpu: 0, instructions: 1 });
  log.close();
  expect(writer.blocks).toEqual([]);
});

test('a failed write is told once; the guest goes on', () => {
  const errors: unknown[] = [];
  const log = new ExitLog(fakeWriter(1), (error) => errors.push(error));
  for (let n = 0; n < 5000; n++) log.add(io(n));
  log.close();
  expect(errors).toEqual([new Error('disk full')]);
});

test('a file that cannot be made is a bad file', () => {
  expect(() => blockFile('exit log', join(tmpdir(), 'no', 'such', 'folder'))).toThrow(
    /^exit log ".*folder": no such file$/,
  );
});

test('a file holds what was written', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cloister-log-'));
  try {
    const path = join(folder, 'exits.jsonl');
    const log = new ExitLog(blockFile('exit log', path), never);
    log.add(io(7));
    log.close();
    expect(readFileSync(path, 'utf8')).toBe(exitLine(io(7)));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
