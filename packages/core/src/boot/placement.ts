/**
 * Placing things in guest memory: regions padded to pages, checked against RAM and each other.
 *
 * Every region starts and ends on a page boundary where it can, because a protection encrypts and
 * measures whole pages; no two regions of a plan share a byte.
 */
import { VmmError } from '../interfaces/error.js';
import type { LaunchRegion } from '../interfaces/launch-plan.js';
import {
  HIGH_RAM_START,
  HOLE_END,
  inRam,
  LOW_RAM_END,
  PAGE_SIZE,
  type RamRange,
} from './memory-layout.js';

/** `value` rounded up to a multiple of `unit`. */
export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** `value` rounded down to a multiple of `unit`. */
export function alignDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

/** A size for messages: `12.5 MiB`, `3 KiB`, `17 bytes`. */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  const [unit, name] = bytes < 1024 * 1024 ? [1024, 'KiB'] : [1024 * 1024, 'MiB'];
  return `${Number((bytes / unit).toFixed(1))} ${name}`;
}

export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** A `normal` region whose bytes are padded with zeros to whole pages. */
export function pagedRegion(name: string, gpa: number, bytes: Uint8Array): LaunchRegion {
  const length = alignUp(Math.max(bytes.length, 1), PAGE_SIZE);
  if (length === bytes.length) return { name, gpa, bytes, type: 'normal' };
  const padded = new Uint8Array(length);
  padded.set(bytes);
  return { name, gpa, bytes: padded, type: 'normal' };
}

export interface Span {
  readonly name: string;
  readonly gpa: number;
  readonly size: number;
}

/** Throws unless every span lies in RAM and no two of them share a byte. */
export function checkPlacement(ram: readonly RamRange[], spans: readonly Span[]): void {
  const sorted = spans.filter((span) => span.size > 0).sort((a, b) => a.gpa - b.gpa);
  for (const [index, span] of sorted.entries()) {
    const end = span.gpa + span.size;
    if (!inRam(ram, span.gpa, span.size)) {
      const total = ram.reduce((sum, range) => sum + range.size, 0);
      throw new VmmError(
        'invalid-config',
        `${span.name} (${sizeText(span.size)} at ${hex(span.gpa)}) does not fit into ` +
          `${sizeText(total)} of memory`,
        { remedy: 'give the VM more memory' },
      );
    }
    const next = sorted[index + 1];
    if (next !== undefined && next.gpa < end) {
      throw new VmmError(
        'invalid-config',
        `${span.name} (${hex(span.gpa)} to ${hex(end)}) overlaps ${next.name} ` +
          `(at ${hex(next.gpa)})`,
      );
    }
  }
}

/** What regions occupy, for `checkPlacement` and the searches below. */
export function spansOf(regions: readonly LaunchRegion[]): Span[] {
  return regions.map(({ name, gpa, bytes }) => ({ name, gpa, size: bytes.length }));
}

/**
 * The highest page-aligned address in `[from, to)` with `size` bytes of RAM free of `taken`, or -1.
 */
export function findBelow(
  ram: readonly RamRange[],
  taken: readonly Span[],
  size: number,
  from: number,
  to: number,
): number {
  const tops = [to];
  for (const range of ram) tops.push(range.gpa + range.size);
  for (const span of taken) tops.push(span.gpa);
  return tops
    .map((top) => alignDown(Math.min(top, to) - size, PAGE_SIZE))
    .filter((gpa) => gpa >= from && isFree(ram, taken, gpa, size))
    .reduce((best, gpa) => Math.max(best, gpa), -1);
}

/** The lowest page-aligned address in `[from, to)` with `size` free bytes of RAM, or -1. */
export function findAbove(
  ram: readonly RamRange[],
  taken: readonly Span[],
  size: number,
  from: number,
  to: number,
): number {
  const bottoms = [from];
  for (const range of ram) bottoms.push(range.gpa);
  for (const span of taken) bottoms.push(span.gpa + span.size);
  const fits = bottoms
    .map((bottom) => alignUp(Math.max(bottom, from), PAGE_SIZE))
    .filter((gpa) => gpa + size <= to && isFree(ram, taken, gpa, size));
  return fits.length === 0 ? -1 : Math.min(...fits);
}

function isFree(
  ram: readonly RamRange[],
  taken: readonly Span[],
  gpa: number,
  size: number,
): boolean {
  if (!inRam(ram, gpa, size)) return false;
  return taken.every((span) => gpa + size <= span.gpa || gpa >= span.gpa + span.size);
}

/** Conventional memory from here on is free for what boot sources build. */
const LOW_START = 0x6000;

/**
 * Hands out pages for tables and information structures: conventional memory first, then whatever
 * is free below 4 GiB. What it hands out counts as taken from then on.
 */
export function structureSpace(
  ram: readonly RamRange[],
  taken: readonly Span[],
): (name: string, size: number) => number {
  const used = [...taken];
  return (name, size) => {
    const length = alignUp(Math.max(size, 1), PAGE_SIZE);
    let gpa = findAbove(ram, used, length, LOW_START, alignDown(LOW_RAM_END, PAGE_SIZE));
    if (gpa < 0) gpa = findAbove(ram, used, length, HIGH_RAM_START, HOLE_END);
    if (gpa < 0) {
      throw new VmmError('invalid-config', `no room for ${name} (${sizeText(length)}) in memory`, {
        path: 'memory',
        remedy: 'give the VM more memory',
      });
    }
    used.push({ name, gpa, size: length });
    return gpa;
  };
}
