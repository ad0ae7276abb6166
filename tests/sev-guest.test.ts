// The project's own SEV-aware guest by the command, under every protection: its disk through bounce
// buffers, and what `cloister trace` makes of the exit log.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kvmBackend } from '@cloister/backend-kvm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll } from './lib/command.js';

const GUEST = fileURLToPath(new URL('../examples/guest/guest.bin', import.meta.url));
const SECTOR = 512;
/** What the guest writes to sector 1 (`make_pattern` in virtio.c). */
const PATTERN = Buffer.from({ length: SECTOR } as ArrayLike<number>).map((_, i) => {
  return i * 7 + (i >> 8) + 0x5a;
});

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'cloister-guest-'));
});
afterAll(() => rmSync(cwd, { recursive: true }));
afterEach(endAll);

const FOUND: Readonly<Record<string, string>> = {
  none: 'none',
  sev: 'SEV, C-bit 51, SEV_STATUS 0x1',
  'sev-es': 'SEV SEV-ES, C-bit 51, SEV_STATUS 0x3',
};

async function run(protection: string, append: string, options = '') {
  writeFileSync(join(cwd, `${protection}.disk`), new Uint8Array(64 * SECTOR));
  const protect = protection === 'none' ? '' : `--protect ${protection} `;
  const fixed = `--seed 1 --memory 32M --timeout 120 --disk ${protection}.disk`;
  const words = `${protect}${fixed} ${options}`;
  const command = ['run', '--kernel', GUEST, '--append', append, ...words.trim().split(' ')];
  const finished = await cloister(command, { cwd });
  return { ...finished, text: finished.stdout.toString('latin1').replaceAll('\r', '') };
}

describe.each(Object.keys(FOUND))('protection %s', (protection) => {
  test.each(['64', '32'])(
    'ES-23: by the %s-bit entry, a disk through bounce buffers',
    async (entry) => {
      const { text, stderr, status } = await run(protection, 'outs=10', `--entry ${entry}`);
      expect(status, text + stderr).toBe(0);
      expect(text).toContain(`protection: ${FOUND[protection]}\n`);
      expect(text.match(/^check .*: ok /gm)?.length, text).toBe(13);
      const arrived =
        protection === 'none' ? 'the device sees it: no protection' : 'only noise arrived';
      expect(text).toContain(`check private-dma: ok (${arrived})`);
      expect(text).toMatch(/^abcdefghij\nouts: 10 plain/m);
      const disk = readFileSync(join(cwd, `${protection}.disk`));
      expect(disk.subarray(SECTOR, 2 * SECTOR)).toEqual(PATTERN);
      expect(stderr).toMatch(/^ {2}ended +the guest powered off/m);
    },
  );
});

const kvm = await kvmBackend().probe();

test.skipIf(!kvm.available)(
  `the same image on KVM, without protection ${kvm.reason ?? ''}`,
  async () => {
    // Not VMMCALL: where KVM itself is emulated it may try to make VMCALL of it for ever.
    const checks = 'checks=cpuid,msr,time,dr7,io,string-io,mmio,bounce,private-dma,clock,timer';
    const { text, stderr, status } = await run('none', checks, '--backend kvm --assist');
    expect(status, text + stderr).toBe(0);
    expect(text.match(/^check .*: ok /gm)?.length, text).toBe(11);
  },
);

test('a failed check is the exit status', async () => {
  // Its first disk may not be written to.
  const { text, status } = await run('none', 'checks=bounce', '--rng');
  expect([text.match(/^check bounce: \w+/m)?.[0], status]).toEqual(['check bounce: ok', 0]);
  const words = ['run', '--kernel', GUEST, '--append', 'checks=bounce', '--memory', '32M'];
  const refused = await cloister([...words, '--disk', 'none.disk,ro'], { cwd });
  expect(refused.stdout.toString()).toContain('check bounce: FAILED');
  expect(refused.status).toBe(3);
});

test('exits under SEV-ES: counted by kind, drawn, and as a trace for Perfetto', async () => {
  const ports = 'checks=none outs=3 port=0x80';
  const summary = await run('sev-es', ports, '--exits summary');
  expect(summary.stderr).toMatch(/^ +\d[\d,]* {2}switch exception 0x7b IOIO$/m);
  expect(summary.stderr).toMatch(/^ +\d[\d,]* {2}switch exit 0x403 VMGEXIT$/m);
  const logged = await run('sev-es', ports, '--exits exits.jsonl');
  expect(logged.status, logged.stderr).toBe(0);
  const lines = readFileSync(join(cwd, 'exits.jsonl'), 'utf8').trim().split('\n');
  const first = lines.findIndex((line) => line.includes('"port":128,'));
  const { instructions } = JSON.parse(lines[first]!) as { instructions: number };
  const range = ['--from', `${instructions}`, '--to', `${instructions}`];
  const diagram = await cloister(['trace', 'exits.jsonl', ...range], { cwd });
  expect(diagram.stdout.toString()).toContain('  Note over V: device: OUT port 0x80, 1 byte\n');
  const trace = await cloister(
    ['trace', 'exits.jsonl', '--format', 'perfetto', '--out', 'trace.json'],
    { cwd },
  );
  expect([trace.status, trace.stderr]).toEqual([0, '']);
  const { traceEvents } = JSON.parse(readFileSync(join(cwd, 'trace.json'), 'utf8')) as {
    traceEvents: readonly { readonly name: string; readonly ph: string }[];
  };
  const handlers = traceEvents.filter(({ ph, name }) => ph === 'X' && name.startsWith('handler'));
  expect(handlers.length).toBeGreaterThan(3);
  const again = await run('sev-es', ports, '--exits again.jsonl');
  expect(again.status).toBe(0);
  const same = readFileSync(join(cwd, 'again.jsonl')).equals(
    readFileSync(join(cwd, 'exits.jsonl')),
  );
  expect(same).toBe(true);
});
