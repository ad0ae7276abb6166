// Errors as lines: one each, stacks only on request.
import { VmmError } from '@cloister/core';
import { expect, test } from 'vitest';
import { errorLines, fileError } from './error-report.js';

const plain = { debug: false };

test('an error of the host is its description', () => {
  const error = new VmmError('invalid-config', 'too big', { path: 'memory', remedy: 'use less' });
  expect(errorLines(error, plain)).toEqual([
    'cloister: invalid-config: memory: too big (use less)',
  ]);
});

test('a path that the message repeats is printed once', () => {
  const error = new VmmError('invalid-file', 'kernel: too short', { path: 'kernel' });
  expect(errorLines(error, plain)).toEqual(['cloister: invalid-file: kernel: too short']);
});

test('the error of another copy of core is described too', () => {
  const error = Object.assign(new Error('no'), { name: 'VmmError', code: 'unavailable' });
  expect(errorLines(error, plain)).toEqual(['cloister: unavailable: no']);
});

test('newlines in a message do not make a second line', () => {
  expect(errorLines(new Error('one\n  two\n'), plain)).toEqual([
    'cloister: internal: Error: one two',
  ]);
});

test('each error of an aggregate has its line', () => {
  const nested = new AggregateError([new AggregateError([new Error('a')]), 'b']);
  expect(errorLines(nested, plain)).toEqual([
    'cloister: internal: Error: a',
    'cloister: internal: b',
  ]);
});

test('the stack and the cause come with --debug', () => {
  const error = new VmmError('io-failed', 'outer', { cause: new Error('inner') });
  const lines = errorLines(error, { debug: true });
  expect(lines[0]).toBe('cloister: io-failed: outer');
  expect(lines.some((line) => /^\s+at .*error-report\.test/.test(line))).toBe(true);
  expect(lines).toContain('  caused by: internal: Error: inner');
});

test('a missing file is named with its purpose', () => {
  const cause = Object.assign(new Error('ENOENT: …'), { code: 'ENOENT' });
  expect(fileError('kernel', 'a b', cause).describe()).toBe(
    'invalid-file: kernel "a b": no such file',
  );
});
