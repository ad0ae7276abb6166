/**
 * DER, as far as the frame of a certificate or a revocation list needs it: values one after
 * another, each in the only encoding that DER allows. What is inside is read by the ASN.1 library,
 * which takes BER too, and takes its time.
 *
 * Throws a plain Error: `guarded` makes the typed one of it, which says what was read.
 *
 * Source: ITU-T X.690 (2021), sections 8.1, 8.19 and 10.1.
 */

export interface DerValue {
  readonly tag: number;
  /** All of the value: tag, length, content. */
  readonly der: Uint8Array<ArrayBuffer>;
  readonly content: Uint8Array<ArrayBuffer>;
}

export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  identifier: 0x06,
  sequence: 0x30,
} as const;

/** The values that make up `bytes`, to their end. */
export function derValues(bytes: Uint8Array<ArrayBuffer>): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length; at += values.at(-1)!.der.length) {
    values.push(derValue(bytes.subarray(at)));
  }
  return values;
}

/** The one value that `bytes` are, which must have this tag, as the values inside it. */
export function derInside(bytes: Uint8Array<ArrayBuffer>, tag: number): DerValue[] {
  const { tag: found, der, content } = derValue(bytes);
  if (found !== tag || der.length !== bytes.length) throw damaged();
  return derValues(content);
}

function derValue(bytes: Uint8Array<ArrayBuffer>): DerValue {
  const [tag, first] = bytes;
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) throw damaged();
  const digits = first < 0x80 ? 0 : first - 0x80;
  const length = first < 0x80 ? first : longLength(bytes.subarray(2, 2 + digits), digits);
  const start = 2 + digits;
  if (start + length > bytes.length) throw damaged();
  return {
    tag,
    der: bytes.subarray(0, start + length),
    content: bytes.subarray(start, start + length),
  };
}

/** A length of 128 or more, in as few digits as it takes; with none it would be unknown. */
function longLength(digits: Uint8Array, count: number): number {
  if (count === 0 || count > 3 || digits.length < count || digits[0] === 0) throw damaged();
  const length = digits.reduce((sum, digit) => sum * 256 + digit, 0);
  if (length < 0x80) throw damaged();
  return length;
}

/** An object identifier's content as text, e.g. `2.5.29.19`. */
export function identifierText(content: Uint8Array): string {
  const parts: number[] = [];
  let value = 0;
  let within = false;
  for (const byte of content) {
    if (!within && byte === 0x80) throw damaged();
    value = value * 128 + (byte & 0x7f);
    if (value > 0xffffffff) throw damaged();
    within = byte >= 0x80;
    if (within) continue;
    parts.push(value);
    value = 0;
  }
  const [first, ...rest] = parts;
  if (within || first === undefined) throw damaged();
  const top = Math.min(2, Math.floor(first / 40));
  return [top, first - 40 * top, ...rest].join('.');
}

const damaged = (): Error => new Error('not DER');
