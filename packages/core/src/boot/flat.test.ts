// Flat binaries in each mode: registers, placement, refusals.
import { describe, expect, it } from 'vitest';
import { acpiTables } from '../acpi/tables.js';
import { flat } from './flat.js';
import { MIB } from './memory-layout.js';
import { machine } from './synthetic-kernels.js';

const image = Uint8Array.of(0xf4, 0xeb, 0xfd);

describe('flat', () => {
  it('enters a boot sector as a BIOS does', () => {
    const plan = flat({ image }).plan(machine(MIB));
    const state = plan.vcpus.get(0);
    expect(plan.regions).toHaveLength(1);
    expect(plan.regions[0]).toMatchObject({ gpa: 0x7000 });
    expect([...(plan.regions[0]?.bytes.subarray(0xc00, 0xc04) ?? [])]).toEqual([...image, 0]);
    expect(state?.rip).toBe(0x7c00n);
    expect(state?.cs).toEqual({ selector: 0, attributes: 0x9b, limit: 0xffff, base: 0n });
    expect(state?.gpr.rdx).toBe(0x80n);
    expect(state?.gpr.rsp).toBe(0x7c00n);
    expect(state?.cr0).toBe(0x10n);
    expect(state?.idtr).toEqual({ limit: 0x3ff, base: 0n });
  });

  it('reaches all of the first MiB in real mode by the code segment', () => {
    const plan = flat({ image, loadAddress: 0xf1234 }).plan(machine(MIB));
    const state = plan.vcpus.get(0);
    expect(state?.cs).toMatchObject({ selector: 0xf000, base: 0xf0000n });
    expect(state?.rip).toBe(0x1234n);
  });

  it('enters protected mode with flat segments and a stack', () => {
    const plan = flat({ image, mode: 'protected' }).plan(machine(4 * MIB));
    const state = plan.vcpus.get(0);
    expect(state?.rip).toBe(0x100000n);
    expect(state?.cr0).toBe(0x11n);
    expect(state?.gpr.rsp).toBe(0x9fc00n);
    expect(plan.regions.map(({ name }) => name)).toEqual(['gdt', 'image']);
  });

  it('enters long mode with identity tables, the C-bit in them where there is one', () => {
    const plan = flat({ image, mode: 'long', entry: 0x100001, registers: { rdi: 7n } }).plan(
      machine(4 * MIB, { cBit: 51, protection: 'sev' }),
    );
    const state = plan.vcpus.get(0);
    const tables = plan.regions.find(({ name }) => name === 'page-tables');
    expect(state?.rip).toBe(0x100001n);
    expect(state?.gpr.rdi).toBe(7n);
    expect(state?.efer).toBe(0x500n);
    expect(state?.cr3).toBe(BigInt(tables?.gpa ?? 0) | (1n << 51n));
    expect(state?.cs.attributes).toBe(0xa9b);
    const view = new DataView(tables?.bytes.buffer ?? new ArrayBuffer(0));
    expect(view.getBigUint64(0, true) >> 51n).toBe(1n);
  });

  it('lays its tables around an image in low memory', () => {
    const low = { image: new Uint8Array(0x2000), mode: 'long' as const, loadAddress: 0x6000 };
    const plan = flat(low).plan(machine(4 * MIB));
    expect(plan.regions.map(({ name, gpa }) => [name, gpa])).toEqual([
      ['gdt', 0x8000],
      ['page-tables', 0x9000],
      ['image', 0x6000],
    ]);
  });

  it('refuses what cannot be', () => {
    const refuse = (options: Omit<Parameters<typeof flat>[0], 'image'>) => {
      return () => flat({ image, ...options }).plan(machine(4 * MIB));
    };
    expect(() => flat({ image: new Uint8Array(0) }).plan(machine(MIB))).toThrow(/empty/);
    expect(refuse({ loadAddress: -1 })).toThrow(/no load address/);
    expect(refuse({ loadAddress: 0.5 })).toThrow(/no load address/);
    expect(refuse({ entry: 0x100000 })).toThrow(/real mode can't be entered at 0x100000/);
    expect(refuse({ mode: 'long', entry: 2 ** 32 })).toThrow(/long mode can't be entered/);
    expect(refuse({ mode: 'long', loadAddress: 8 * MIB })).toThrow(/image .* does not fit/);
    expect(refuse({ loadAddress: 2 ** 53 - 1 })).toThrow(/real mode can't be entered/);
    expect(refuse({ loadAddress: 2 ** 53 - 1, entry: 0 })).toThrow(/does not fit/);
    const acpi = acpiTables({ cpus: 1 });
    expect(() =>
      flat({ image, mode: 'long', loadAddress: 0xe0000 }).plan(machine(4 * MIB, { acpi })),
    ).toThrow(/overlaps/);
  });
});
