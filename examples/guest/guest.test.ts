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

/** What runs on vmm(4) too; no device there has registers that need MMIO. */
const OPENBSD = 'checks=cpuid,msr,time,dr7,io,string-io,mmio,vmmcall,wbinvd,timer';

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

const seeded = { platform: { seed: '1' } };
const PROTECTIONS: Record<string, () => VmPlugin[]> = {
  none: () => [],
  SEV: () => [sev(seeded)],
  'SEV SEV-ES': () => [sevEs(seeded)],
};
/** CPUIDs before there is a GHCB, by entry: each a #VC of the tentative handler. */
const TENTATIVE: Record<string, number> = {
  '64-bit mode': 4,
  '32-bit protected mode': 7,
  'compatibility mode': 5,
};
/** `#VC by kind: …` as numbers by kind. */
function vcCounts(text: string): Record<string, number> {
  const parts = /^#VC by kind: (.*)\r$/m.exec(text)?.[1]?.split(', ') ?? [];
  return Object.fromEntries(
    parts.map((part) => {
      const at = part.lastIndexOf(' ');
      return [part.slice(0, at), Number(part.slice(at + 1))];
    }),
  );
}

describe.each(Object.keys(PROTECTIONS))('protection %s', (protection) => {
  const plugins = PROTECTIONS[protection]!;
  const es = protection === 'SEV SEV-ES';

  // ES-19, ES-20: CPUID before the GHCB, by 32-bit code with paging off, by 32-bit code in long
  // mode with a 64-bit gate, and by 64-bit code; nobody calls the same handler without SEV-ES.
  test.each(Object.keys(ENTRIES))('ES-19 ES-20: entered by %s, every check', async (entry) => {
    const { lines, text, end } = await run(ENTRIES[entry]!(), plugins());
    expect(end, text).toMatchObject({ reason: 'power-off' });
    expect(lines).toContain(`Cloister guest, entered by ${entry}`);
    expect(text).toMatch(new RegExp(`^protection: ${protection}(, C-bit 51|\r)`, 'm'));
    expect(lines).toContain('memory: 32 MiB');
    expect(checks(lines, 'FAILED'), text).toEqual([]);
    expect(checks(lines, 'skipped')).toEqual(['private-dma']);
    expect(checks(lines, 'ok').length).toBe(12);
    expect(lines).toContain(`tentative #VC: ${es ? TENTATIVE[entry] : 0}`);
    if (entry === 'compatibility mode') expect(text).toMatch(/CPUID of 32-bit code: 0x80000\d\d\d/);
    const counts = vcCounts(text);
    if (es) expect(counts).toMatchObject({ VMMCALL: 1, WBINVD: 1 });
    for (const kind of ['CPUID', 'IOIO', 'MSR', 'MMIO']) {
      if (es) expect(counts[kind]).toBeGreaterThan(0);
      else expect(counts).toEqual({});
    }
  });

  test('ES-16: DR7 reads as written; under SEV-ES each is a #VC, and no other DRn is', async () => {
    const { text, end } = await run(ENTRIES['64-bit mode']!('checks=dr7'), plugins());
    expect(end.reason, text).toBe('power-off');
    expect(text).toContain('check dr7: ok (reads as written)\r\n');
    const { IOIO, ...others } = vcCounts(text);
    expect(others).toEqual(es ? { 'DR7 read': 1, 'DR7 write': 3 } : {});
  });

  test('ES-23 ES-24: what host and devices write arrives through shared pages alone', async () => {
    const { text } = await run(ENTRIES['64-bit mode']!('checks=bounce,clock'), plugins());
    expect(text).toContain('check bounce: ok (random numbers)\r\n');
    const where = 'in a shared page; noise in a private one';
    const clock = protection === 'none' ? 'in any page: no protection' : where;
    expect(text).toContain(`check clock: ok (${clock})\r\n`);
  });

  test('does what its command line asks', async () => {
    const { text, end } = await run(ENTRIES['64-bit mode']!('checks=cpuid,io outs=30'), plugins());
    expect(end.reason, text).toBe('power-off');
    expect(text).toContain('command line: checks=cpuid,io outs=30\r\n');
    expect(text.match(/^check .*$/gm)?.length).toBe(2);
    const outs = `outs: 30 plain, #VC ${es ? 30 : 0}, TSC ticks `;
    expect(text).toContain(`abcdefghijklmnopqrstuvwxyzabcd\r\n${outs}`);
  });
});

describe('under SEV-ES', () => {
  const entry = ENTRIES['64-bit mode']!;

  test('ES-22: paravirtual IN and OUT are no #VC', async () => {
    const { text, end } = await run(entry('pv=1 outs=30'), [sevEs(seeded)]);
    expect(end.reason, text).toBe('power-off');
    expect(text).toMatch(/^paravirtual IN and OUT: [1-9]\d* places\r$/m);
    expect(text).toMatch(/^outs: 30 paravirtual, #VC 0,/m);
    expect(checks(text.split('\r\n'), 'FAILED')).toEqual([]);
  });

  test('ES-21: on a host like vmm(4) it asks for nothing that it has no answer to', async () => {
    const host = { ...seeded, host: 'openbsd' } as const;
    const { text, end } = await run(entry(OPENBSD), [sevEs(host)]);
    expect(end.reason, text).toBe('power-off');
    expect(text).toContain('GHCB: protocol 1, not negotiated\r\n');
    expect(checks(text.split('\r\n'), 'ok')).toEqual(['cpuid', 'msr', 'time', 'io', 'timer']);
    const skipped = ['dr7', 'string-io', 'mmio', 'vmmcall', 'wbinvd'];
    expect(checks(text.split('\r\n'), 'skipped')).toEqual(skipped);
    expect(Object.keys(vcCounts(text)).sort()).toEqual(['CPUID', 'IOIO', 'MSR']);
  });

  // The host bears what it gets; the guest is alive afterwards. 10^6 in the full run, of 10 seeds.
  const full = process.env.CLOISTER_FULL === '1';
  test.each(full ? Array.from({ length: 10 }, (_, seed) => seed) : [1])(
    'a hostile guest with seed %d: random GHCBs, scratch areas and MSRs',
    async (seed) => {
      const count = full ? 100_000 : 2000;
      const { text, end } = await run(entry(`checks=none fuzz=${seed},${count}`), [sevEs(seeded)]);
      expect(end.reason, `${text}${end.message}`).toBe('power-off');
      expect(text).toMatch(new RegExp(`^fuzz: ${count} VMGEXITs, [1-9]\\d* refused`, 'm'));
    },
    600_000,
  );

  test.each(full ? Array.from({ length: 100 }, (_, seed) => seed) : [1, 2])(
    'one that avoids nothing, with seed %d: the machine ends, the host does not',
    async (seed) => {
      const append = `checks=none fuzz=${seed},20000 wild`;
      const { text, end } = await run(entry(append), [sevEs(seeded)]);
      const ends = ['power-off', 'debug-exit', 'error', 'reset', 'triple-fault'];
      expect(ends, `${text}${end.message}`).toContain(end.reason);
      expect(end.message).not.toMatch(/internal/);
    },
  );
});

describe('image', () => {
  const reason = whyNoCompiler();
  const title = 'guest.bin is what its sources give';
  test.skipIf(reason !== null)(reason === null ? title : `${title} (${reason})`, () => {
    expect(buildGuest().equals(image)).toBe(true);
  });
});
