/**
 * Bytes, hex, GUIDs and little-endian numbers, with typed refusals instead of exceptions of the
 * engine: whatever a damaged file asks for outside its end is a `VmmError('invalid-file')`.
 */
import { VmmError } from '@cloister/core';

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** Reads hex digits; `what` names the value in the error. */
export function fromHex(text: string, what = 'value'): Uint8Array {
  if (!/^([0-9a-fA-F]{2})*$/.test(text)) {
    throw new VmmError('invalid-argument', `${what} is not a string of hexadecimal byte pairs`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = Number.parseInt(text.slice(at * 2, at * 2 + 2), 16);
  }
  return bytes;
}

/** GUID text to the 16 bytes of UEFI and Microsoft files: first three fields little-endian. */
export function guidBytes(guid: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(guid)) {
    throw new VmmError('invalid-argument', `${JSON.stringify(guid)} is not a GUID`);
  }
  const plain = fromHex(guid.replaceAll('-', ''));
  return Uint8Array.from(GUID_ORDER, (at) => plain[at]!);
}

/** The text of a GUID in mixed-endian bytes. */
export function guidText(bytes: Uint8Array): string {
  const hex = toHex(Uint8Array.from(GUID_ORDER, (at) => bytes[at]!));
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-');
}

const GUID_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Looks at every byte wherever the first difference is: MACs are compared by it. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at++) difference |= a[at]! ^ b[at]!;
  return difference === 0;
}

/** `bytes` in the other order, zero-padded at the end to `size`: AMD's form of large integers. */
export function reversed(bytes: Uint8Array, size = bytes.length): Uint8Array {
  const out = new Uint8Array(size);
  out.set(Uint8Array.from(bytes).reverse());
  return out;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A part of `bytes`; `what` says what was to be there. */
export function part(bytes: Uint8Array, at: number, length: number, what: string): Uint8Array {
  if (at < 0 || length < 0 || at + length > bytes.length) {
    throw new VmmError(
      'invalid-file',
      `${what} would be at ${at}..${at + length}, outside of the ${bytes.length} bytes there are`,
    );
  }
  return bytes.subarray(at, at + length);
}

/** Refuses `bytes` of any other length. */
export function sized(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new VmmError('invalid-argument', `${what} has ${bytes.length} bytes, not ${length}`);
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >>> 8) & 0xff);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, true);
  return bytes;
}

export function u64(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, BigInt(value), true);
  return bytes;
}
