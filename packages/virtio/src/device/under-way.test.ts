// The list finds what a Map finds, and keeps the order of starts.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { UnderWay } from './under-way.js';

it('holds what a Map with distinct tokens would', () => {
  const step = fc.tuple(fc.constantFrom('add', 'take', 'clear'), fc.nat(9));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const list = new UnderWay<{ readonly token: number }>();
      const map = new Map<number, { readonly token: number }>();
      for (const [what, token] of steps) {
        expect(list.has(token)).toBe(map.has(token));
        expect(list.get(token)).toBe(map.get(token));
        if (what === 'add' && !map.has(token)) {
          const entry = { token };
          list.add(entry);
          map.set(token, entry);
        } else if (what === 'take') {
          expect(list.take(token)).toBe(map.get(token));
          map.delete(token);
        } else if (what === 'clear' && token === 0) {
          list.clear();
          map.clear();
        }
        expect([...list]).toEqual([...map.values()]);
        expect(list.size).toBe(map.size);
      }
    }),
  );
});

it('takes the first of a token that is there twice, as a damaged record may have it', () => {
  const list = new UnderWay<{ readonly token: number; readonly name: string }>();
  for (const name of ['first', 'second']) list.add({ token: 1, name });
  expect(list.take(1)?.name).toBe('first');
  expect(list.take(1)?.name).toBe('second');
  expect(list.take(1)).toBeUndefined();
});
