/**
 * Base64 (RFC 4648, section 4) from bytes to bytes: lines of a recording never become strings.
 */

const CODES = new TextEncoder().encode(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
);
const PAD = 0x3d;
const NONE = 0xff;
const VALUES = new Uint8Array(256).fill(NONE);
for (const [value, code] of CODES.entries()) VALUES[code] = value;

/** Writes `data`, padded, at `at` of `into`, which has room for it; returns where it ends. */
export function encodeBase64(data: Uint8Array, into: Uint8Array, at: number): number {
  const whole = data.length - (data.length % 3);
  let to = at;
  for (let from = 0; from < whole; from += 3) {
    const group = (data[from]! << 16) | (data[from + 1]! << 8) | data[from + 2]!;
    into[to++] = CODES[group >> 18]!;
    into[to++] = CODES[(group >> 12) & 63]!;
    into[to++] = CODES[(group >> 6) & 63]!;
    into[to++] = CODES[group & 63]!;
  }
  if (whole === data.length) return to;
  const group = (data[whole]! << 16) | ((data[whole + 1] ?? 0) << 8);
  into[to++] = CODES[group >> 18]!;
  into[to++] = CODES[(group >> 12) & 63]!;
  into[to++] = whole + 1 === data.length ? PAD : CODES[(group >> 6) & 63]!;
  into[to++] = PAD;
  return to;
}

/** The bytes behind padded base64 without anything else in it; null for other text. */
export function decodeBase64(text: Uint8Array): Uint8Array | null {
  const { length } = text;
  if (length === 0) return new Uint8Array(0);
  if (length % 4 !== 0) return null;
  const pads = text[length - 1] !== PAD ? 0 : text[length - 2] !== PAD ? 1 : 2;
  const data = new Uint8Array((length / 4) * 3 - pads);
  const whole = pads === 0 ? length : length - 4;
  let to = 0;
  let seen = 0;
  for (let from = 0; from < whole; from += 4) {
    const a = VALUES[text[from]!]!;
    const b = VALUES[text[from + 1]!]!;
    const c = VALUES[text[from + 2]!]!;
    const d = VALUES[text[from + 3]!]!;
    seen |= a | b | c | d;
    data[to++] = (a << 2) | (b >> 4);
    data[to++] = (b << 4) | (c >> 2);
    data[to++] = (c << 6) | d;
  }
  if (pads > 0) {
    const [a, b] = [VALUES[text[whole]!]!, VALUES[text[whole + 1]!]!];
    const c = pads === 1 ? VALUES[text[whole + 2]!]! : 0;
    seen |= a | b | c;
    data[to++] = (a << 2) | (b >> 4);
    if (pads === 1) data[to++] = (b << 4) | (c >> 2);
  }
  return seen > 63 ? null : data;
}
