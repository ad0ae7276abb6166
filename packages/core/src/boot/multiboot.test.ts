// Multiboot kernels: the information structure as a kernel reads it, both ways to load, refusals.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmmError } from '../interfaces/error.js';
import type { LaunchPlan } from '../interfaces/launch-plan.js';
import { GIB, MIB } from './memory-layout.js';
import { multiboot } from './multiboot.js';
import { elf, machine, multibootHeader } from './synthetic-kernels.js';

function at(plan: LaunchPlan, name: string) {
  const region = plan.regions.find((candidate) => candidate.name === name);
  if (region === undefined) throw new Error(`no region ${name}`);
  return region;
}

/** What a kernel sees through EBX. */
function information(plan: LaunchPlan) {
  const { gpa, bytes } = at(plan, 'multiboot-info');
  const view = new DataView(bytes.buffer);
  expect(plan.vcpus.get(0)?.gpr.rbx).toBe(BigInt(gpa));
  const u32 = (offset: number) => view.getUint32(offset, true);
  const text = (address: number) => {
    const start = address - gpa;
    return new TextDecoder().decode(bytes.subarray(start, bytes.indexOf(0, start)));
  };
  const modulesAt = u32(24) - gpa;
  const modules = Array.from({ length: u32(20) }, (_, index) => ({
    start: u32(modulesAt + 16 * index),
    end: u32(modulesAt + 16 * index + 4),
    string: text(u32(modulesAt + 16 * index + 8)),
  }));
  const map: { base: number; length: number; type: number }[] = [];
  for (let offset = u32(48) - gpa; offset < u32(48) - gpa + u32(44); offset += u32(offset) + 4) {
    map.push({
      base: Number(view.getBigUint64(offset + 4, true)),
      length: Number(view.getBigUint64(offset + 12, true)),
      type: u32(offset + 20),
    });
  }
  return { flags: u32(0), lower: u32(4), upper: u32(8), text, u32, modules, map };
}

const elfKernel = elf({
  bits: 32,
  entry: 0xc0200010n,
  segments: [
    {
      paddr: 0x200000,
      vaddr: 0xc0200000n,
      bytes: Uint8Array.of(...multibootHeader(3), ...new Array<number>(20).fill(0x90)),
    },
    { paddr: 0x201800, bytes: Uint8Array.of(1, 2, 3), memorySize: 0x900, flags: 6 },
  ],
});

/** A file of 100 junk bytes, the header at 104, and code; linked at 1 MiB from byte 100 on. */
function addressed(change: Partial<Record<'header' | 'start' | 'end' | 'bss' | 'entry', number>>) {
  const file = new Uint8Array(400).fill(0x90);
  const fields = { header: 0x100004, start: 0x100000, end: 0, bss: 0, entry: 0x100030, ...change };
  file.set(
    multibootHeader(1 << 16, [fields.header, fields.start, fields.end, fields.bss, fields.entry]),
    104,
  );
  return file;
}

describe('multiboot', () => {
  const initrd = Uint8Array.of(5, 6, 7);
  const extra = { bytes: new Uint8Array(5000).fill(8), string: 'second arg' };
  const options = { kernel: elfKernel, initrd, append: 'a b', modules: [extra] };
  const plan = multiboot(options).plan(machine(64 * MIB));

  it('enters as the specification says, the ELF entry moved to where it is loaded', () => {
    const state = plan.vcpus.get(0);
    expect(plan.entry).toBe('multiboot');
    expect(state?.gpr.rax).toBe(0x2badb002n);
    expect(state?.rip).toBe(0x200010n);
    expect(state?.cr0).toBe(0x11n);
    expect(state?.cs).toMatchObject({ attributes: 0xc9b, limit: 0xffffffff });
    expect(state?.rflags).toBe(2n);
  });

  it('loads the whole kernel as pages, gaps and bss as zeros', () => {
    const kernel = at(plan, 'kernel');
    expect(kernel.gpa).toBe(0x200000);
    expect(kernel.bytes.length).toBe(0x3000);
    expect([...kernel.bytes.subarray(0x1800, 0x1804)]).toEqual([1, 2, 3, 0]);
    expect(kernel.bytes[12]).toBe(0x90);
    for (const { gpa, bytes } of plan.regions)
      expect([gpa % 4096, bytes.length % 4096]).toEqual([0, 0]);
  });

  it('gives memory, command line, modules and loader name', () => {
    const info = information(plan);
    expect(info.flags & 0b1001001101).toBe(0b1001001101);
    expect(info.lower).toBe(639);
    expect(info.upper).toBe(63 * 1024);
    expect(info.text(info.u32(16))).toBe('kernel a b');
    expect(info.text(info.u32(64))).toBe('cloister');
    const first = at(plan, 'initrd').gpa;
    const second = at(plan, 'module 1').gpa;
    expect(info.modules).toEqual([
      { start: first, end: first + 3, string: 'initrd' },
      { start: second, end: second + 5000, string: 'second arg' },
    ]);
    expect(first).toBe(0x203000);
    expect(second).toBe(0x204000);
    expect(info.map).toEqual(plan.e820);
  });

  it('uses the names it is given and copes with none of the optional parts', () => {
    const named = multiboot({ kernel: elfKernel, kernelName: 'k.elf', initrd, initrdName: 'i' });
    const info = information(named.plan(machine(5 * GIB)));
    expect(info.text(info.u32(16))).toBe('k.elf');
    expect(info.modules[0]?.string).toBe('i');
    expect(info.upper).toBe((3 * GIB - MIB) / 1024);
    expect(information(multiboot({ kernel: elfKernel }).plan(machine(8 * MIB))).modules).toEqual(
      [],
    );
  });

  it('loads by the address fields of the header', () => {
    const all = multiboot({ kernel: addressed({ bss: 0x105000 }) }).plan(machine(8 * MIB));
    expect(all.vcpus.get(0)?.rip).toBe(0x100030n);
    expect(at(all, 'kernel').gpa).toBe(0x100000);
    expect(at(all, 'kernel').bytes.length).toBe(0x5000);
    expect([...at(all, 'kernel').bytes.subarray(299, 301)]).toEqual([0x90, 0]);
    const part = multiboot({ kernel: addressed({ end: 0x100040 }) }).plan(machine(8 * MIB));
    expect([...at(part, 'kernel').bytes.subarray(0x3f, 0x41)]).toEqual([0x90, 0]);
  });
});

describe('multiboot, refusals', () => {
  const refuse = (kernel: Uint8Array, ramSize = 8 * MIB, more = {}) => {
    return () => multiboot({ kernel, ...more }).plan(machine(ramSize));
  };

  it('names what is wrong with the file', () => {
    const header = multibootHeader(3);
    expect(refuse(new Uint8Array(20_000))).toThrow(/no header in the first 8192 bytes/);
    const late = new Uint8Array(10_000);
    late.set(header, 8192 - 8);
    expect(refuse(late)).toThrow(/no header/);
    const odd = new Uint8Array(100);
    odd.set(header, 6);
    expect(refuse(odd)).toThrow(/no header/);
    expect(refuse(header)).toThrow(/no magic/);
    expect(refuse(multibootHeader(0x23))).toThrow(/unknown requirements 0x20/);
    const wide = elf({ bits: 64, segments: [{ paddr: 0x100000, bytes: header }] });
    expect(refuse(wide)).toThrow(/32-bit x86 ELF files only/);
    expect(refuse(multibootHeader(1 << 16))).toThrow(/truncated within its header/);
    expect(refuse(addressed({ header: 0xffff0 }))).toThrow(/beyond the header/);
    expect(refuse(addressed({ header: 0x101000 }))).toThrow(/beyond the header/);
    expect(refuse(addressed({ end: 0xfffff }))).toThrow(/below the load address/);
    expect(refuse(addressed({ end: 0x101000 }))).toThrow(/truncated/);
    expect(refuse(addressed({ bss: 0x100010 }))).toThrow(/bss end/);
    expect(refuse(addressed({ entry: 0x90000 }))).toThrow(/entry point 0x90000 is outside/);
  });

  it('names sizes where things do not fit', () => {
    expect(refuse(elfKernel, 2 * MIB)).toThrow(/kernel \(12 KiB at 0x200000\) does not fit/);
    expect(refuse(elfKernel, 8 * MIB, { initrd: new Uint8Array(7 * MIB) })).toThrow(
      /initrd \(7 MiB\) does not fit above the kernel into 8 MiB/,
    );
    expect(refuse(addressed({ bss: 0xfffff000 }))).toThrow(/does not fit into 8 MiB/);
  });

  it('throws nothing but VmmError on damaged files', () => {
    const damage = fc.array(fc.tuple(fc.nat(0x90), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(damage, fc.boolean(), (bytes, isElf) => {
        const kernel = isElf ? elfKernel.slice() : addressed({});
        for (const [at, value] of bytes) kernel[at] = value;
        try {
          multiboot({ kernel }).plan(machine(8 * MIB));
        } catch (error) {
          expect(error).toBeInstanceOf(VmmError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
