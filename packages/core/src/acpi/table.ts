/**
 * System description tables: the common header and the checksum.
 *
 * Source: ACPI 6.5, 5.2.6 (system description table header).
 */

export const HEADER_SIZE = 36;

const OEM_ID = 'CLOIST';
const OEM_TABLE_ID = 'CLOISTER';
const CREATOR_ID = 'CLST';

/** Writes `text` at `offset`, padded with zeros or cut to `length`. */
export function putText(bytes: Uint8Array, offset: number, text: string, length: number): void {
  for (let i = 0; i < length; i += 1) bytes[offset + i] = i < text.length ? text.charCodeAt(i) : 0;
}

/** The byte that makes `bytes`, with it, sum to 0 modulo 256. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum = (sum + byte) & 0xff;
  return (0x100 - sum) & 0xff;
}

/** A table of `signature` with `body` after the header, its checksum set. */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + body.length);
  const view = new DataView(bytes.buffer);
  putText(bytes, 0, signature, 4);
  view.setUint32(4, bytes.length, true);
  view.setUint8(8, revision);
  putText(bytes, 10, OEM_ID, 6);
  putText(bytes, 16, OEM_TABLE_ID, 8);
  view.setUint32(24, 1, true);
  putText(bytes, 28, CREATOR_ID, 4);
  view.setUint32(32, 1, true);
  bytes.set(body, HEADER_SIZE);
  bytes[9] = checksum(bytes);
  return bytes;
}
