// ES-17: the pages by which Linux starts other CPUs without firmware.
import { describe, expect, test } from 'vitest';
import { AP_JUMP_TABLE, apStart } from './ap-start.js';

describe('what other CPUs start from', () => {
  test('is nothing where there are none', () => {
    expect(apStart(1)).toEqual({ regions: [], vcpus: new Map() });
  });

  test('is a page of code and one for the table, below 1 MiB and behind one another', () => {
    const { regions, vcpus } = apStart(4);
    expect(regions.map(({ bytes }) => bytes.length)).toEqual([4096, 4096]);
    const [stub, table] = regions;
    expect(table!.gpa).toBe(AP_JUMP_TABLE);
    expect(table!.gpa).toBe(stub!.gpa + 4096);
    expect(table!.gpa + 4096).toBeLessThan(0x100000);
    // Not set: a CPU that comes early waits.
    expect(table!.bytes.every((byte) => byte === 0)).toBe(true);
    expect([...vcpus.keys()]).toEqual([1, 2, 3]);
    for (const { cs, rip, cr0, rflags } of vcpus.values()) {
      expect(Number(cs.base + rip)).toBe(stub!.gpa);
      expect(Number(cr0) & 1).toBe(0);
      expect(Number(rflags) & 0x200).toBe(0);
    }
  });
});
