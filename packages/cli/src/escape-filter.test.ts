// The escape key, however its bytes are cut into chunks.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EscapeFilter } from './escape-filter.js';

const bytes = (text: string) => Uint8Array.from(text, (each) => each.charCodeAt(0));
const seen = (filter: EscapeFilter, text: string) =>
  filter
    .feed(bytes(text))
    .map((event) => (event.kind === 'data' ? String.fromCharCode(...event.bytes) : event.kind));

test.each([
  ['ls\r', ['ls\r']],
  ['\x01x', ['quit']],
  ['a\x01xb', ['a', 'quit', 'b']],
  ['\x01\x01', ['\x01']],
  ['\x01s\x01h', ['save', 'help']],
  ['\x01qz', ['z']],
  ['\x03\x1a', ['\x03\x1a']],
])('%j gives %j', (typed, events) => {
  expect(seen(new EscapeFilter(), typed)).toEqual(events);
});

test('an escape sequence may be split over two chunks', () => {
  const filter = new EscapeFilter();
  expect(seen(filter, 'a\x01')).toEqual(['a']);
  expect(seen(filter, 'x')).toEqual(['quit']);
});

test('the cut of chunks makes no difference, and other bytes pass unchanged', () => {
  const typed = fc.array(fc.oneof(fc.constantFrom(1, 0x78, 0x73), fc.nat(255)));
  fc.assert(
    fc.property(typed, fc.nat(50), (codes, cut) => {
      const whole = new EscapeFilter().feed(Uint8Array.from(codes));
      const split = new EscapeFilter();
      const parts = [codes.slice(0, cut), codes.slice(cut)];
      const events = parts.flatMap((part) => split.feed(Uint8Array.from(part)));
      const data = (list: typeof whole) =>
        list.flatMap((each) => (each.kind === 'data' ? [...each.bytes] : []));
      const actions = (list: typeof whole) =>
        list.map((each) => each.kind).filter((kind) => kind !== 'data');
      expect(data(events)).toEqual(data(whole));
      expect(actions(events)).toEqual(actions(whole));
      if (!codes.includes(1)) expect(data(whole)).toEqual(codes);
    }),
  );
});
