// The VMSA's layout against what is known of it from elsewhere, and against itself.
import { describe, expect, test } from 'vitest';
import { VMSA, VMSA_USED } from './vmsa.js';

describe('the fields of a VMSA', () => {
  const fields = Object.entries(VMSA);

  test('ascend, share no byte, and lie in the part that is used', () => {
    const order = fields.map(([name, { at }]) => [at, name] as const);
    expect(order).toEqual([...order].sort(([a], [b]) => a - b));
    fields.forEach(([name, { at, size }], index) => {
      const next = fields[index + 1]?.[1].at ?? VMSA_USED;
      expect(at + size, name).toBeLessThanOrEqual(next);
    });
  });

  test('lie on boundaries of their size', () => {
    for (const [name, { at, size }] of fields) expect(at % Math.min(size, 8), name).toBe(0);
  });

  // Linux arch/x86/include/asm/svm.h, struct sev_es_save_area.
  test.each([
    ['tr', 0x90],
    ['efer', 0xd0],
    ['cr0', 0x158],
    ['rip', 0x178],
    ['rax', 0x1f8],
    ['gPat', 0x268],
    ['rcx', 0x308],
    ['r15', 0x378],
    ['sevFeatures', 0x3b0],
    ['xcr0', 0x3e8],
    ['mxcsr', 0x408],
    ['xmm', 0x470],
  ] as const)('%s is at %i, as in Linux', (name, at) => {
    expect(VMSA[name].at).toBe(at);
  });
});
