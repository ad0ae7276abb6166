// RAM ranges and E820; carving against a painted model.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { E820, type E820Entry } from '../interfaces/launch-plan.js';
import { carve, e820Map, GIB, lowRamEnd, MIB, ramRanges } from './memory-layout.js';

describe('ramRanges', () => {
  it('splits RAM around the hole below 4 GiB', () => {
    expect(ramRanges(256 * MIB)).toEqual([{ gpa: 0, size: 256 * MIB }]);
    expect(ramRanges(3 * GIB)).toEqual([{ gpa: 0, size: 3 * GIB }]);
    expect(ramRanges(5 * GIB)).toEqual([
      { gpa: 0, size: 3 * GIB },
      { gpa: 4 * GIB, size: 2 * GIB },
    ]);
    expect(lowRamEnd(ramRanges(5 * GIB))).toBe(3 * GIB);
  });

  it('refuses what is no size', () => {
    for (const size of [0, -4096, 4095, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
      expect(() => ramRanges(size)).toThrow(/memory size/);
    }
  });
});

describe('e820Map', () => {
  it('reserves what a protection keeps', () => {
    const reserved = [
      { name: 'own', gpa: 0x4000, bytes: new Uint8Array(1), type: 'normal' },
    ] as const;
    expect(e820Map({ ram: ramRanges(MIB), acpi: null, reserved }).slice(0, 3)).toEqual([
      { base: 0, length: 0x4000, type: 1 },
      { base: 0x4000, length: 0x1000, type: 2 },
      { base: 0x5000, length: 0x9fc00 - 0x5000, type: 1 },
    ]);
  });

  it('is a PC map, with a hole where RAM is split', () => {
    expect(e820Map({ ram: ramRanges(5 * GIB), acpi: null })).toEqual([
      { base: 0, length: 0x9fc00, type: E820.ram },
      { base: 0x9fc00, length: 0x60400, type: E820.reserved },
      { base: 0x100000, length: 3 * GIB - MIB, type: E820.ram },
      { base: 4 * GIB, length: 2 * GIB, type: E820.ram },
    ]);
  });

  it('types whole pages of ACPI tables, wherever they lie', () => {
    const bytes = new Uint8Array(0x10);
    const regions = [{ name: 'acpi', gpa: 0x3fff010, bytes, type: 'normal' as const }];
    const map = e820Map({ ram: ramRanges(64 * MIB), acpi: { rsdp: 0x3fff010, regions } });
    expect(map.at(-1)).toEqual({ base: 0x3fff000, length: 0x1000, type: E820.acpi });
  });
});

describe('carve', () => {
  it('equals painting, and keeps the map sorted, disjoint and joined', () => {
    const range = fc.record({
      base: fc.nat(40),
      length: fc.integer({ min: 1, max: 12 }),
      type: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 12 }), (ranges) => {
        const painted = new Array<number>(60).fill(0);
        let map: E820Entry[] = [];
        for (const { base, length, type } of ranges) {
          painted.fill(type, base, base + length);
          map = carve(map, base, length, type);
        }
        const seen = new Array<number>(60).fill(0);
        for (const { base, length, type } of map) seen.fill(type, base, base + length);
        expect(seen).toEqual(painted);
        for (const [index, next] of map.slice(1).entries()) {
          const before = map[index];
          const end = (before?.base ?? 0) + (before?.length ?? 0);
          expect(end).toBeLessThanOrEqual(next.base);
          if (end === next.base) expect(before?.type).not.toBe(next.type);
        }
      }),
    );
  });

  it('ignores an empty range', () => {
    const map = [{ base: 0, length: 10, type: 1 }];
    expect(carve(map, 5, 0, 2)).toEqual(map);
  });
});
