/** The calendar against the host's own. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fromSeconds, toSeconds } from './calendar.js';

/** Years 0000 to 9999. */
const seconds = fc.integer({ min: -62_167_219_200, max: 253_402_300_799 });

it('splits seconds as the host does', () => {
  fc.assert(
    fc.property(seconds, (total) => {
      const date = new Date(total * 1000);
      expect(fromSeconds(total)).toEqual({
        year: date.getUTCFullYear(),
        month: date.getUTCMonth() + 1,
        day: date.getUTCDate(),
        hours: date.getUTCHours(),
        minutes: date.getUTCMinutes(),
        seconds: date.getUTCSeconds(),
        weekday: date.getUTCDay(),
      });
    }),
  );
});

it('joins what it splits', () => {
  fc.assert(
    fc.property(seconds, (total) => {
      expect(toSeconds(fromSeconds(total))).toBe(total);
    }),
  );
});
