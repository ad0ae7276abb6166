// Registers to the VMSA and back.
import { REGISTER_WINDOW, resetState } from '@cloister/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VMSA } from '../abi/vmsa.js';
import { stateVmsa } from '../measure/vmm-profile.js';
import { VmsaRegisters } from './vmsa-registers.js';

/** Registers that no VMSA has: the interrupt controller's, and the VMCB's. */
const ELSEWHERE = ['cr8', 'shadow'];
const SVME = 0x10;

test('what is saved is what is loaded', () => {
  const { rax, efer, x87 } = REGISTER_WINDOW;
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0x3b0, maxLength: 0x3b0 }), (bytes) => {
      const registers = new VmsaRegisters();
      registers.window.set(bytes);
      registers.fromWindow();
      registers.window.fill(0);
      registers.toWindow();
      for (const [name, { offset, size }] of Object.entries(REGISTER_WINDOW)) {
        if (ELSEWHERE.includes(name)) continue;
        const expected = bytes.slice(offset, offset + size);
        if (offset === efer.offset) expected[1]! &= ~SVME;
        if (name === 'tscAux') expected.fill(0, 4);
        for (let i = 0; offset === x87.offset && i < size; i++) if (i % 16 > 9) expected[i] = 0;
        expect(registers.window.slice(offset, offset + size), name).toEqual(expected);
      }
      expect(registers.page.slice(VMSA.rax.at, VMSA.rax.at + 8)).toEqual(
        bytes.slice(rax.offset, rax.offset + 8),
      );
    }),
    { numRuns: 30 },
  );
});

describe('VMRUN', () => {
  const edited = (edit: (view: DataView) => void) => {
    const registers = new VmsaRegisters();
    registers.page.set(stateVmsa(resetState(), { features: 0n }).subarray(0, 0x670));
    edit(new DataView(registers.page.buffer));
    return registers.refusal();
  };

  test('takes the VMSA of a reset CPU', () => expect(edited(() => {})).toBe(null));

  test.each([
    ['without SVME', VMSA.efer.at, 0],
    ['with NW alone', VMSA.cr0.at, 0x20000010],
    ['with a long CR0', VMSA.cr0.at + 4, 1],
    ['with a long CR4', VMSA.cr4.at + 4, 1],
    ['with a long DR6', VMSA.dr6.at + 4, 1],
    ['with a long DR7', VMSA.dr7.at + 4, 1],
    ['with features', VMSA.sevFeatures.at, 1],
  ])('refuses one %s', (_, at, value) => {
    expect(edited((view) => view.setUint32(at, value, true))).not.toBe(null);
  });

  test.each([
    ['PAE', 0x80000011, 0],
    ['PE', 0x80000010, 0x20],
  ])('refuses long mode without %s', (_, cr0, cr4) => {
    const refusal = edited((view) => {
      view.setUint32(VMSA.efer.at, 0x1500, true);
      view.setUint32(VMSA.cr0.at, cr0, true);
      view.setUint32(VMSA.cr4.at, cr4, true);
    });
    expect(refusal).toContain('long mode');
  });
});
