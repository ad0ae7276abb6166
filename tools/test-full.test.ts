// The recorded page: totals add up, and what failed or was skipped is named.
import { expect, test } from 'vitest';
import { page } from './test-full.mjs';

const unit = {
  project: 'unit',
  seconds: 3.4,
  passed: 2,
  failed: 1,
  skipped: 0,
  failures: ['a: b'],
};
const boots = { project: 'integration', seconds: 60, passed: 3, failed: 0, skipped: 1 };

test('adds up and names', () => {
  const text = page({
    date: '2026-01-02',
    commit: 'abc',
    changed: true,
    node: 'v20.19.0',
    cpu: '2 x some',
    results: [
      { ...unit, skips: [] },
      { ...boots, failures: [], skips: ['c: d'] },
    ],
  });
  expect(text).toContain('| all | 5 | 1 | 1 | 63 |');
  expect(text).toContain('- Commit: abc and uncommitted changes');
  expect(text).toContain('## Failed\n\n- a: b\n\n## Skipped\n\n- c: d\n');
});
