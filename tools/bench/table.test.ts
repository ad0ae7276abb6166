// The table that benchmarks are printed in.
import { expect, test } from 'vitest';
import { formatTable } from './table.mjs';

test('aligns numbers to the right, text to the left, and leaves gaps for missing cells', () => {
  const table = formatTable([
    { what: 'emulator', seconds: 12.34567 },
    { what: 'tcg', seconds: 3, spread: 0.1 },
  ]);
  expect(table.split('\n')).toEqual([
    'what      seconds  spread',
    '--------  -------  ------',
    'emulator   12.346',
    'tcg             3     0.1',
  ]);
});
