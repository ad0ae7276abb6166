/**
 * Checks of a data segment on access: presence, type, limit.
 *
 * Source: AMD APM vol. 2, 4.7.4 (type) and 4.12 (limits); in real mode only limits count (2.1.2).
 */
import * as L from '../cpu/layout.js';
import {
  ATTR_CODE,
  ATTR_DB,
  ATTR_EXPAND_DOWN,
  ATTR_P,
  ATTR_WRITABLE,
  MODE_REAL,
} from '../cpu/mode.js';
import type { CpuRecord } from '../cpu/record.js';

const VECTOR_SS = 12;
const VECTOR_GP = 13;

/**
 * Checks an access of `bytes` bytes at `offset` in the segment at record offset `segment`. Returns
 * 1 with #GP(0), or #SS(0) for SS, pending.
 */
export function checkSegment(
  record: CpuRecord,
  segment: number,
  offset: number,
  bytes: number,
  write: number,
): number {
  if (segment < L.SEGMENTS) return 0;
  const attributes = record.u16(segment + L.SEG_ATTRIBUTES);
  const limit = record.u32(segment + L.SEG_LIMIT);
  const real = (record.i32(L.MODE) & MODE_REAL) !== 0;
  if ((real || permits(attributes, write !== 0)) && fits(attributes, limit, offset >>> 0, bytes)) {
    return 0;
  }
  const stack = segment === L.segmentOffset(L.SEG.ss);
  record.setI32(L.FAULT_VECTOR, stack ? VECTOR_SS : VECTOR_GP);
  record.setI32(L.FAULT_ERROR, 0);
  return 1;
}

function permits(attributes: number, write: boolean): boolean {
  if ((attributes & ATTR_P) === 0) return false;
  const code = (attributes & ATTR_CODE) !== 0;
  // Bit 1 means writable in data segments, readable in code segments.
  const second = (attributes & ATTR_WRITABLE) !== 0;
  if (write) return !code && second;
  return !code || second;
}

function fits(attributes: number, limit: number, offset: number, bytes: number): boolean {
  const last = offset + bytes - 1;
  const down = (attributes & (ATTR_CODE | ATTR_EXPAND_DOWN)) === ATTR_EXPAND_DOWN;
  if (!down) return last <= limit;
  return offset > limit && last <= ((attributes & ATTR_DB) !== 0 ? 0xffffffff : 0xffff);
}
