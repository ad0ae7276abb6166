/**
 * Numbers as people type them: sizes with K, M, G (binary), decimal and 0x integers.
 */

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
};

/** Bytes of `512M`, `1G`, `4096`, or of a plain number; undefined when it is not a size. */
export function parseSize(value: string | number): number | undefined {
  if (typeof value === 'number') return wholeOrUndefined(value);
  const match = /^(\d+)([KMG]?)$/i.exec(value.trim());
  if (match === null) return undefined;
  return wholeOrUndefined(Number(match[1]) * UNITS[match[2]!.toUpperCase()]!);
}

/** An unsigned integer in decimal or 0x form, exact up to 2^53 - 1; undefined otherwise. */
export function parseInteger(value: string | number): number | undefined {
  if (typeof value === 'number') return wholeOrUndefined(value);
  return /^(\d+|0x[0-9a-f]+)$/i.test(value.trim()) ? wholeOrUndefined(Number(value)) : undefined;
}

/** An unsigned integer of 64 bits in decimal or 0x form; undefined otherwise. */
export function parseSeed(value: string | number): bigint | undefined {
  if (typeof value === 'number' && wholeOrUndefined(value) === undefined) return undefined;
  const text = String(value).trim();
  if (!/^(\d+|0x[0-9a-f]+)$/i.test(text)) return undefined;
  const seed = BigInt(text);
  return seed < 1n << 64n ? seed : undefined;
}

/** A positive number of seconds, fractions allowed; undefined otherwise. */
export function parseSeconds(value: string | number): number | undefined {
  if (typeof value === 'string' && !/^\d+(\.\d+)?$/.test(value.trim())) return undefined;
  const seconds = Number(value);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : undefined;
}

function wholeOrUndefined(value: number): number | undefined {
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** `268435456` as `256M`: the largest unit that divides it. */
export function formatSize(bytes: number): string {
  for (const unit of ['G', 'M', 'K']) {
    const scale = UNITS[unit]!;
    if (bytes >= scale && bytes % scale === 0) return `${bytes / scale}${unit}`;
  }
  return `${bytes}`;
}

/** `1234567` as `1,234,567`: the same in every locale. */
export function formatCount(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Nanoseconds as seconds with milliseconds, e.g. `1.234 s`. */
export function formatSeconds(seconds: number): string {
  return `${seconds.toFixed(3)} s`;
}
