/**
 * CRC32: the Castagnoli polynomial 11EDC6F41, bits reflected, eight bits at a time.
 *
 * Source: AMD APM vol. 3, CRC32; RFC 3720, appendix B.4 (the polynomial).
 */
import * as L from '../cpu/layout.js';
import { NEXT, type Outcome } from '../system/outcome.js';

const POLYNOMIAL = 0x82f63b78;

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ ((value & 1) === 0 ? 0 : POLYNOMIAL);
  return value;
});

/** ARG0: the checksum so far, then the new one; ARG1: data; ARG2: its bytes. */
export function crc32(view: DataView): Outcome {
  let value = view.getUint32(L.ARG0, true);
  const bytes = view.getUint32(L.ARG2, true);
  for (let i = 0; i < bytes; i++) {
    value = (value >>> 8) ^ table[(value ^ view.getUint8(L.ARG1 + i)) & 0xff];
  }
  view.setUint32(L.ARG0, value, true);
  return NEXT;
}
