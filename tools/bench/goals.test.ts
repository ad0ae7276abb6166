// Goals beside measured ratios.
import { expect, test } from 'vitest';
import { judged } from './goals.mjs';

test('says what a ratio was to be and whether it is', () => {
  expect(judged('rep-movsb', 10)).toBe('>= 10: met');
  expect(judged('rep-movsb', 9.9)).toBe('>= 10: missed');
  expect(judged('boot', 6.1)).toBe('<= 6: missed');
  expect(judged('boot', 2.8)).toBe('<= 6: met');
});

test('says what was hoped for beyond the goal', () => {
  expect(judged('mean of the five', 0.25)).toBe('>= 0.22: met; 0.3 hoped for: not reached');
  expect(judged('mean of the five', 0.3)).toBe('>= 0.22: met; 0.3 hoped for: reached');
});

test('has nothing to say where there is no goal', () => {
  expect(judged('syscall', 0.4)).toBeUndefined();
});
