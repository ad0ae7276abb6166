/**
 * Dates of the proleptic Gregorian calendar to and from seconds since 1970-01-01 UTC, without the
 * host's `Date`. Days are counted from 0000-03-01, so that a leap day ends its year.
 */
export interface CalendarTime {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  /** 1 to 31. */
  readonly day: number;
  readonly hours: number;
  readonly minutes: number;
  readonly seconds: number;
  /** 0 Sunday to 6 Saturday. */
  readonly weekday: number;
}

const DAY = 86_400;
/** Days from 0000-03-01 to 1970-01-01. */
const EPOCH_DAYS = 719_468;
const ERA_DAYS = 146_097;

export function toSeconds(time: Omit<CalendarTime, 'weekday'>): number {
  const year = time.month <= 2 ? time.year - 1 : time.year;
  const era = Math.floor(year / 400);
  const yearOfEra = year - era * 400;
  const monthFromMarch = (time.month + 9) % 12;
  const dayOfYear = Math.floor((153 * monthFromMarch + 2) / 5) + time.day - 1;
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  const days = era * ERA_DAYS + dayOfEra - EPOCH_DAYS;
  return days * DAY + time.hours * 3600 + time.minutes * 60 + time.seconds;
}

export function fromSeconds(total: number): CalendarTime {
  const days = Math.floor(total / DAY);
  const inDay = total - days * DAY;
  const shifted = days + EPOCH_DAYS;
  const era = Math.floor(shifted / ERA_DAYS);
  const dayOfEra = shifted - era * ERA_DAYS;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const month = ((monthFromMarch + 2) % 12) + 1;
  return {
    year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1,
    hours: Math.floor(inDay / 3600),
    minutes: Math.floor(inDay / 60) % 60,
    seconds: inDay % 60,
    weekday: (((days + 4) % 7) + 7) % 7,
  };
}
