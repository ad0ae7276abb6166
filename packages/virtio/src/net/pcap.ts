/**
 * Captured frames as a pcap file, with times in nanoseconds.
 *
 * Source: draft-ietf-opsawg-pcap, section 4 (file header) and 5 (packet record); little-endian.
 * Written here, as no npm package that is kept up writes these files.
 */
import { FRAME_MAX } from './frames.js';

const MAGIC_NANOSECONDS = 0xa1b23c4d;
const LINKTYPE_ETHERNET = 1;
const HEADER_SIZE = 24;
const RECORD_SIZE = 16;
const SECOND = 1e9;

/** What a file begins with. */
export function pcapHeader(): Uint8Array {
  const header = new Uint8Array(HEADER_SIZE);
  const view = new DataView(header.buffer);
  view.setUint32(0, MAGIC_NANOSECONDS, true);
  view.setUint16(4, 2, true); // major version
  view.setUint16(6, 4, true); // minor version
  view.setUint32(16, FRAME_MAX, true); // the longest record
  view.setUint32(20, LINKTYPE_ETHERNET, true);
  return header;
}

/** The record of a frame that was seen `at` nanoseconds after `epochSeconds` (1970, UTC). */
export function pcapRecord(frame: Uint8Array, at: number, epochSeconds: number): Uint8Array {
  const record = new Uint8Array(RECORD_SIZE + frame.length);
  const view = new DataView(record.buffer);
  view.setUint32(0, epochSeconds + Math.floor(at / SECOND), true);
  view.setUint32(4, at % SECOND, true);
  view.setUint32(8, frame.length, true);
  view.setUint32(12, frame.length, true);
  record.set(frame, RECORD_SIZE);
  return record;
}
