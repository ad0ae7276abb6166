// Runs of pages beside a set of page numbers, and ranges of any size.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PageRuns } from './page-runs.js';

const PAGES = 40;
const EVERY = Array.from({ length: PAGES + 14 }, (_, page) => page);
const changes = fc.array(
  fc.record({ add: fc.boolean(), first: fc.nat(PAGES), count: fc.integer({ min: 1, max: 12 }) }),
  { maxLength: 40 },
);

test('holds what a set of page numbers would, as few runs as there can be', () => {
  fc.assert(
    fc.property(changes, (list) => {
      const runs = new PageRuns();
      const pages = new Set<number>();
      for (const { add, first, count } of list) {
        if (add) runs.add([first, count]);
        else runs.remove([first, count]);
        for (let page = first; page < first + count; page++) {
          if (add) pages.add(page);
          else pages.delete(page);
        }
        const held = runs.runs();
        const named = held.flatMap(([start, size]) =>
          Array.from({ length: size }, (_, i) => start + i),
        );
        expect(named).toEqual([...pages].sort((a, b) => a - b));
        expect(
          held.every(([start], at) => at === 0 || start > held[at - 1]![0] + held[at - 1]![1]),
        ).toBe(true);
        const wrong = EVERY.filter((page) => runs.has(page) !== pages.has(page));
        expect(wrong).toEqual([]);
      }
      runs.clear();
      return runs.runs().length === 0;
    }),
    { numRuns: 30 },
  );
});

test('takes a whole address space as easily as a page', () => {
  const runs = new PageRuns();
  for (let n = 0; n < 1000; n++) {
    runs.add([0, 2 ** 40]);
    runs.remove([1, 2 ** 40 - 2]);
  }
  expect(runs.runs()).toEqual([
    [0, 1],
    [2 ** 40 - 1, 1],
  ]);
});
