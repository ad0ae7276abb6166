// Errors between threads: what a VmmError said arrives, everything else becomes one.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { VmmError, type VmmErrorCode } from '../interfaces/index.js';
import { packError, unpackError } from './wire-error.js';

const across = (error: unknown, code?: VmmErrorCode) =>
  unpackError(structuredClone(packError(error, code)));

test('a VmmError arrives with all that it said', () => {
  const word = fc.option(fc.string(), { nil: undefined });
  fc.assert(
    fc.property(fc.string(), word, word, word, (message, plugin, remedy, path) => {
      const error = new VmmError('unsupported', message, {
        ...(plugin === undefined ? {} : { plugin }),
        ...(remedy === undefined ? {} : { remedy }),
        ...(path === undefined ? {} : { path }),
      });
      const arrived = across(error);
      expect(arrived).toBeInstanceOf(VmmError);
      expect(arrived.describe()).toBe(error.describe());
      expect(arrived.stack).toBe(error.stack);
      expect(Object.entries(arrived)).toEqual(Object.entries(error));
    }),
  );
});

test('anything else becomes one', () => {
  expect(across(new TypeError('x is no y'))).toMatchObject({
    name: 'VmmError',
    code: 'internal',
    message: 'x is no y',
  });
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.integer(), fc.constant(null)), (thrown) => {
      const { code, message } = across(thrown, 'plugin-failed');
      expect([code, message]).toEqual(['plugin-failed', String(thrown)]);
    }),
  );
});

test('causes and several errors at once arrive, also where they go in a circle', () => {
  const inner = new VmmError('io-failed', 'no disk', { cause: new Error('ENOENT') });
  const arrived = across(new AggregateError([inner, new Error('second')], 'two'));
  expect(arrived.message).toBe('two');
  const { errors } = arrived.cause as AggregateError;
  expect(errors.map(({ code, message }) => [code, message])).toEqual([
    ['io-failed', 'no disk'],
    ['internal', 'second'],
  ]);
  expect((errors[0] as VmmError).cause).toMatchObject({ message: 'ENOENT' });
  const circle = new Error('round');
  circle.cause = circle;
  expect(across(circle).message).toBe('round');
});
