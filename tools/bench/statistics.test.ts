// Medians and spreads of benchmarks.
import { expect, test } from 'vitest';
import { median, spreadPercent } from './statistics.mjs';

test('the median is the one in the middle, whatever the order', () => {
  expect(median([5, 1, 100])).toBe(5);
  expect(median([7])).toBe(7);
});

test('the spread is in percent of the median', () => {
  expect(spreadPercent([9, 10, 12])).toBe(30);
});
