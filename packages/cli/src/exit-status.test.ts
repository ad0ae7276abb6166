// Exit statuses: the contract with scripts.
import { VmmError, type VmmErrorCode } from '@cloister/core';
import { expect, test } from 'vitest';
import { statusOfEnd, statusOfError } from './exit-status.js';

test.each([
  ['power-off', 0, 0],
  ['stopped', 0, 0],
  ['debug-exit', 1, 1],
  ['debug-exit', 33, 33],
  ['reset', 0, 3],
  ['triple-fault', 0, 3],
  ['timeout', 0, 4],
  ['error', 0, 6],
] as const)('%s with status %i is exit status %i', (reason, value, status) => {
  expect(statusOfEnd({ reason, status: value })).toBe(status);
});

test.each([
  ['invalid-argument', 2],
  ['invalid-config', 2],
  ['invalid-file', 2],
  ['unknown-plugin', 2],
  ['missing-capability', 2],
  ['unavailable', 2],
  ['snapshot-mismatch', 2],
  ['protection-inactive', 5],
  ['replay-diverged', 6],
  ['internal', 6],
] satisfies [VmmErrorCode, number][])('the error %s is status %i', (code, status) => {
  expect(statusOfError(new VmmError(code, 'x'))).toBe(status);
});

test('anything else that is thrown is a bug', () => {
  expect(statusOfError(new TypeError('x'))).toBe(6);
  expect(statusOfError('x')).toBe(6);
});
