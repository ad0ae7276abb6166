/**
 * Descriptor chains: one buffer of the driver's, as a device sees it.
 *
 * A chain is a plain record, so that a device can keep one in its snapshot while host work is under
 * way. Every segment was found in guest memory when the chain was taken from the ring.
 * Source: virtio 1.2, 2.7.4 (message framing), 2.7.5 (descriptor table), 2.8.6 (packed).
 */
import type { DmaView } from '@cloister/core';
import { state } from '@cloister/core/devices';

/** Guest-physical bytes `[gpa, gpa + length)`. */
export interface Segment {
  readonly gpa: number;
  readonly length: number;
}

export interface Chain {
  /** What the used ring names the chain by: its head (split) or buffer id (packed). */
  readonly id: number;
  /** Ring descriptors that it occupies, counted in the ring itself. */
  readonly descriptors: number;
  /** What the driver gives, in order. */
  readonly readable: readonly Segment[];
  /** What the device may fill, in order. */
  readonly writable: readonly Segment[];
}

/** Longest chain in bytes (2.7.5.2 and 2.8.6: at most 2^32 bytes in total). */
export const CHAIN_BYTES_MAX = 2 ** 32;

const segment: state.Field<Segment> = state.record<Segment>({
  gpa: state.int(0, 2 ** 52),
  length: state.int(0, CHAIN_BYTES_MAX),
});

const segments = state.listUpTo(segment, 32_768);

/** How a chain is saved. */
export const chainField: state.Field<Chain> = state.record<Chain>({
  id: state.u16,
  descriptors: state.int(1, 32_768),
  readable: segments,
  writable: segments,
});

/** Bytes in all segments. */
export function byteLength(list: readonly Segment[]): number {
  let sum = 0;
  for (const { length } of list) sum += length;
  return sum;
}

/** Calls `visit` for the pieces of `[offset, offset + length)`; false if one of them fails. */
function eachPart(
  list: readonly Segment[],
  offset: number,
  length: number,
  visit: (gpa: number, from: number, to: number) => boolean,
): boolean {
  let skip = offset;
  let done = 0;
  for (const { gpa, length: size } of list) {
    if (done === length) return true;
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const count = Math.min(size - skip, length - done);
    if (!visit(gpa + skip, done, done + count)) return false;
    done += count;
    skip = 0;
  }
  return done === length;
}

/** A part of `bytes`: those themselves, if it is all of them. */
function part(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to);
}

/** Fills `target` from `offset` of the segments on; false when they are too short or not memory. */
export function gather(
  dma: DmaView,
  list: readonly Segment[],
  offset: number,
  target: Uint8Array,
): boolean {
  return eachPart(list, offset, target.length, (gpa, from, to) =>
    dma.read(gpa, part(target, from, to)),
  );
}

/** Writes `source` from `offset` of the segments on; false when they are too short or no memory. */
export function scatter(
  dma: DmaView,
  list: readonly Segment[],
  offset: number,
  source: Uint8Array,
): boolean {
  return eachPart(list, offset, source.length, (gpa, from, to) =>
    dma.write(gpa, part(source, from, to)),
  );
}

/** The bytes `[offset, offset + length)` of a list of segments, as segments; cut at its end. */
export function slice(list: readonly Segment[], offset: number, length: number): Segment[] {
  const found: Segment[] = [];
  let skip = offset;
  let left = length;
  for (const segment of list) {
    const { gpa, length: size } = segment;
    if (left <= 0) break;
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const count = Math.min(size - skip, left);
    found.push(count === size ? segment : { gpa: gpa + skip, length: count });
    left -= count;
    skip = 0;
  }
  return found;
}
