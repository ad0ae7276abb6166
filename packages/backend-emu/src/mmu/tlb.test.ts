/**
 * Which entries flushes drop, against a model, and generations of the jump caches; what the TLBs
 * hold, mmu.test.ts shows.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { CpuRecord } from '../cpu/record.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import { Tlb, tlbIndex } from './tlb.js';

/** Entries of the supervisor's jump cache that were made in `generation`. */
function entriesOf(t: TestComputer, generation: number): number {
  let count = 0;
  for (let index = 0; index < L.JUMP_ENTRIES; index++) {
    const at = L.JUMP_SUPERVISOR + index * L.JUMP_ENTRY_SIZE;
    if (t.record.lo(at) !== 0 && t.record.i32(at + 8) === generation) count++;
  }
  return count;
}

it('does not take entries for new when their generation comes again after 2^32', () => {
  const t = new TestComputer().longMode().load(AT.code, 'eb fe');
  t.run(10);
  const first = t.record.i32(L.GENERATION);
  expect(entriesOf(t, first)).toBe(1);
  const { tlb } = t.cpu.mmu;
  t.record.setI32(L.CODE_GENERATIONS, -1);
  do tlb.nextGeneration(0);
  while (t.record.i32(L.GENERATION) !== first);
  expect(entriesOf(t, first)).toBe(0);
  t.run(10);
  expect(t.rip).toBe(AT.code);
});

// Pages at few indices, the last one (whose absent tags differ) and that of address 0 among them.
const PAGES = [0, 1, 31, 32, 0x3ff, 0x400, 0xffc00, 0xfffff].map((page) => page << 12);
const HOST = 0x100000;

const step = fc.record({
  page: fc.nat(PAGES.length - 1),
  table: fc.nat(2),
  global: fc.boolean(),
  act: fc.oneof(
    { weight: 6, arbitrary: fc.constant('fill' as const) },
    fc.constantFrom('non-global', 'all', 'page', 'frame', 'rights'),
  ),
});

it('drops what a flush is to drop and keeps the rest, whatever was entered for what', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const tlb = new Tlb(new CpuRecord(new ArrayBuffer(L.CPU_STRIDE), 0));
      const model = Array.from({ length: 3 }, () => new Map<number, [number, boolean]>());
      const drop = (which: (page: number, global: boolean) => boolean) => {
        for (const table of model) {
          for (const [index, [page, global]] of table) {
            if (which(page, global)) table.delete(index);
          }
        }
      };
      for (const { page: number, table, global, act } of steps) {
        const page = PAGES[number]!;
        const host = HOST + number * 4096;
        if (act === 'fill') {
          tlb.fill(page, 0, table, host, 7, global, 12);
          model[table]!.set(tlbIndex(page), [page, global]);
        } else if (act === 'non-global') {
          tlb.flushNonGlobal();
          drop((_, isGlobal) => !isGlobal);
        } else if (act === 'page') {
          tlb.flushPage(page, 0);
          drop((other) => tlbIndex(other) === tlbIndex(page));
        } else if (act === 'frame') {
          tlb.dropFrame(host);
          drop((other) => other === page);
        } else {
          if (act === 'all') tlb.flushAll();
          else tlb.forgetRights();
          drop(() => true);
        }
        for (let t = 0; t < 3; t++) {
          const found = PAGES.map((va) => [0, 1, 2].map((access) => tlb.probe(va, 0, access, t)));
          const want = PAGES.map((va, i) => {
            const held = model[t]!.get(tlbIndex(va))?.[0] === va;
            return Array(3).fill(held ? HOST + i * 4096 : -1);
          });
          expect(found).toEqual(want);
        }
      }
    }),
    { numRuns: 60 },
  );
});
