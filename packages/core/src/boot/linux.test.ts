// Linux by both entries: registers, page tables as a processor walks them, boot_params, refusals.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { acpiTables } from '../acpi/tables.js';
import { isVmmError, VmmError } from '../interfaces/error.js';
import type { LaunchPlan } from '../interfaces/launch-plan.js';
import { linux } from './linux.js';
import { GIB, MIB } from './memory-layout.js';
import { bzImage, machine } from './synthetic-kernels.js';

function region(plan: LaunchPlan, name: string) {
  const found = plan.regions.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no region ${name}`);
  const { gpa, bytes } = found;
  return { gpa, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

function bootCpu(plan: LaunchPlan) {
  const state = plan.vcpus.get(0);
  if (state === undefined) throw new Error('no boot CPU');
  return state;
}

/** Walks 4-level tables of the plan as a processor would, ignoring the C-bit. */
function translate(plan: LaunchPlan, address: number, cBit: number | null) {
  const tables = region(plan, 'page-tables');
  const mask = ~((1n << 12n) - 1n) & ~(cBit === null ? 0n : 1n << BigInt(cBit)) & ~(1n << 63n);
  let base = bootCpu(plan).cr3 & mask;
  for (const shift of [39n, 30n, 21n]) {
    const index = Number((BigInt(address) >> shift) & 511n);
    const entry = tables.view.getBigUint64(Number(base) - tables.gpa + index * 8, true);
    if ((entry & 1n) === 0n) return { gpa: null, encrypted: false };
    if (cBit !== null && (entry & (1n << BigInt(cBit))) === 0n) throw new Error('no C-bit');
    if ((entry & 0x80n) !== 0n) {
      const offset = BigInt(address) & ((1n << shift) - 1n);
      return { gpa: Number((entry & mask & ~((1n << shift) - 1n)) | offset), encrypted: true };
    }
    base = entry & mask;
  }
  throw new Error('no leaf');
}

describe('linux, 64-bit entry', () => {
  const initrd = new Uint8Array(10_000).fill(7);
  const acpi = acpiTables({ cpus: 1 });
  const pc = machine(256 * MIB, { acpi });
  const plan = linux({ kernel: bzImage(), initrd, append: 'console=ttyS0 quiet' }).plan(pc);

  it('enters the code at 0x200 in long mode with RSI at boot_params', () => {
    const state = bootCpu(plan);
    expect(plan.entry).toBe('linux64');
    expect(state.rip).toBe(0x1000200n);
    expect(state.gpr.rsi).toBe(BigInt(region(plan, 'boot-params').gpa));
    expect(state.cr0 & 0x80000001n).toBe(0x80000001n);
    expect(state.cr4).toBe(0x20n);
    expect(state.efer).toBe(0x500n);
    expect(state.cs).toMatchObject({ selector: 0x10, attributes: 0xa9b });
    expect(state.ds).toMatchObject({ selector: 0x18, attributes: 0xc93, limit: 0xffffffff });
    expect(state.rflags).toBe(2n);
  });

  it('gives a GDT that says what the segment registers hold', () => {
    const gdt = region(plan, 'gdt');
    expect(bootCpu(plan).gdtr.base).toBe(BigInt(gdt.gpa));
    expect(gdt.view.getBigUint64(0x10, true)).toBe(0x00af9b000000ffffn);
    expect(gdt.view.getBigUint64(0x18, true)).toBe(0x00cf93000000ffffn);
    expect(gdt.view.getBigUint64(0x20, true)).toBe(0x00008b0000000067n);
  });

  it('maps the first 4 GiB to themselves and nothing above', () => {
    for (const address of [0, 0x7000, 0x1000200, 0x7fffffff, 0xfee00000, 4 * GIB - 1]) {
      expect(translate(plan, address, null).gpa).toBe(address);
    }
    expect(translate(plan, 4 * GIB, null).gpa).toBeNull();
  });

  it.each([47, 51])('sets C-bit %i in CR3 and in every entry of every level', (cBit) => {
    const sealed = linux({ kernel: bzImage() }).plan(
      machine(256 * MIB, { cBit, protection: 'sev' }),
    );
    expect(bootCpu(sealed).cr3 >> BigInt(cBit)).toBe(1n);
    const { view, bytes } = region(sealed, 'page-tables');
    for (let at = 0; at < bytes.length; at += 8) {
      const entry = view.getBigUint64(at, true);
      if (entry !== 0n) expect(entry >> BigInt(cBit)).toBe(1n);
    }
    expect(translate(sealed, 0x1000200, cBit).gpa).toBe(0x1000200);
  });

  it('fills boot_params', () => {
    const { view } = region(plan, 'boot-params');
    const disk = region(plan, 'initrd');
    const line = region(plan, 'command-line');
    expect(view.getUint32(0x202, true)).toBe(0x53726448);
    expect(view.getUint8(0x210)).toBe(0xff);
    expect(view.getUint8(0x211) & 1).toBe(1);
    expect(view.getUint32(0x214, true)).toBe(0x1000000);
    expect(view.getUint32(0x218, true)).toBe(disk.gpa);
    expect(view.getUint32(0x21c, true)).toBe(initrd.length);
    expect(view.getUint32(0x228, true)).toBe(line.gpa);
    expect(Number(view.getBigUint64(0x70, true))).toBe(acpi.rsdp);
    expect(view.getUint8(0x1ef)).toBe(0);
    expect(new TextDecoder().decode(line.bytes.subarray(0, 20))).toBe('console=ttyS0 quiet\0');
    expect(disk.bytes.subarray(0, initrd.length)).toEqual(initrd);
    const entries = Array.from({ length: view.getUint8(0x1e8) }, (_, index) => ({
      base: Number(view.getBigUint64(0x2d0 + 20 * index, true)),
      length: Number(view.getBigUint64(0x2d8 + 20 * index, true)),
      type: view.getUint32(0x2e0 + 20 * index, true),
    }));
    expect(entries).toEqual([
      { base: 0, length: 0x9fc00, type: 1 },
      { base: 0x9fc00, length: 0xe0000 - 0x9fc00, type: 2 },
      { base: 0xe0000, length: 0x1000, type: 3 },
      { base: 0xe1000, length: 0x1f000, type: 2 },
      { base: 0x100000, length: 255 * MIB, type: 1 },
    ]);
    expect(plan.e820).toEqual(entries);
  });

  it('puts every region on pages of its own, so that it can be measured', () => {
    for (const { gpa, bytes } of plan.regions) {
      expect(gpa % 4096).toBe(0);
      expect(bytes.length % 4096).toBe(0);
    }
    const sorted = [...plan.regions].sort((a, b) => a.gpa - b.gpa);
    for (const [index, next] of sorted.slice(1).entries()) {
      const before = sorted[index];
      expect((before?.gpa ?? 0) + (before?.bytes.length ?? 0)).toBeLessThanOrEqual(next.gpa);
    }
  });

  it('gives the same plan for the same machine', () => {
    expect(linux({ kernel: bzImage(), initrd, append: 'console=ttyS0 quiet' }).plan(pc)).toEqual(
      plan,
    );
  });
});

describe('linux, 32-bit entry', () => {
  it('enters the code at 0 in protected mode, paging off, ESI at boot_params', () => {
    const plan = linux({ kernel: bzImage({ xloadflags: 0 }), entry: 32 }).plan(machine(64 * MIB));
    const state = bootCpu(plan);
    expect(plan.entry).toBe('linux32');
    expect(state.rip).toBe(0x1000000n);
    expect(state.gpr.rsi).toBe(BigInt(region(plan, 'boot-params').gpa));
    expect(state.cr0).toBe(0x11n);
    expect(state.cr3).toBe(0n);
    expect(state.efer).toBe(0n);
    expect(state.cs).toMatchObject({ selector: 0x10, attributes: 0xc9b, limit: 0xffffffff });
    expect(plan.regions.map(({ name }) => name)).not.toContain('page-tables');
  });

  it('loads a kernel of protocol 2.06 at 1 MiB, setup_sects 0 meaning 4', () => {
    const kernel = bzImage({ version: 0x206, setupSects: 0, prefAddress: 0n, xloadflags: 0 });
    const plan = linux({ kernel, entry: 32 }).plan(machine(16 * MIB));
    const { gpa, bytes } = region(plan, 'kernel');
    expect(gpa).toBe(0x100000);
    expect(bytes[0]).toBe(kernel[5 * 512]);
  });
});

describe('linux, placement', () => {
  it('moves a relocatable kernel to the next aligned address', () => {
    const kernel = bzImage({ prefAddress: 0x1234000n, alignment: 0x200000 });
    expect(region(linux({ kernel }).plan(machine(64 * MIB)), 'kernel').gpa).toBe(0x1400000);
    const fixed = bzImage({ prefAddress: 0x1234000n, relocatable: 0 });
    expect(region(linux({ kernel: fixed }).plan(machine(64 * MIB)), 'kernel').gpa).toBe(0x1234000);
  });

  it('keeps the initrd below initrd_addr_max, and takes RAM above 4 GiB where allowed', () => {
    const initrd = new Uint8Array(8 * MIB);
    const low = bzImage({ initrdAddrMax: 0x37ffffff });
    const plan = linux({ kernel: low, initrd }).plan(machine(2 * GIB));
    expect(region(plan, 'initrd').gpa + initrd.length).toBe(0x38000000);

    const tight = { initrdAddrMax: 0x1ffffff, initSize: 0xf00000 };
    const high = linux({ kernel: bzImage(tight), initrd: new Uint8Array(16 * MIB) });
    const above = high.plan(machine(4 * GIB));
    expect(region(above, 'initrd').gpa).toBe(5 * GIB - 16 * MIB);
    const { view } = region(above, 'boot-params');
    expect(view.getUint32(0xc0, true)).toBe(1);
    expect(view.getUint32(0x218, true)).toBe(GIB - 16 * MIB);
    const not = bzImage({ ...tight, xloadflags: 1 });
    expect(() =>
      linux({ kernel: not, initrd: new Uint8Array(16 * MIB) }).plan(machine(4 * GIB)),
    ).toThrow(/initrd \(16 MiB\) does not fit/);
  });
});

describe('linux, bad input', () => {
  const refuse = (kernel: Uint8Array, ramSize = 64 * MIB, more = {}) => {
    try {
      linux({ kernel, ...more }).plan(machine(ramSize));
    } catch (error) {
      if (!isVmmError(error)) throw error;
      return `${(error as VmmError).code}: ${(error as VmmError).message}`;
    }
    return 'accepted';
  };
  const patched = (at: number, ...bytes: number[]) => {
    const file = bzImage();
    file.set(bytes, at);
    return file;
  };

  it('names the cause', () => {
    const whole = bzImage();
    expect(refuse(new Uint8Array(0))).toMatch(/^invalid-file: .*too short/);
    expect(refuse(whole.subarray(0, whole.length - 1))).toMatch(/^invalid-file: .*truncated/);
    expect(refuse(whole.subarray(0, 700))).toMatch(/^invalid-file: .*truncated/);
    expect(refuse(patched(0x1fe, 0))).toMatch(/^invalid-file: .*boot flag is 0xaa00/);
    expect(refuse(patched(0x202, 0x58))).toMatch(/^invalid-file: .*HdrS/);
    expect(refuse(patched(0x206, 5, 2))).toMatch(/^unsupported: .*2\.05 is older/);
    expect(refuse(patched(0x211, 0))).toMatch(/^unsupported: .*zImage/);
    expect(refuse(patched(0x236, 0))).toMatch(/^unsupported: .*64-bit entry/);
    expect(refuse(patched(0x1f4, 0, 0, 0, 0))).toMatch(/^invalid-file: .*no protected-mode code/);
    expect(refuse(patched(0x201, 0))).toMatch(/^invalid-file: .*setup header/);
    expect(refuse(patched(0x230, 3))).toMatch(/^invalid-file: .*power of two/);
    expect(refuse(patched(0x25c, 1))).toMatch(/^invalid-file: .*beyond 4 GiB/);
    expect(refuse(patched(0x248, 0xff, 0xff, 0xff, 0xff))).toMatch(/^invalid-file: .*payload/);
  });

  it('names sizes where things do not fit', () => {
    expect(refuse(bzImage(), 16 * MIB)).toBe(
      'invalid-config: kernel (4 MiB at 0x1000000) does not fit into 16 MiB of memory',
    );
    expect(refuse(bzImage(), 32 * MIB, { initrd: new Uint8Array(20 * MIB) })).toBe(
      'invalid-config: initrd (20 MiB) does not fit beside the kernel (4 MiB at 0x1000000) ' +
        'into 32 MiB of memory',
    );
    expect(refuse(bzImage(), 64 * MIB, { append: 'x'.repeat(2048) })).toMatch(
      /command line has 2048 bytes; this kernel takes at most 2047/,
    );
    expect(refuse(bzImage(), 64 * MIB, { append: 'a\0b' })).toMatch(/NUL/);
    expect(refuse(bzImage(), 64 * MIB, { append: 'x'.repeat(2047) })).toBe('accepted');
  });

  it('throws nothing but VmmError on damaged headers', () => {
    const damage = fc.array(fc.tuple(fc.integer({ min: 0x1f0, max: 0x270 }), fc.nat(255)), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(damage, fc.constantFrom(64 as const, 32 as const), (bytes, entry) => {
        const kernel = bzImage();
        for (const [at, value] of bytes) kernel[at] = value;
        try {
          linux({ kernel, entry, initrd: new Uint8Array(5000) }).plan(machine(64 * MIB));
        } catch (error) {
          expect(error).toBeInstanceOf(VmmError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
