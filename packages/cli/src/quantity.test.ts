// Sizes and numbers as typed, and as printed.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  formatCount,
  formatSize,
  parseInteger,
  parseSeconds,
  parseSeed,
  parseSize,
} from './quantity.js';

test.each([
  ['256M', 268435456],
  ['1g', 1073741824],
  ['4K', 4096],
  ['4096', 4096],
  [4096, 4096],
  ['0', 0],
])('reads the size %s', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(['', 'M', '-1', '1.5G', '1T', '1 M', '0x10', '9007199254740993', 'Infinity', 1.5, -1])(
  'refuses the size %s',
  (text) => {
    expect(parseSize(text)).toBeUndefined();
  },
);

test('a formatted size reads back', () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 40 }), (bytes) => parseSize(formatSize(bytes)) === bytes),
  );
  expect(formatSize(268435456)).toBe('256M');
});

test('reads decimal and hexadecimal integers, and nothing else', () => {
  expect(parseInteger('0x7c00')).toBe(0x7c00);
  expect(parseInteger('42')).toBe(42);
  for (const text of ['', '0x', '1e3', '-1', ' ', '1.0', 'NaN', '0b1']) {
    expect(parseInteger(text)).toBeUndefined();
  }
});

test('reads seeds of up to 64 bits', () => {
  expect(parseSeed('0xffffffffffffffff')).toBe(2n ** 64n - 1n);
  expect(parseSeed(7)).toBe(7n);
  for (const value of ['18446744073709551616', '-1', 'x', '', 1.5, 2 ** 60]) {
    expect(parseSeed(value)).toBeUndefined();
  }
});

test('reads seconds above zero', () => {
  expect(parseSeconds('1.5')).toBe(1.5);
  for (const value of ['0', '-1', 'soon', '1e9', '', Number.NaN]) {
    expect(parseSeconds(value)).toBeUndefined();
  }
});

test('groups digits', () => {
  expect([0, 999, 1000, 1234567].map(formatCount)).toEqual(['0', '999', '1,000', '1,234,567']);
});
