/**
 * The tables through which a guest finds the others: RSDP, XSDT, and the FACS.
 *
 * Source: ACPI 6.5, 5.2.5 (RSDP), 5.2.8 (XSDT), 5.2.10 (FACS). There is no RSDT: every guest that
 * reads revision 2 takes the XSDT.
 */
import { checksum, putText, table } from './table.js';

export const RSDP_SIZE = 36;
export const FACS_SIZE = 64;

/** Both checksums cover what their revision reads: 20 bytes, and all 36. */
export function rsdp(xsdt: number): Uint8Array {
  const bytes = new Uint8Array(RSDP_SIZE);
  const view = new DataView(bytes.buffer);
  putText(bytes, 0, 'RSD PTR ', 8);
  putText(bytes, 9, 'CLOIST', 6);
  view.setUint8(15, 2);
  view.setUint32(20, RSDP_SIZE, true);
  view.setBigUint64(24, BigInt(xsdt), true);
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

export function xsdt(tables: readonly number[]): Uint8Array {
  const body = new Uint8Array(8 * tables.length);
  const view = new DataView(body.buffer);
  for (const [index, address] of tables.entries()) {
    view.setBigUint64(8 * index, BigInt(address), true);
  }
  return table('XSDT', 1, body);
}

/** No waking vector, no global lock holder; has no checksum, must lie on a 64-byte boundary. */
export function facs(): Uint8Array {
  const bytes = new Uint8Array(FACS_SIZE);
  const view = new DataView(bytes.buffer);
  putText(bytes, 0, 'FACS', 4);
  view.setUint32(4, FACS_SIZE, true);
  view.setUint8(32, 2);
  return bytes;
}
