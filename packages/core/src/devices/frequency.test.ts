/** Ticks and nanoseconds, against exact integers. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ticksAt, timeOfTick } from './frequency.js';

const frequency = fc.constantFrom(32_768, 1_193_182, 3_579_545, 8_999_999);
/** 104 days of nanoseconds: what a clock can hold exactly. */
const nanoseconds = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

it('counts complete ticks exactly', () => {
  fc.assert(
    fc.property(nanoseconds, frequency, (ns, hz) => {
      expect(BigInt(ticksAt(ns, hz))).toBe((BigInt(ns) * BigInt(hz)) / 1_000_000_000n);
    }),
  );
});

it('finds the first nanosecond of a tick', () => {
  fc.assert(
    fc.property(nanoseconds, frequency, (ns, hz) => {
      const tick = ticksAt(ns, hz);
      const start = timeOfTick(tick, hz);
      expect(start).toBeLessThanOrEqual(ns);
      expect(ticksAt(start, hz)).toBe(tick);
      if (start > 0) expect(ticksAt(start - 1, hz)).toBe(tick - 1);
    }),
  );
});
