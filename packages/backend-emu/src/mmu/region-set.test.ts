/** The set of regions against what was added to it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RegionSet } from './region-set.js';

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

it('knows the GiB around everything added, until cleared', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word), { maxLength: 200 }), (added) => {
      const set = new RegionSet();
      expect(set.isEmpty).toBe(true);
      for (const [lo, hi] of added) set.add(lo, hi);
      expect(set.isEmpty).toBe(added.length === 0);
      for (const [lo, hi] of added) expect(set.has(lo ^ 0x3fffffff, hi)).toBe(true);
      set.clear();
      for (const [lo, hi] of added) expect(set.has(lo, hi)).toBe(false);
      if (added.length > 0) set.add(...added.at(-1)!);
      expect(set.isEmpty).toBe(added.length === 0);
    }),
  );
});

it('tells few regions apart, and says yes to all when there are many', () => {
  const set = new RegionSet();
  for (let i = 0; i < 63; i++) set.add(0, i);
  expect(set.has(0, 63)).toBe(false);
  expect(set.has(0x40000000, 62)).toBe(false);
  set.add(0, 100);
  expect(set.has(0, 63)).toBe(true);
});
