/**
 * The MSRs of the default model, row by row: what each takes, bit by bit, and that no other index
 * of the ranges in use exists. APIC_BASE and the x2APIC registers: `apic/register-rows.test.ts`.
 */
import { msr as I, selectCpu } from '@cloister/core/cpu';
import { describe, expect, it } from 'vitest';
import { TestProcessor } from '../cpu/test-processor.js';

const ALL = (1n << 64n) - 1n;
/** A single bit of a canonical address of 48 bits. */
const CANONICAL = (1n << 47n) - 1n;
/** Types 1 and 4 of each byte; 2 and 8 upwards do not exist. */
const PAT_TYPES = 0x0505050505050505n;
const NOTHING = 0n;
const READ_ONLY = null;

/** Index, value after reset, and the bits that WRMSR takes one at a time. */
const ROWS: readonly (readonly [index: number, reset: bigint, writable: bigint | null])[] = [
  [I.TSC, NOTHING, ALL],
  [I.KVM_WALL_CLOCK_OLD, NOTHING, ALL],
  [I.KVM_SYSTEM_TIME_OLD, NOTHING, ALL],
  [I.TSC_ADJUST, NOTHING, ALL],
  [I.PATCH_LEVEL, 0x0a0011ffn, READ_ONLY],
  [I.SYSENTER_CS, NOTHING, ALL],
  [I.SYSENTER_ESP, NOTHING, ALL],
  [I.SYSENTER_EIP, NOTHING, ALL],
  [I.DEBUG_CTL, NOTHING, 0x3fn],
  [I.MTRR_CAP, 0x508n, READ_ONLY],
  ...Array.from({ length: 16 }, (_, index): [number, bigint, bigint] => {
    // Types 1 and 4 of a base, valid of a mask; both up to 46 bits of address.
    const low = index % 2 === 0 ? 0x005n : 0x800n;
    return [I.MTRR_PHYS_BASE + index, NOTHING, 0x3ffffffff000n | low];
  }),
  [I.MTRR_FIX_64K, NOTHING, PAT_TYPES],
  [I.MTRR_FIX_16K, NOTHING, PAT_TYPES],
  [I.MTRR_FIX_16K + 1, NOTHING, PAT_TYPES],
  ...Array.from({ length: 8 }, (_, index): [number, bigint, bigint] => [
    I.MTRR_FIX_4K + index,
    NOTHING,
    PAT_TYPES,
  ]),
  // Enabled and write-back, as firmware leaves it.
  [I.MTRR_DEF_TYPE, 0x806n, 0xc05n],
  [I.PAT, 0x0007040600070406n, PAT_TYPES],
  [I.TSC_DEADLINE, NOTHING, ALL],
  [I.KVM_WALL_CLOCK, NOTHING, ALL],
  [I.KVM_SYSTEM_TIME, NOTHING, ALL],
  // SCE, LME, NXE and AIBRSE; LMA is the processor's.
  [I.EFER, NOTHING, 0x200901n],
  [I.STAR, NOTHING, ALL],
  [I.LSTAR, NOTHING, CANONICAL],
  [I.CSTAR, NOTHING, CANONICAL],
  [I.SFMASK, NOTHING, ALL],
  [I.FS_BASE, NOTHING, CANONICAL],
  [I.GS_BASE, NOTHING, CANONICAL],
  [I.KERNEL_GS_BASE, NOTHING, CANONICAL],
  [I.TSC_AUX, NOTHING, ALL],
  [I.SYSCFG, NOTHING, ALL],
  [I.HWCR, 1n << 24n, 0x1000148n],
  [I.NB_CFG, NOTHING, ALL],
  [I.VM_CR, 0x18n, 0x1fn],
  [I.DE_CFG, 2n, 2n],
];
/** Tested elsewhere. */
const OTHERS: readonly number[] = [I.APIC_BASE, I.KVM_PV_EOI];

const halves = (value: bigint): [number, number] => [
  Number(value & 0xffffffffn),
  Number(value >> 32n),
];

/** A processor outside long mode, whose EFER is 0. */
const msrs = () => new TestProcessor().protectedMode().cpu.services.msrs;

describe('model-specific registers', () => {
  it('are the rows of this table and no others', () => {
    const known = [...ROWS.map(([index]) => index), ...OTHERS].sort((a, b) => a - b);
    const listed = msrs().list();
    expect(listed.map(([index]) => index).sort((a, b) => a - b)).toEqual(known);
    const file = msrs();
    const ranges = [
      [0, 0x2000],
      [0x40000000, 0x100],
      [0x4b564d00, 0x100],
      [0xc0000000, 0x2000],
      [0xc0010000, 0x2000],
      [0xfffffff0, 0x10],
    ] as const;
    for (const [first, count] of ranges) {
      for (let index = first; index < first + count; index++) {
        if (known.includes(index)) continue;
        const found = file.read(index) || file.write(index, 0, 0);
        expect(found, index.toString(16)).toBe(false);
      }
    }
  });

  it('have their values after reset', () => {
    const file = msrs();
    for (const [index, reset] of ROWS) {
      expect(file.read(index), index.toString(16)).toBe(true);
      expect([file.lo, file.hi], index.toString(16)).toEqual(halves(reset));
    }
  });

  it('take each bit that exists and refuse each that does not', () => {
    const file = msrs();
    for (const [index, , writable] of ROWS) {
      expect(file.write(index, 0, 0), `0 to ${index.toString(16)}`).toBe(writable !== null);
      for (let bit = 0n; bit < 64n; bit++) {
        const value = 1n << bit;
        const taken = file.write(index, ...halves(value));
        const wanted = writable !== null && (writable & value) !== 0n;
        expect(taken, `${index.toString(16)} bit ${bit}`).toBe(wanted);
      }
    }
  });

  it('take canonical addresses of the upper half, of 57 bits with LA57', () => {
    const canonical = ROWS.filter(([, , writable]) => writable === CANONICAL);
    expect(canonical).toHaveLength(5);
    const file = msrs();
    const wide = new TestProcessor(',+la57').protectedMode().cpu.services.msrs;
    for (const [index] of canonical) {
      expect(file.write(index, 0, 0xffff8000)).toBe(true);
      expect(file.write(index, 0, 0xffff0000)).toBe(false);
      expect(wide.write(index, 0, 0xff000000)).toBe(true);
      expect(wide.write(index, 0, 0xfe000000)).toBe(false);
      expect(wide.write(index, 0, 0x00800000)).toBe(true);
      expect(wide.write(index, 0, 0x01000000)).toBe(false);
    }
  });

  it('exist with the features that bring them', () => {
    for (const [feature, index] of [
      ['ibrs', I.SPEC_CTRL],
      ['stibp', I.SPEC_CTRL],
      ['ssbd', I.SPEC_CTRL],
    ] as const) {
      const bit = { ibrs: 1, stibp: 2, ssbd: 4 }[feature];
      const file = new TestProcessor(`,+${feature}`).cpu.services.msrs;
      for (let other = 0; other < 32; other++) {
        const value = (1 << other) >>> 0;
        expect(file.write(index, value, 0), `${feature} bit ${other}`).toBe(value === bit);
      }
    }
    expect(selectCpu().has('ibrs')).toBe(false);
  });
});
