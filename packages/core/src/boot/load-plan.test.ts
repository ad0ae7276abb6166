// The plain loader on memory with a known filling.
import { describe, expect, it } from 'vitest';
import type { LaunchPlan, LaunchRegion } from '../interfaces/launch-plan.js';
import { slotMemory } from '../memory/slot-memory.js';
import { linux } from './linux.js';
import { loadPlan } from './load-plan.js';
import { MIB } from './memory-layout.js';
import { bzImage, machine } from './synthetic-kernels.js';

/** Memory of `size` bytes at 0, full of 0xee. */
function memoryOf(size: number) {
  const bytes = new Uint8Array(size).fill(0xee);
  const memory = slotMemory({
    bytes,
    locate: (gpa) => (gpa < size ? gpa - (gpa % 4096) : -1),
    written: () => {},
    ciphertext: () => null,
    storeCiphertext: () => {},
    convert: () => {},
    takeDirty: () => new Uint32Array(0),
  });
  memory.addSlot({ id: 0, gpa: 0, size, readOnly: false, name: 'ram', encryptable: true });
  return { bytes, memory };
}

function planOf(...regions: LaunchRegion[]): LaunchPlan {
  return { regions, vcpus: new Map(), e820: [], entry: 'flat' };
}

const region = (gpa: number, length: number, type: LaunchRegion['type'] = 'normal') => ({
  name: `${type} at ${gpa}`,
  gpa,
  bytes: new Uint8Array(length).fill(0x11),
  type,
});

describe('loadPlan', () => {
  it('writes regions in order, later ones over earlier ones, and clears zero regions', () => {
    const { bytes, memory } = memoryOf(0x4000);
    const plan = planOf(
      region(0x1000, 0x2000),
      region(0x1800, 0x100, 'zero'),
      { ...region(0x1810, 2, 'unmeasured'), bytes: Uint8Array.of(7, 8) },
      region(0x1000, 0),
    );
    loadPlan(plan, memory);
    expect([bytes[0xfff], bytes[0x1000], bytes[0x2fff], bytes[0x3000]]).toEqual([
      0xee, 0x11, 0x11, 0xee,
    ]);
    expect([...bytes.subarray(0x17ff, 0x1801)]).toEqual([0x11, 0]);
    expect([...bytes.subarray(0x180f, 0x1813)]).toEqual([0, 7, 8, 0]);
    expect([...bytes.subarray(0x18ff, 0x1901)]).toEqual([0, 0x11]);
  });

  it('loads a whole Linux plan', () => {
    const kernel = bzImage();
    const { bytes, memory } = memoryOf(32 * MIB);
    loadPlan(linux({ kernel, append: 'quiet' }).plan(machine(32 * MIB)), memory);
    expect(bytes.subarray(0x1000000, 0x1001000)).toEqual(kernel.subarray(1024));
    expect(new TextDecoder().decode(bytes.subarray(0x20000, 0x20006))).toBe('quiet\0');
  });

  it('refuses what lies outside of memory or needs firmware, and writes nothing then', () => {
    for (const bad of [
      region(0x3f00, 0x200),
      region(0x1000, 0x1000, 'secrets'),
      region(0x1000, 0x1000, 'cpuid'),
      region(0x1000, 0x1000, 'vmsa'),
    ]) {
      const { bytes, memory } = memoryOf(0x4000);
      expect(() => loadPlan(planOf(region(0, 0x1000), bad), memory)).toThrow(bad.name);
      expect(bytes[0]).toBe(0xee);
    }
  });
});
