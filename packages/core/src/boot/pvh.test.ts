// PVH: segments, start info as a kernel reads it, refusals.
import { describe, expect, it } from 'vitest';
import { acpiTables } from '../acpi/tables.js';
import { MIB } from './memory-layout.js';
import { pvh } from './pvh.js';
import { elf, machine, pvhKernel } from './synthetic-kernels.js';

const acpi = acpiTables({ cpus: 1 });
const initrd = new Uint8Array(5000).fill(7);

describe('pvh', () => {
  const plan = pvh({ kernel: pvhKernel(), initrd, append: 'root=/dev/vda' }).plan(
    machine(64 * MIB, { acpi }),
  );
  const at = (name: string) => {
    const region = plan.regions.find((candidate) => candidate.name === name);
    if (region === undefined) throw new Error(`no region ${name}`);
    return region;
  };
  const state = plan.vcpus.get(0);

  it('enters at the note in protected mode, paging off, EBX at the start info', () => {
    expect(plan.entry).toBe('pvh');
    expect(state?.rip).toBe(0x1000010n);
    expect(state?.gpr.rbx).toBe(BigInt(at('start-info').gpa));
    expect(state?.cr0).toBe(0x11n);
    expect(state?.cr4).toBe(0n);
    expect(state?.efer).toBe(0n);
    expect(state?.rflags).toBe(2n);
    expect(state?.cs).toMatchObject({ attributes: 0xc9b, base: 0n, limit: 0xffffffff });
    expect(state?.tr).toMatchObject({ attributes: 0x8b, base: 0n, limit: 0x67 });
  });

  it('loads segments by physical address and clears what the file does not have', () => {
    expect(at('kernel segment 0')).toMatchObject({ gpa: 0x1000000, type: 'normal' });
    expect(at('kernel segment 0').bytes).toEqual(new Uint8Array(0x123).fill(0xaa));
    expect(at('kernel segment 1')).toMatchObject({ gpa: 0x1200800, type: 'normal' });
    const zeros = at('kernel segment 1 zeros');
    expect(zeros).toMatchObject({ gpa: 0x1200810, type: 'zero' });
    expect(zeros.bytes.length).toBe(0x2000 - 0x10);
  });

  it('describes module, command line, ACPI and memory in the start info', () => {
    const { gpa, bytes } = at('start-info');
    const view = new DataView(bytes.buffer);
    const u64 = (offset: number) => Number(view.getBigUint64(offset, true));
    expect(view.getUint32(0, true)).toBe(0x336ec578);
    expect(view.getUint32(4, true)).toBe(1);
    expect(view.getUint32(12, true)).toBe(1);
    const module = u64(16) - gpa;
    expect(u64(module)).toBe(at('initrd').gpa);
    expect(u64(module + 8)).toBe(initrd.length);
    expect(u64(24)).toBe(at('command-line').gpa);
    expect(u64(32)).toBe(acpi.rsdp);
    const line = at('command-line').bytes;
    expect(new TextDecoder().decode(line.subarray(0, line.indexOf(0)))).toBe('root=/dev/vda');
    const memmap = u64(40) - gpa;
    const entries = Array.from({ length: view.getUint32(48, true) }, (_, index) => ({
      base: u64(memmap + 24 * index),
      length: u64(memmap + 24 * index + 8),
      type: view.getUint32(memmap + 24 * index + 16, true),
    }));
    expect(entries).toEqual(plan.e820);
    expect(entries.at(-1)).toEqual({ base: MIB, length: 63 * MIB, type: 1 });
  });

  it('says that there is no module without an initrd', () => {
    const bare = pvh({ kernel: pvhKernel(0x1000010, 8) }).plan(machine(64 * MIB));
    const info = bare.regions.find(({ name }) => name === 'start-info');
    const view = new DataView(info?.bytes.buffer ?? new ArrayBuffer(0));
    expect(view.getUint32(12, true)).toBe(0);
    expect(view.getBigUint64(16, true)).toBe(0n);
  });

  it('puts its structures elsewhere when the kernel lies in low memory', () => {
    const description = Uint8Array.of(0, 0x60, 0, 0);
    const kernel = elf({
      segments: [{ paddr: 0x6000, bytes: new Uint8Array(0x99000).fill(1) }],
      notes: [{ name: 'Xen', type: 18, description }],
    });
    const low = pvh({ kernel }).plan(machine(64 * MIB));
    expect(low.regions.find(({ name }) => name === 'gdt')?.gpa).toBe(0x100000);
  });
});

describe('pvh, refusals', () => {
  const refuse = (kernel: Uint8Array, ramSize = 64 * MIB, more = {}) => {
    return () => pvh({ kernel, ...more }).plan(machine(ramSize));
  };

  it.each(['sev', 'sev-es', 'sev-snp'] as const)('SEV-05: refuses %s, says why', (protection) => {
    expect(() => pvh({ kernel: pvhKernel() }).plan(machine(64 * MIB, { protection }))).toThrow(
      new RegExp(`can't work under ${protection}: .*C-bit`),
    );
  });

  it('refuses kernels without a usable entry', () => {
    const segments = [{ paddr: 0x100000, bytes: new Uint8Array(16) }];
    expect(refuse(elf({ segments }))).toThrow(/no PVH entry point/);
    const xen = { name: 'Xen', type: 5, description: new Uint8Array(4) };
    expect(refuse(elf({ segments, notes: [xen] }))).toThrow(/no PVH entry point/);
    expect(refuse(pvhKernel(0x1000010, 12))).toThrow(/note has 12 bytes/);
    expect(refuse(pvhKernel(0x5000))).toThrow(/entry 0x5000 is outside/);
    expect(refuse(pvhKernel().subarray(0, 300))).toThrow(/truncated/);
  });

  it('refuses segments outside of memory or over each other, before it allocates for them', () => {
    const note = { name: 'Xen', type: 18, description: Uint8Array.of(0, 0, 0x10, 0) };
    const kernel = (paddr: number, memorySize: number) =>
      elf({
        segments: [
          { paddr: 0x100000, bytes: new Uint8Array(16) },
          { paddr, bytes: new Uint8Array(16), memorySize },
        ],
        notes: [note],
      });
    expect(refuse(kernel(0x100008, 16))).toThrow(/segment 0 .* overlaps kernel segment 1/);
    expect(refuse(kernel(0x200000, 2 ** 51))).toThrow(/segment 1 .* does not fit into 64 MiB/);
    expect(refuse(kernel(2 ** 40, 16))).toThrow(/does not fit into 64 MiB/);
  });

  it('names sizes when the initrd does not fit', () => {
    expect(refuse(pvhKernel(), 32 * MIB, { initrd: new Uint8Array(40 * MIB) })).toThrow(
      /initrd \(40 MiB\) does not fit .* 32 MiB of memory/,
    );
  });
});
