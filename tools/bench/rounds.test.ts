/** What is said of a guest's rounds. */
import { expect, it } from 'vitest';
import { comparedRates, labelsOf, ROUNDS } from './rounds.mjs';

/** Seconds by label: `first` in the first round, then `later`, more by `noise` in the last. */
function run(first: number, later: number, noise = 0): Record<string, number> {
  const seconds = labelsOf(['read']).map((_, i) => (i === 0 ? first : later));
  seconds[ROUNDS - 1] += noise;
  return Object.fromEntries(labelsOf(['read']).map((label, i) => [label, seconds[i]]));
}

it('tells what settled from what was at first, by medians', () => {
  const ours = [run(8, 2), run(4, 2, 1), run(6, 2)];
  const theirs = [run(3, 1), run(3, 1), run(3, 1)];
  expect(comparedRates('read', 100, [ours, theirs])).toEqual({
    cloister: 50,
    'qemu tcg': 100,
    'x of tcg': 0.5,
    'x at first': 0.5,
    'spread %': 50,
  });
});

it('calls each part by another name in each round', () => {
  const labels = labelsOf(['read', 'write']);
  expect(new Set(labels).size).toBe(2 * ROUNDS);
  expect(labels.every((label) => /^[a-z0-9-]+$/.test(label))).toBe(true);
});
