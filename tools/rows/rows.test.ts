// The list of rows, and how tests are found that cover them.
import { describe, expect, test } from 'vitest';
import { filesByRow, outcomes, ROWS, rowsIn, titlesIn, verdict } from './rows.mjs';

const rows = ROWS as readonly { readonly id: string; readonly title: string }[];

test('there are 79 rows, each once, in the order of their kinds', () => {
  expect(rows.length).toBe(79);
  expect(new Set(rows.map(({ id }) => id)).size).toBe(79);
  const counts = new Map<string, number>();
  for (const { id, title } of rows) {
    const [kind, number] = id.split('-');
    counts.set(kind!, (counts.get(kind!) ?? 0) + 1);
    expect(Number(number)).toBe(counts.get(kind!));
    expect(title).toMatch(/^[#A-Za-z].*[^.]$/);
  }
  expect(Object.fromEntries(counts)).toEqual({ PSP: 14, KVM: 2, SEV: 11, ES: 24, SNP: 26, FW: 2 });
});

test('tests name only rows that there are', () => {
  const known = new Set(rows.map(({ id }) => id));
  expect(Object.keys(filesByRow()).filter((id) => !known.has(id))).toEqual([]);
});

test('titles are read from suites and tests of every form, and from nothing else', () => {
  const source = `
    // SEV-01 in a comment
    describe('SEV-02 a suite', () => { it('b', () => expect('SEV-03').toBe(1)); });
    describe.skipIf(slow)(\`SEV-04 with \${reason}\`, () => {});
    test.each(cases)('SEV-05, SEV-06: %s', () => {});
    run('SEV-07');
  `;
  const found = (titlesIn(source) as string[]).flatMap((title) => rowsIn(title) as string[]);
  expect(found).toEqual(['SEV-02', 'SEV-04', 'SEV-05', 'SEV-06']);
});

describe('a row', () => {
  const report = (statuses: Record<string, string>) => ({
    testResults: [
      {
        assertionResults: Object.entries(statuses).map(([fullName, status]) => ({
          fullName,
          status,
        })),
      },
    ],
  });

  test.each([
    [{ 'PSP-01 a': 'passed', 'PSP-01 b': 'skipped' }, 'pass'],
    [{ 'PSP-01 a': 'passed', 'PSP-01 b': 'failed' }, 'fail'],
    [{ 'PSP-01 a': 'pending' }, 'skip'],
    [{ 'PSP-02 a': 'passed' }, 'none'],
  ])('of %o: %s', (statuses, expected) => {
    const counted = outcomes(report(statuses)) as Record<string, never>;
    expect(verdict(counted['PSP-01'])).toBe(expected);
  });
});
