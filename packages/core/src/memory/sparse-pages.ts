/**
 * Memory in a snapshot record: the pages that are not all zeros, and which ones they are.
 *
 * Record: `size` in bytes, `runs` as little-endian pairs of u32 (first page, pages), `data` the
 * bytes of all runs one after the other.
 */
import type { SnapshotValue } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { PAGE_SIZE } from './slot-table.js';

const WORDS_PER_PAGE = PAGE_SIZE / 4;

/** Whether page `page` of `words` is all zeros: looked at once for every page of a guest. */
function isZero(words: Int32Array, page: number): boolean {
  const from = page * WORDS_PER_PAGE;
  for (let at = from; at < from + WORDS_PER_PAGE; at++) if (words[at] !== 0) return false;
  return true;
}

/** Bytes from `from` up to `to`, whole pages. */
export type PageRange = readonly [from: number, to: number];

/**
 * The record of `bytes` (page-aligned in its buffer, whole pages); copies what is not zero. Only
 * `used` is looked at where it is given, ascending: the rest is known to be zeros.
 */
export function packPages(
  bytes: Uint8Array,
  used: readonly PageRange[] = [[0, bytes.length]],
): SnapshotValue {
  if (bytes.length % PAGE_SIZE !== 0 || bytes.byteOffset % 4 !== 0) {
    throw new VmmError('invalid-argument', 'memory to save must be whole aligned pages');
  }
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const runs: number[] = [];
  let pages = 0;
  for (const [from, to] of used) {
    for (let page = from / PAGE_SIZE; page * PAGE_SIZE < to; page++) {
      if (isZero(words, page)) continue;
      pages++;
      const last = runs.length - 2;
      if (last >= 0 && runs[last]! + runs[last + 1]! === page) runs[last + 1]!++;
      else runs.push(page, 1);
    }
  }
  const data = new Uint8Array(pages * PAGE_SIZE);
  const index = new Uint8Array(runs.length * 4);
  const view = new DataView(index.buffer);
  for (const [i, value] of runs.entries()) view.setUint32(4 * i, value, true);
  let done = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const from = runs[i]! * PAGE_SIZE;
    const size = runs[i + 1]! * PAGE_SIZE;
    data.set(bytes.subarray(from, from + size), done);
    done += size;
  }
  return { size: bytes.length, runs: index, data };
}

interface PackedPages {
  readonly size: number;
  readonly runs: Uint8Array;
  readonly data: Uint8Array;
}

function isPacked(value: unknown): value is PackedPages {
  const record = value as Partial<PackedPages> | null;
  return (
    typeof record === 'object' &&
    record !== null &&
    typeof record.size === 'number' &&
    record.runs instanceof Uint8Array &&
    record.runs.length % 8 === 0 &&
    record.data instanceof Uint8Array
  );
}

/**
 * What fills memory of `size` bytes, all zeros before, from a record;
 * `VmmError('snapshot-mismatch')` if that is damaged.
 */
export function readPages(value: unknown, size: number): (target: Uint8Array) => void {
  if (!isPacked(value) || value.size !== size) {
    throw new VmmError('snapshot-mismatch', 'the saved memory is not of this size and form');
  }
  const { runs, data } = value;
  const view = new DataView(runs.buffer, runs.byteOffset, runs.byteLength);
  const moves: { from: number; to: number; length: number }[] = [];
  let from = 0;
  let reached = 0;
  for (let i = 0; i < runs.length; i += 8) {
    const to = view.getUint32(i, true) * PAGE_SIZE;
    const length = view.getUint32(i + 4, true) * PAGE_SIZE;
    if (to < reached || to + length > size || from + length > data.length) {
      throw new VmmError('snapshot-mismatch', 'the saved memory names pages out of range');
    }
    moves.push({ from, to, length });
    from += length;
    reached = to + length;
  }
  if (from !== data.length) {
    throw new VmmError('snapshot-mismatch', 'the saved memory has bytes of no page');
  }
  return (target) => {
    for (const { from, to, length } of moves) target.set(data.subarray(from, from + length), to);
  };
}

/** Fills `target` from a record; `VmmError('snapshot-mismatch')` and nothing changed if damaged. */
export function unpackPages(value: unknown, target: Uint8Array): void {
  const write = readPages(value, target.length);
  target.fill(0);
  write(target);
}
