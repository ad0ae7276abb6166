// The small guests, by every entry that takes something other than Linux; and that the committed
// images are what their sources give.
import { statSync } from 'node:fs';
import { flat, kernelSource, multiboot, pvh } from '@cloister/core/boot';
import { describe, expect, test } from 'vitest';
import { buildGuest, GUESTS, guestPath, whyNoTools } from './build.mjs';
import { guestImage, runGuest } from './run-guest.js';

const SIZE_MAX = 4096;

describe('entries', () => {
  test('flat, real mode: a boot sector, known by its signature', async () => {
    const { text, end } = await runGuest(kernelSource({ kernel: guestImage('real-mode.bin') }));
    expect(text).toBe('real mode, drive 80\r\n');
    expect(end).toMatchObject({ reason: 'debug-exit', status: 7 });
  });

  test('flat, protected mode', async () => {
    const image = guestImage('protected-mode.bin');
    const { text, end } = await runGuest(flat({ image, mode: 'protected' }));
    expect(text).toBe('protected mode, fibonacci(20) = 6765\r\n');
    expect(end).toMatchObject({ reason: 'power-off', status: 0 });
  });

  test('flat, long mode, with registers', async () => {
    const image = guestImage('long-mode.bin');
    const source = flat({ image, mode: 'long', registers: { rdi: 1_000_000n } });
    const { text, end } = await runGuest(source);
    expect(text).toBe('long mode, rdi = 1000000, its square root = 1000\r\n');
    expect(end).toMatchObject({ reason: 'power-off', status: 0 });
  });

  test('Multiboot, with command line and module', async () => {
    const source = multiboot({
      kernel: guestImage('multiboot.elf'),
      append: 'quiet splash',
      initrd: new TextEncoder().encode('the module\n'),
    });
    const { text, end } = await runGuest(source);
    expect(text).toBe('multiboot, command line: kernel quiet splash\r\nmodule: the module\n');
    expect(end).toMatchObject({ reason: 'power-off', status: 0 });
  });

  test('Multiboot, without', async () => {
    const { text } = await runGuest(multiboot({ kernel: guestImage('multiboot.elf') }));
    expect(text).toBe('multiboot, command line: kernel\r\n');
  });

  test('PVH', async () => {
    const source = pvh({ kernel: guestImage('pvh.elf'), append: 'one two' });
    const { text, end } = await runGuest(source);
    expect(text).toMatch(/^pvh, command line: one two, memory map entries: [1-9]\d*\r\n$/);
    expect(end).toMatchObject({ reason: 'power-off', status: 0 });
  });

  test.each(['protected', 'long'] as const)('UD2 without an IDT in %s mode', async (mode) => {
    const image = Uint8Array.of(0x0f, 0x0b);
    const { end } = await runGuest(flat({ image, mode }));
    expect(end).toMatchObject({ reason: 'triple-fault' });
  });
});

describe('images', () => {
  test.each(GUESTS)(`$image has at most ${SIZE_MAX} bytes`, ({ image }) => {
    expect(statSync(guestPath(image)).size).toBeLessThanOrEqual(SIZE_MAX);
  });

  const reason = whyNoTools();
  for (const guest of GUESTS) {
    const title = `${guest.image} is what ${guest.source} gives`;
    test.skipIf(reason !== null)(reason === null ? title : `${title} (${reason})`, () => {
      expect(buildGuest(guest).equals(guestImage(guest.image))).toBe(true);
    });
  }
});
