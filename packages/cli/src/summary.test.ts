// The summary's lines.
import { expect, test } from 'vitest';
import { endText, summaryLines } from './summary.js';

test('says what happened, aligned', () => {
  expect(
    summaryLines({
      ended: 'the guest powered off',
      instructions: 2_000_000_000,
      executed: 1_500_000_000,
      seconds: 31.5,
      busySeconds: 30,
      exits: [
        ['io', 12_345],
        ['hlt', 5],
      ],
      facts: [['protection', 'none']],
      unclaimed: [],
    }),
  ).toEqual([
    'cloister: summary',
    '  ended         the guest powered off',
    '  instructions  2,000,000,000 (50.0 MIPS)',
    '  time          31.500 s, 30.000 s of it executing',
    '  exits         12,350: io 12,345, hlt 5',
    '  protection    none',
  ]);
});

test.each([
  ['power-off', 'acpi-s5', 'the guest powered off (acpi-s5)'],
  ['debug-exit', 'debug-exit', 'the guest asked for exit status 33 (debug-exit)'],
  ['reset', 'i8042', 'the guest reset (i8042)'],
  ['triple-fault', 'the guest triple-faulted', 'the guest triple-faulted'],
  ['error', 'broken', 'the processor cannot go on: broken'],
] as const)('%s is told as a sentence', (reason, message, text) => {
  expect(endText({ reason, status: 33, message, instructions: 0 })).toBe(text);
});

test('does not divide by a run of no time', () => {
  const empty = {
    instructions: 0,
    executed: 0,
    unclaimed: [],
    seconds: 0,
    busySeconds: 0,
    exits: [],
    facts: [['clock', 'wall']] as const,
  };
  expect(summaryLines({ ...empty, ended: 'x' }).slice(2, 6)).toEqual([
    '  instructions  0',
    '  time          0.000 s, 0.000 s of it executing',
    '  exits         none',
    '  clock         wall',
  ]);
});

test('says when the backend counts no instructions', () => {
  const run = { instructions: 0, executed: 0, seconds: 2, busySeconds: 1 };
  const lines = summaryLines({ ...run, ended: 'x', exits: [], facts: [], unclaimed: [] });
  expect(lines[2]).toBe('  instructions  not counted');
});

test('lists places that nobody answered, up to a bound', () => {
  const unclaimed = Array.from({ length: 10 }, (_, port) => `no device at port ${port}`);
  const lines = summaryLines({
    ended: 'x',
    instructions: 0,
    executed: 0,
    seconds: 0,
    busySeconds: 0,
    exits: [],
    facts: [],
    unclaimed,
  });
  expect(lines.at(-2)).toBe('  unclaimed     no device at port 7');
  expect(lines.at(-1)).toBe('  unclaimed     2 further places');
});
