// Base64 against Node's; text that is none of it is refused and never read as something else.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBase64, encodeBase64 } from './base64.js';

const ascii = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

test('is written as Node does, and reads back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(9), (data, at) => {
      const text = Buffer.from(data).toString('base64');
      const into = new Uint8Array(at + text.length);
      expect(encodeBase64(data, into, at)).toBe(into.length);
      expect(into.subarray(at)).toEqual(ascii(text));
      expect(decodeBase64(ascii(text))).toEqual(data);
    }),
  );
});

test('is refused with any other character, or length', () => {
  const text = fc.string({ unit: fc.constantFrom(...'AZaz09+/=', '-', '_', ' ', '\n', 'é', '\0') });
  const strict = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
  fc.assert(
    fc.property(text, (each) => {
      const expected = strict.test(each) ? new Uint8Array(Buffer.from(each, 'base64')) : null;
      expect(decodeBase64(ascii(each))).toEqual(expected);
    }),
    { numRuns: 1000 },
  );
});
