/** Bytes compared as MACs are: equal in all of them, or not. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { equalBytes } from './bytes.js';

test('bytes are equal if no bit differs and neither has more', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), fc.nat(), (bytes, bit) => {
      const other = Uint8Array.from(bytes);
      expect(equalBytes(bytes, other)).toBe(true);
      other[(bit >> 3) % other.length]! ^= 1 << (bit & 7);
      expect(equalBytes(bytes, other)).toBe(false);
      expect(equalBytes(bytes, bytes.subarray(1))).toBe(false);
    }),
  );
});

test('the time of a comparison does not tell where the first difference is: all are read', () => {
  const read: string[] = [];
  const watched = (bytes: number[]) =>
    new Proxy(Uint8Array.from(bytes), {
      get(target, name) {
        if (typeof name === 'string' && name !== 'length') read.push(name);
        return Reflect.get(target, name, target);
      },
    });
  expect(equalBytes(watched([1, 2, 3]), Uint8Array.of(9, 2, 3))).toBe(false);
  expect(read).toEqual(['0', '1', '2']);
});
