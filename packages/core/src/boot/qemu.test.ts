/**
 * Boot sources against another emulator: QEMU gets a plan's bytes and register state, and a guest
 * of a few instructions follows what it was handed (boot_params, start info, multiboot information)
 * to the letter U of its command line, which it writes to the debug-exit port.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BootSource } from '../interfaces/launch-plan.js';
import { entryTrampoline } from './entry-trampoline.js';
import { flat } from './flat.js';
import { linux } from './linux.js';
import { MIB } from './memory-layout.js';
import { multiboot } from './multiboot.js';
import { pvh } from './pvh.js';
import { bzImage, elf, machine, multibootHeader } from './synthetic-kernels.js';

const QEMU = 'qemu-system-x86_64';
const available = spawnSync(QEMU, ['--version']).status === 0;
const MEMORY = 64;

/** out 0xf4, al; hlt */
const EXIT = [0xe6, 0xf4, 0xf4];
const LETTER = 'U'.charCodeAt(0);

/** QEMU's exit status after running `source`: `(letter << 1) | 1`, or 0 after a triple fault. */
function run(source: BootSource): number | null {
  const plan = source.plan(machine(MEMORY * MIB));
  const state = plan.vcpus.get(0);
  if (state === undefined) throw new Error('no boot CPU');
  const directory = mkdtempSync(join(tmpdir(), 'boot-'));
  try {
    const firmware = join(directory, 'firmware');
    writeFileSync(firmware, entryTrampoline(state));
    const loaders = plan.regions.flatMap(({ gpa, bytes }, index) => {
      const file = join(directory, `region-${index}`);
      writeFileSync(file, bytes);
      return ['-device', `loader,file=${file},addr=${gpa},force-raw=on`];
    });
    const fixed = ['-M', 'pc', '-accel', 'tcg', '-m', `${MEMORY}`, '-nodefaults', '-no-reboot'];
    const exit = ['-display', 'none', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1'];
    const args = [...fixed, ...exit, '-bios', firmware, ...loaders];
    return spawnSync(QEMU, args, { timeout: 15_000 }).status;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** mov ebx, [rsi + cmd_line_ptr]; mov al, [rbx]: the same bytes in 32-bit and 64-bit mode. */
const LINUX_GUEST = [0x8b, 0x9e, 0x28, 0x02, 0x00, 0x00, 0x8a, 0x03, ...EXIT];

function linuxKernel(offset: number): Uint8Array {
  const kernel = bzImage();
  kernel.set(LINUX_GUEST, 1024 + offset);
  return kernel;
}

/** push eax; pop eax; mov eax, [ebx + 24]; mov al, [eax] */
const PVH_GUEST = [0x50, 0x58, 0x8b, 0x43, 0x18, 0x8a, 0x00, ...EXIT];
const pvhKernel = elf({
  segments: [{ paddr: 0x100000, bytes: Uint8Array.from(PVH_GUEST) }],
  notes: [{ name: 'Xen', type: 18, description: Uint8Array.of(0, 0, 0x10, 0) }],
});

/** push eax; pop eax; mov eax, [ebx + 16]; mov al, [eax + 7] ("kernel U") */
const MULTIBOOT_GUEST = [0x50, 0x58, 0x8b, 0x43, 0x10, 0x8a, 0x40, 0x07, ...EXIT];
const multibootKernel = elf({
  bits: 32,
  entry: 0x20000cn,
  segments: [{ paddr: 0x200000, bytes: Uint8Array.of(...multibootHeader(3), ...MULTIBOOT_GUEST) }],
});

const sources: [string, BootSource][] = [
  ['linux64', linux({ kernel: linuxKernel(0x200), append: 'U' })],
  ['linux32', linux({ kernel: linuxKernel(0), append: 'U', entry: 32 })],
  ['pvh', pvh({ kernel: pvhKernel, append: 'U' })],
  ['multiboot', multiboot({ kernel: multibootKernel, append: 'U' })],
  // mov al, [0x7c06]
  ['flat, real', flat({ image: Uint8Array.of(0xa0, 0x06, 0x7c, ...EXIT, LETTER) })],
  [
    'flat, protected',
    // mov al, [0x100008]
    flat({ image: Uint8Array.of(0xa0, 8, 0, 0x10, 0, ...EXIT, LETTER), mode: 'protected' }),
  ],
  [
    'flat, long',
    // mov al, [rip + 3]
    flat({ image: Uint8Array.of(0x8a, 0x05, 3, 0, 0, 0, ...EXIT, LETTER), mode: 'long' }),
  ],
];

describe.skipIf(!available)('under QEMU (skipped where it is not installed)', () => {
  it.each(sources)('%s hands the guest what it expects', (_, source) => {
    expect(run(source)).toBe((LETTER << 1) | 1);
  });
});
