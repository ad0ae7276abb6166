// The SEV-aware guest by each of its entries; and that the committed image is what its sources
// give.
import { readFileSync } from 'node:fs';
import type { BootSource, VmPlugin } from '@cloister/core';
import { linux } from '@cloister/core/boot';
import { sev, sevEs } from '@cloister/sev/launch';
import { virtioMmio, virtioRng } from '@cloister/virtio';
import { describe, expect, test } from 'vitest';
import { runGuest } from '../guests/run-guest.js';
import { buildGuest, GUEST_IMAGE, whyNoCompiler } from './build.mjs';
import { compatEntry } from './compat-entry.js';

const image = readFileSync(GUEST_IMAGE);

const ENTRIES: Record<string, (append?: string) => BootSource> = {
  '64-bit mode': (append) => linux({ kernel: image, append, entry: 64 }),
  '32-bit protected mode': (append) => linux({ kernel: image, append, entry: 32 }),
  'compatibility mode': (append) => compatEntry(image, append),
};

/** With a virtio device, so that there is something to bounce for. */
async function run(source: BootSource, protection: VmPlugin[] = []) {
  const { text, end, faults } = await runGuest(
    source,
    { memory: '32M' },
    virtioMmio(),
    virtioRng(),
    ...protection,
  );
  return { lines: text.split('\r\n'), text, end, faults };
}

const checks = (lines: readonly string[], result: string) =>
  lines
    .filter((line) => line.startsWith('check ') && line.includes(`: ${result}`))
    .map((line) => line.slice(6, line.indexOf(':')));

const PROTECTIONS: Record<string, () => VmPlugin[]> = {
  none: () => [],
  SEV: () => [sev({ platform: { seed: '1' } })],
  'SEV SEV-ES': () => [sevEs({ platform: { seed: '1' } })],
};

describe.each(Object.keys(PROTECTIONS))('protection %s', (protection) => {
  const plugins = PROTECTIONS[protection]!;

  test.each(Object.keys(ENTRIES))('entered by %s: every check', async (entry) => {
    const { lines, text, end } = await run(ENTRIES[entry]!(), plugins());
    expect(end, text).toMatchObject({ reason: 'power-off' });
    expect(lines).toContain(`Cloister guest, entered by ${entry}`);
    expect(text).toMatch(new RegExp(`^protection: ${protection}(, C-bit 51|\r)`, 'm'));
    expect(lines).toContain('memory: 32 MiB');
    expect(checks(lines, 'FAILED'), text).toEqual([]);
    expect(checks(lines, 'skipped')).toEqual(['private-dma']);
    expect(checks(lines, 'ok').length).toBe(12);
    // ES-19: the handler that comes first is there, and nobody calls it.
    expect(lines).toContain('tentative #VC: 0');
    expect(text).not.toContain('#VC by kind');
    if (entry === 'compatibility mode') expect(text).toMatch(/CPUID of 32-bit code: 0x80000\d\d\d/);
  });

  test('does what its command line asks', async () => {
    const { text, end } = await run(ENTRIES['64-bit mode']!('checks=cpuid,io outs=30'), plugins());
    expect(end.reason, text).toBe('power-off');
    expect(text).toContain('command line: checks=cpuid,io outs=30\r\n');
    expect(text.match(/^check .*$/gm)?.length).toBe(2);
    expect(text).toMatch(
      /^abcdefghijklmnopqrstuvwxyzabcd\r\nouts: 30 plain, #VC 0, TSC ticks \d+/m,
    );
  });
});

describe('image', () => {
  const reason = whyNoCompiler();
  const title = 'guest.bin is what its sources give';
  test.skipIf(reason !== null)(reason === null ? title : `${title} (${reason})`, () => {
    expect(buildGuest().equals(image)).toBe(true);
  });
});
