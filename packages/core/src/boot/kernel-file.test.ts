// Telling kernel files apart, and choosing the boot source; any file, any entry.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmmError } from '../interfaces/error.js';
import { detect, type KernelEntry, kernelSource } from './kernel-file.js';
import { MIB } from './memory-layout.js';
import { bzImage, elf, machine, multibootHeader, pvhKernel } from './synthetic-kernels.js';

const multibootElf = elf({
  bits: 32,
  entry: 0x100000n,
  segments: [{ paddr: 0x100000, bytes: multibootHeader(0) }],
});
const plainElf = elf({ segments: [{ paddr: 0x100000, bytes: new Uint8Array(8) }] });
const bootSector = new Uint8Array(512);
bootSector.set([0x55, 0xaa], 510);

const files: readonly (readonly [string, Uint8Array, string, KernelEntry | null])[] = [
  ['a 64-bit bzImage', bzImage(), 'bzimage', '64'],
  ['a 32-bit bzImage', bzImage({ xloadflags: 0 }), 'bzimage', '32'],
  ['a truncated bzImage', bzImage().subarray(0, 0x300), 'bzimage', '64'],
  ['an ELF with a PVH note', pvhKernel(), 'elf-pvh', 'pvh'],
  ['an ELF with a Multiboot header', multibootElf, 'elf-multiboot', 'multiboot'],
  ['a raw Multiboot file', multibootHeader(1 << 16, [0, 0, 0, 0, 0]), 'multiboot', 'multiboot'],
  ['an ELF without either', plainElf, 'elf', null],
  ['a truncated ELF', pvhKernel().subarray(0, 100), 'elf', null],
  ['a boot sector', bootSector, 'boot-sector', 'flat'],
  ['gzip data', Uint8Array.of(0x1f, 0x8b, 8), 'compressed', null],
  ['an empty file', new Uint8Array(0), 'unknown', null],
  ['text', new TextEncoder().encode('#!/bin/sh\n'), 'unknown', null],
];

describe('detect', () => {
  it.each(files)('knows %s', (_, file, kind, entry) => {
    expect(detect(file)).toMatchObject({ kind, entry });
  });

  it('never throws', () => {
    const seeds = files.map(([, file]) => file);
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { maxLength: 5 }),
        fc.nat(800),
        (seed, damage, length) => {
          const file = seed.slice(0, length);
          for (const [at, value] of damage) if (at < file.length) file[at] = value;
          expect(detect(file).description).not.toBe('');
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('kernelSource', () => {
  it('takes the entry from the file, or as it is told', () => {
    const name = (kernel: Uint8Array, entry?: KernelEntry) => kernelSource({ kernel, entry }).name;
    expect(name(bzImage())).toBe('linux64');
    expect(name(bzImage(), '32')).toBe('linux32');
    expect(name(pvhKernel())).toBe('pvh');
    expect(name(multibootElf)).toBe('multiboot');
    expect(name(bootSector)).toBe('flat');
    expect(name(new Uint8Array(3), 'flat')).toBe('flat');
  });

  it('passes on what a flat binary needs', () => {
    const source = kernelSource({
      kernel: Uint8Array.of(0xf4),
      entry: 'flat',
      flat: { mode: 'long', loadAddress: 0x200000 },
    });
    expect(source.plan(machine(4 * MIB)).vcpus.get(0)?.rip).toBe(0x200000n);
  });

  it('says what is wrong with a file that it cannot enter', () => {
    expect(() => kernelSource({ kernel: plainElf })).toThrow(/ELF without a PVH entry/);
    expect(() => kernelSource({ kernel: pvhKernel().subarray(0, 100) })).toThrow(/truncated/);
    expect(() => kernelSource({ kernel: Uint8Array.of(0x1f, 0x8b) })).toThrow(/gzip data/);
    expect(() => kernelSource({ kernel: bzImage(), entry: 'efi' as KernelEntry })).toThrow(
      /unknown entry "efi"/,
    );
  });

  it('throws nothing but VmmError, whatever the file and the entry', () => {
    const entries = [undefined, '64', '32', 'pvh', 'multiboot', 'flat'] as const;
    fc.assert(
      fc.property(
        fc.constantFrom(...files.map(([, file]) => file)),
        fc.constantFrom(...entries),
        fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { maxLength: 5 }),
        (seed, entry, damage) => {
          const kernel = seed.slice();
          for (const [at, value] of damage) if (at < kernel.length) kernel[at] = value;
          try {
            kernelSource({ kernel, entry, initrd: new Uint8Array(10) }).plan(machine(32 * MIB));
          } catch (error) {
            expect(error).toBeInstanceOf(VmmError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
