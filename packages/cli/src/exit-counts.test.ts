// Exit counts: by cause, and bounded.
import type { VmExit } from '@cloister/core';
import { expect, test } from 'vitest';
import { ExitCounts } from './exit-counts.js';

const out = (port: number): VmExit => ({
  kind: 'io',
  vcpu: 0,
  instructions: 0,
  direction: 'out',
  port,
  size: 1,
  count: 1,
  data: new Uint8Array(1),
});
const hlt: VmExit = { kind: 'hlt', vcpu: 0, instructions: 0, interruptible: true };
const mmio = (gpa: number): VmExit => ({
  kind: 'mmio',
  vcpu: 0,
  instructions: 0,
  direction: 'read',
  gpa,
  size: 4,
  data: new Uint8Array(4),
});

function counted(...exits: VmExit[]): ExitCounts {
  const counts = new ExitCounts();
  for (const exit of exits) counts.add(exit);
  return counts;
}

test('most frequent first, ties by name', () => {
  const rows = counted(mmio(0), hlt, out(1), hlt).table();
  expect(rows.map((row) => row.trim())).toEqual([
    'count  exit',
    '2  hlt',
    '1  io out 0x1',
    '1  mmio read page 0x0',
  ]);
});

test('the table tells ports apart and gathers a page of MMIO', () => {
  const table = counted(out(0x3f8), out(0x3f8), mmio(0xfec00000), mmio(0xfec00010), out(0x80));
  expect(table.table()).toEqual([
    '         count  exit',
    '             2  io out 0x3f8',
    '             2  mmio read page 0xfec00000',
    '             1  io out 0x80',
  ]);
});

test('the table ends with what it leaves out', () => {
  expect(counted(out(1), out(1), out(2), out(3)).table(1)).toEqual([
    '         count  exit',
    '             2  io out 0x1',
    '             2  2 further causes',
  ]);
  expect(counted().table()).toEqual(['no exits']);
});

test('a guest that touches every page does not grow the table without end', () => {
  const counts = new ExitCounts();
  for (let page = 0; page < 10_000; page++) counts.add(mmio(page * 4096));
  expect(counts.table(1e6).length).toBeLessThan(5000);
  expect(counts.table(1e6).at(-1)).toMatch(/mmio/);
});
