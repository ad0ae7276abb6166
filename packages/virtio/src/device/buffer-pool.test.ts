// The pool never hands out a buffer that somebody still has.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BufferPool } from './buffer-pool.js';

it('has each buffer out once, and takes back only its own', () => {
  const step = fc.tuple(fc.boolean(), fc.nat(3_000_000), fc.nat(20));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const pool = new BufferPool();
      const out: Uint8Array[] = [];
      for (const [take, length, index] of steps) {
        if (take) {
          const bytes = pool.take(length);
          expect(bytes.length).toBe(length);
          expect(out.every(({ buffer }) => buffer !== bytes.buffer)).toBe(true);
          out.push(bytes);
        } else if (out.length > 0) {
          const [bytes] = out.splice(index % out.length, 1);
          pool.give(bytes!);
          // Twice is once.
          pool.give(bytes!);
        }
      }
    }),
    { numRuns: 50 },
  );
  const pool = new BufferPool();
  const foreign = new Uint8Array(65_536);
  pool.give(foreign);
  expect(pool.take(65_536).buffer).not.toBe(foreign.buffer);
});

it('uses large buffers again', () => {
  const pool = new BufferPool();
  const first = pool.take(100_000);
  pool.give(first);
  expect(pool.take(120_000).buffer).toBe(first.buffer);
});
