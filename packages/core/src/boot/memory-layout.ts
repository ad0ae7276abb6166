/**
 * Where RAM lies in guest-physical addresses, and how E820 tells the guest.
 *
 * Source: the PC's memory map (ACPI 6.5, 15: INT 15h E820 types; Linux Documentation/arch/x86/
 * boot.rst, "Memory Layout"). RAM fills [0, 3 GiB); what is left starts at 4 GiB, so that the hole
 * below holds the IOAPIC, the local APICs and MMIO slots.
 * Inaccuracy: the legacy video and ROM area below 1 MiB is backed by RAM, though E820 reserves it;
 * firmware tables are placed there.
 */

import { VmmError } from '../interfaces/error.js';
import type { BootMachine, E820Entry, LaunchRegion } from '../interfaces/launch-plan.js';
import { E820 } from '../interfaces/launch-plan.js';

export const PAGE_SIZE = 4096;
export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;

/** Addresses between these two are never RAM. */
export const HOLE_START = 3 * GIB;
export const HOLE_END = 4 * GIB;

/** Conventional memory ends here: 639 KiB, the last KiB below 640 KiB being the EBDA's. */
export const LOW_RAM_END = 0x9fc00;
/** Extended memory starts here. */
export const HIGH_RAM_START = 0x100000;
/** Where firmware tables lie: the start of the BIOS area that guests scan for an RSDP. */
export const FIRMWARE_TABLES = 0xe0000;

export interface RamRange {
  readonly gpa: number;
  readonly size: number;
}

/** RAM ranges, ascending, for a machine with `ramSize` bytes (a multiple of 4096, not 0). */
export function ramRanges(ramSize: number): RamRange[] {
  if (!Number.isSafeInteger(ramSize) || ramSize <= 0 || ramSize % PAGE_SIZE !== 0) {
    throw new VmmError('invalid-config', `memory size ${ramSize} is not a multiple of 4096`, {
      path: 'memory',
      remedy: 'give a size such as 256M',
    });
  }
  if (ramSize <= HOLE_START) return [{ gpa: 0, size: ramSize }];
  return [
    { gpa: 0, size: HOLE_START },
    { gpa: HOLE_END, size: ramSize - HOLE_START },
  ];
}

/** True when one of the ranges holds all of `[gpa, gpa + size)`. */
export function inRam(ram: readonly RamRange[], gpa: number, size: number): boolean {
  return ram.some((range) => gpa >= range.gpa && gpa + size <= range.gpa + range.size);
}

/** End of the RAM range that starts at 0. */
export function lowRamEnd(ram: readonly RamRange[]): number {
  const low = ram.find((range) => range.gpa === 0);
  return low === undefined ? 0 : low.size;
}

/** Where a stack may start downwards: the end of conventional memory. */
export function lowStackTop(ram: readonly RamRange[]): number {
  return Math.min(lowRamEnd(ram), LOW_RAM_END);
}

/**
 * Marks `[base, base + length)` as `type`, whatever the map said of it before. The result is
 * ascending, without overlaps, neighbours of one type joined.
 */
export function carve(
  map: readonly E820Entry[],
  base: number,
  length: number,
  type: number,
): E820Entry[] {
  if (length <= 0) return [...map];
  const end = base + length;
  const cut: E820Entry[] = [{ base, length, type }];
  for (const entry of map) {
    const entryEnd = entry.base + entry.length;
    if (entry.base < base) {
      cut.push({ ...entry, length: Math.min(entryEnd, base) - entry.base });
    }
    if (entryEnd > end) {
      const from = Math.max(entry.base, end);
      cut.push({ ...entry, base: from, length: entryEnd - from });
    }
  }
  cut.sort((a, b) => a.base - b.base);
  const joined: E820Entry[] = [];
  for (const entry of cut) {
    const last = joined.at(-1);
    if (last !== undefined && last.type === entry.type && last.base + last.length === entry.base) {
      joined[joined.length - 1] = { ...last, length: last.length + entry.length };
    } else {
      joined.push(entry);
    }
  }
  return joined;
}

/**
 * The map that a PC's firmware would report: RAM, the reserved area below 1 MiB, ACPI tables, and
 * what a protection keeps for itself.
 */
export function e820Map(machine: Pick<BootMachine, 'ram' | 'acpi' | 'reserved'>): E820Entry[] {
  let map: E820Entry[] = machine.ram.map(({ gpa, size }) => ({
    base: gpa,
    length: size,
    type: E820.ram,
  }));
  map = carve(map, LOW_RAM_END, HIGH_RAM_START - LOW_RAM_END, E820.reserved);
  const mark = (regions: readonly LaunchRegion[], type: number) => {
    for (const { gpa, bytes } of regions) {
      const base = gpa - (gpa % PAGE_SIZE);
      const end = Math.ceil((gpa + bytes.length) / PAGE_SIZE) * PAGE_SIZE;
      map = carve(map, base, end - base, type);
    }
  };
  mark(machine.acpi?.regions ?? [], E820.acpi);
  mark(machine.reserved ?? [], E820.reserved);
  return map;
}
