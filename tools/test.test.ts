// The arithmetic of test.mjs: nothing that failed may vanish from the last line.
import { expect, test } from 'vitest';
import { countReport, refuseSkippedVectors, summaryLine, totalOf } from './test.mjs';

const report = {
  testResults: [
    {
      name: 'a.test.ts',
      status: 'failed',
      assertionResults: [
        { status: 'passed', fullName: 'adds' },
        { status: 'failed', fullName: 'subtracts' },
        { status: 'skipped', fullName: 'matches the vectors' },
        { status: 'todo', fullName: 'divides' },
      ],
    },
    { name: 'b.test.ts', status: 'failed', message: 'cannot load\nat …', assertionResults: [] },
  ],
};

test('counts passed, failed and skipped, and files that cannot be loaded', () => {
  const { passed, failed, skipped } = countReport(report);
  expect([passed, failed, skipped]).toEqual([1, 2, 2]);
});

test('a skipped vectors test becomes a failure where vectors are required', () => {
  const summary = refuseSkippedVectors(countReport(report));
  expect([summary.failed, summary.skipped]).toEqual([3, 1]);
  expect(summary.failures.at(-1)).toContain('matches the vectors');
});

test('adds up projects in the wording that CI reads', () => {
  const total = totalOf([countReport(report), countReport(report)]);
  expect(summaryLine(total)).toBe('2 passed, 4 failed, 4 skipped');
});
