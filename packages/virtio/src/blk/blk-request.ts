/**
 * Requests of the block device: how they lie in a chain, and what is wrong with them.
 *
 * Source: virtio 1.2, 5.2.6. A header of 16 bytes, data in or out, a status byte at the end; the
 * driver may cut them into descriptors as it likes (2.7.4).
 */
import { state } from '@cloister/core/devices';
import { byteLength, type Chain, chainField } from '../queue/chain.js';
import type { Virtqueue } from '../queue/virtqueue.js';
import { SECTOR } from './disk.js';

export const T_IN = 0;
export const T_OUT = 1;
export const T_FLUSH = 4;
export const T_GET_ID = 8;
export const T_DISCARD = 11;
export const T_WRITE_ZEROES = 13;

export const S_OK = 0;
export const S_IOERR = 1;
export const S_UNSUPP = 2;

export const HEADER_SIZE = 16;
export const ID_SIZE = 20;
/** struct virtio_blk_discard_write_zeroes: le64 sector, le32 sectors, le32 flags. */
export const RANGE_SIZE = 16;
export const RANGE_F_UNMAP = 1;

/** Most bytes that one request may carry: more is an error, not memory of the host's. */
export const DATA_MAX = 32 * 1024 * 1024;
export const RANGES_MAX = 16;
/** Most sectors of one discarded or zeroed range. */
export const RANGE_SECTORS_MAX = 65_536;

/** A request, as it waits or is under way. */
export interface BlkRequest {
  queue: number;
  chain: Chain;
  type: number;
  /** Bytes from the disk's start (in, out). */
  offset: number;
  /** Bytes of data in the chain, without header and status. */
  length: number;
}

export const requestField: state.Field<BlkRequest> = state.record<BlkRequest>({
  queue: state.u16,
  chain: chainField,
  type: state.u32,
  offset: state.int(0, 2 ** 53 - 1),
  length: state.int(0, 2 ** 32),
});

/** A piece of the disk to discard or to zero. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** The header that is looked at. */
const HEADER = new Uint8Array(HEADER_SIZE);
const HEADER_VIEW = new DataView(HEADER.buffer);

/** Reads the header. Null when the chain is no request: header or status are not there. */
export function parseRequest(queue: Virtqueue, index: number, chain: Chain): BlkRequest | null {
  const room = byteLength(chain.writable);
  if (room < 1 || !queue.read(chain, 0, HEADER)) return null;
  const view = HEADER_VIEW;
  const type = view.getUint32(0, true);
  const sector = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
  const isOut = type === T_OUT || type === T_DISCARD || type === T_WRITE_ZEROES;
  const length = isOut ? byteLength(chain.readable) - HEADER_SIZE : room - 1;
  // A sector number beyond any disk: kept where `checkData` refuses it.
  const offset = sector < 2 ** 43 ? sector * SECTOR : 2 ** 52;
  return { queue: index, chain, type, offset, length };
}

/** The status with which a transfer fails before it begins, or `S_OK`. */
export function checkData(request: BlkRequest, size: number): number {
  const { offset, length } = request;
  const fits = length % SECTOR === 0 && length <= DATA_MAX && offset + length <= size;
  return fits ? S_OK : S_IOERR;
}

/** The ranges of a discard or write-zeroes request; a status when they are wrong. */
export function parseRanges(
  data: Uint8Array,
  size: number,
  type: typeof T_DISCARD | typeof T_WRITE_ZEROES,
): Range[] | number {
  const count = data.length / RANGE_SIZE;
  if (!Number.isInteger(count) || count < 1 || count > RANGES_MAX) return S_IOERR;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const ranges: Range[] = [];
  for (let at = 0; at < data.length; at += RANGE_SIZE) {
    const sector = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    const sectors = view.getUint32(at + 8, true);
    const flags = view.getUint32(at + 12, true);
    // 5.2.6.2: unknown flags, and unmap for a discard, are not supported.
    if ((flags & ~RANGE_F_UNMAP) !== 0) return S_UNSUPP;
    if (type === T_DISCARD && (flags & RANGE_F_UNMAP) !== 0) return S_UNSUPP;
    if (sectors > RANGE_SECTORS_MAX || (sector + sectors) * SECTOR > size) return S_IOERR;
    ranges.push({ offset: sector * SECTOR, length: sectors * SECTOR });
  }
  return ranges;
}
