/** Generations of the jump caches; what the TLBs hold, mmu.test.ts shows. */
import { expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

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
