// Goals beside measured ratios.
import { expect, test } from 'vitest';
import { judged, judgedInterpreted } from './goals.mjs';

test('says what a speed was to be and whether it is', () => {
  expect(judged('flat', 1)).toBe('>= 1: met');
  expect(judged('flat', 0.99)).toBe('>= 1: missed');
  expect(judged('disk', 0.44)).toBe('>= 1: missed');
  expect(judged('net', 1.6)).toBe('>= 1: met');
});

test('says what was hoped for beyond the goal', () => {
  expect(judged('mean of the five', 1.09)).toBe('>= 1.1: missed; 1.5 hoped for: not reached');
  expect(judged('mean of the five', 1.26)).toBe('>= 1.1: met; 1.5 hoped for: not reached');
  expect(judged('mean of the five', 1.5)).toBe('>= 1.1: met; 1.5 hoped for: reached');
});

test('has costs below their goal, and below what is hoped for', () => {
  expect(judged('boot', 2.02)).toBe('<= 1.5: missed; 1 hoped for: not reached');
  expect(judged('boot', 1.5)).toBe('<= 1.5: met; 1 hoped for: not reached');
  expect(judged('boot', 0.9)).toBe('<= 1.5: met; 1 hoped for: reached');
  expect(judged('sev', 1.06)).toBe('<= 1.05: missed');
});

test('has goals of its own for the interpreter', () => {
  expect(judgedInterpreted('rep-movsb', 9.9)).toBe('>= 10: missed');
  expect(judgedInterpreted('double', 0.5)).toBe('>= 0.5: met');
  expect(judgedInterpreted('mean of the five', 0.25)).toBe(
    '>= 0.22: met; 0.3 hoped for: not reached',
  );
});

test('has nothing to say where there is no goal', () => {
  expect(judged('syscall', 0.4)).toBeUndefined();
  expect(judgedInterpreted('flat', 0.3)).toBeUndefined();
});
