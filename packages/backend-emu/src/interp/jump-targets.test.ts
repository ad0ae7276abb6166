/** The jump cache keeps what straight code over many pages needs in turns. */
import { describe, expect, it, vi } from 'vitest';
import * as L from '../cpu/layout.js';
import type { JitMode } from '../jit/mode.js';
import { testMachine } from './test-machine.js';

const CODE = 0x10000;
const PAGE = 0x1000;
const PAGES = 16;
const MOVABS_LENGTH = 10;
const HLT = 0xf4;

/** Where a page's last instruction begins, which ends in the next. */
const lastOf = (page: number): number => CODE + page * PAGE + 0xff8 + (page & 7);
const startOf = (page: number): number => (page === 0 ? CODE : lastOf(page - 1) + MOVABS_LENGTH);
const rel32 = (from: number, to: number): number[] =>
  [0, 8, 16, 24].map((shift) => ((to - from) >> shift) & 0xff);

/** Blocks looked up and pages translated by TypeScript in `rounds` through all pages. */
function asked(rounds: number, jit: JitMode) {
  const machine = testMachine(undefined, true, jit);
  for (let page = 0; page < PAGES - 1; page++) {
    const start = startOf(page);
    machine.load(lastOf(page), [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]);
    machine.load(start, [0xe9, ...rel32(start + 5, lastOf(page))]);
  }
  // dec ecx; jnz to the first page; hlt
  const end = startOf(PAGES - 1);
  machine.load(end, [0xff, 0xc9, 0x0f, 0x85, ...rel32(end + 8, CODE), HLT]);
  machine.record.setPair(L.gprOffset(1), rounds, 0);
  machine.record.setPair(L.RIP, CODE, 0);
  const block = vi.spyOn(machine.opCache, 'block');
  const translate = vi.spyOn(machine.mmu, 'translate');
  expect(machine.interpreter.run(1_000_000)).toBe('fault');
  expect(machine.systemCalls).toEqual(['hlt']);
  return { lookups: block.mock.calls.length, translations: translate.mock.calls.length };
}

/** Offset of an address in the jump cache. */
const placeOf = (lo: number): number =>
  (Math.imul(lo, L.JUMP_FACTOR) >>> L.JUMP_SHIFT) & L.JUMP_MASK;

/** Distance of two addresses that have the same place there. */
function distanceOfRivals(): number {
  let distance = PAGE;
  while (placeOf(CODE + distance) !== placeOf(CODE)) distance++;
  return distance;
}

/** Two pieces of code with one place in the jump cache, which jump to each other `rounds` times. */
function rivals(rounds: number, jit: JitMode) {
  const machine = testMachine(undefined, true, jit);
  const distance = distanceOfRivals();
  // dec ecx; jz to HLT; jmp RSI. And there: jmp RDI.
  machine.load(CODE, [0xff, 0xc9, 0x74, 2, 0xff, 0xe6, HLT]);
  machine.load(CODE + distance, [0xff, 0xe7]);
  machine.record.setPair(L.gprOffset(1), rounds, 0);
  machine.record.setPair(L.gprOffset(6), CODE + distance, 0);
  machine.record.setPair(L.gprOffset(7), CODE, 0);
  machine.record.setPair(L.RIP, CODE, 0);
  const block = vi.spyOn(machine.opCache, 'block');
  expect(machine.interpreter.run(1_000_000)).toBe('fault');
  expect(machine.systemCalls).toEqual(['hlt']);
  const { words } = machine.record;
  const home = (words[L.JUMP_CACHE >> 2] + placeOf(CODE)) >> 2;
  const beside = home ^ (L.JUMP_ENTRY_SIZE >> 2);
  return {
    lookups: block.mock.calls.length,
    // Who is at home, and who beside.
    entries: [words[home], words[beside]],
    pieces: [CODE, CODE + distance],
  };
}

describe('the jump cache', () => {
  it.each(['off', 'stress'] as const)('has two that meet in one place, %s', (jit) => {
    expect(rivals(200, jit).lookups).toBe(rivals(4, jit).lookups);
  });

  it.each(['off', 'stress'] as const)('has what was executed last at its place, %s', (jit) => {
    for (const rounds of [4, 5, 200]) {
      const { entries, pieces } = rivals(rounds, jit);
      expect(entries).toEqual(pieces);
    }
  });

  it.each(['off', 'stress'] as const)('has ends and beginnings of pages at once, %s', (jit) => {
    expect(asked(200, jit).lookups).toBe(asked(4, jit).lookups);
  });

  it.each(['off', 'stress'] as const)('lets nobody translate what the TLB has, %s', (jit) => {
    expect(asked(200, jit).translations).toBe(asked(4, jit).translations);
  });
});
