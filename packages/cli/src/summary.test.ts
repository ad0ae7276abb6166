// The summary's lines.
import { expect, test } from 'vitest';
import { summaryLines } from './summary.js';

test('says what happened, aligned', () => {
  expect(
    summaryLines({
      ended: 'the guest powered off',
      instructions: 1_500_000_000,
      seconds: 30,
      exits: [
        ['io', 12_345],
        ['hlt', 5],
      ],
      clock: 'icount',
      seed: 7,
      facts: [['protection', 'none']],
    }),
  ).toEqual([
    'cloister: summary',
    '  ended         the guest powered off',
    '  instructions  1,500,000,000 in 30.000 s, 50.0 MIPS',
    '  exits         12,350: io 12,345, hlt 5',
    '  clock         instruction count',
    '  seed          7',
    '  protection    none',
  ]);
});

test('does not divide by a run of no time', () => {
  const empty = { instructions: 0, seconds: 0, exits: [], seed: 1, facts: [] };
  expect(summaryLines({ ...empty, ended: 'x', clock: 'wall' }).slice(2, 5)).toEqual([
    '  instructions  0 in 0.000 s',
    '  exits         none',
    '  clock         wall',
  ]);
});
