// The small guests by the command: every entry that is not Linux's, and the exit status; the same
// on KVM where there is one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kvmBackend } from '@cloister/backend-kvm';
import { CORPUS, CORPUS_IMAGES, decodeImage } from '@cloister/core/testing';
import { expect, test } from 'vitest';
import { cloister } from './lib/command.js';

const cwd = fileURLToPath(new URL('../examples/guests', import.meta.url));

test.each([
  ['--kernel real-mode.bin', 'real mode, drive 80\r\n', 7],
  ['--kernel real-mode.bin --entry flat --flat-mode real', 'real mode, drive 80\r\n', 7],
  [
    '--kernel protected-mode.bin --flat-mode protected',
    'protected mode, fibonacci(20) = 6765\r\n',
    0,
  ],
  ['--kernel long-mode.bin --flat-mode long', 'long mode, rdi = 0, its square root = 0\r\n', 0],
  [
    '--kernel multiboot.elf --append quiet --initrd real-mode.s',
    /^multiboot, command line: kernel quiet\r\nmodule: # A boot sector: /,
    0,
  ],
  ['--kernel pvh.elf --entry pvh --append quiet', /^pvh, command line: quiet, memory map/, 0],
])('cloister run %s', async (line, output, status) => {
  const run = await cloister(['run', '--quiet', '--timeout', '60', ...line.split(' ')], { cwd });
  expect(run.stderr).toBe('');
  if (typeof output === 'string') expect(run.stdout.toString('latin1')).toBe(output);
  else expect(run.stdout.toString('latin1')).toMatch(output);
  expect(run.status).toBe(status);
});

test('cloister run --entry flat runs the corpus’ boot sector, which needs no BIOS', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'cloister-boot-sector-'));
  try {
    const program = CORPUS.find(({ name }) => name === 'boot-sector')!;
    const image = decodeImage(CORPUS_IMAGES['boot-sector']!);
    expect([image.length, image[510], image[511]]).toEqual([512, 0x55, 0xaa]);
    writeFileSync(join(cwd, 'sector.bin'), image);
    const words = ['run', '--quiet', '--timeout', '60', '--entry', 'flat'];
    const run = await cloister([...words, '--kernel', 'sector.bin'], { cwd });
    expect([run.stdout.toString('latin1'), run.status]).toEqual([program.console, 1]);
  } finally {
    rmSync(cwd, { recursive: true });
  }
});

const kvm = await kvmBackend().probe();

test.skipIf(!kvm.available).each([
  ['--kernel real-mode.bin', 'real mode, drive 80\r\n', 7],
  [
    '--kernel protected-mode.bin --flat-mode protected',
    'protected mode, fibonacci(20) = 6765\r\n',
    0,
  ],
  [
    '--assist --kernel long-mode.bin --flat-mode long',
    'long mode, rdi = 0, its square root = 0\r\n',
    0,
  ],
  [
    '--kernel multiboot.elf --append quiet --initrd real-mode.s',
    /^multiboot, command line: kernel quiet\r\nmodule: # A boot sector: /,
    0,
  ],
  ['--kernel pvh.elf --entry pvh --append quiet', /^pvh, command line: quiet, memory map/, 0],
])(`cloister run --backend kvm %s ${kvm.reason ?? ''}`, async (line, output, status) => {
  const words = ['run', '--backend', 'kvm', '--quiet', '--timeout', '60', ...line.split(' ')];
  const run = await cloister(words, { cwd });
  expect(run.stderr).toBe('');
  if (typeof output === 'string') expect(run.stdout.toString('latin1')).toBe(output);
  else expect(run.stdout.toString('latin1')).toMatch(output);
  expect(run.status).toBe(status);
});

// Where KVM itself is emulated its computing takes a minute: the whole under CLOISTER_FULL=1.
const own = `cloister run --backend kvm runs the project’s own guest ${kvm.reason ?? ''}`;
test.skipIf(!kvm.available)(own, async () => {
  const full = process.env.CLOISTER_FULL === '1';
  const words = ['run', '--backend', 'kvm', '--quiet', '--timeout', full ? '240' : '4'];
  const run = await cloister([...words, '--kernel', '../guest-hello/guest-hello.bin'], { cwd });
  const text = run.stdout.toString('latin1');
  expect(text).toMatch(/^Hello from .*\r\nprocessor: .*\r\nmemory: 256 MiB\r\nimage: 1540 bytes/);
  expect(full ? [0] : [0, 4]).toContain(run.status);
  if (run.status === 0) expect(text).toMatch(/primes below 1000000: 78498\r\n/);
});

test('probe says what KVM can, or what to do', async () => {
  const { stdout, status } = await cloister(['probe']);
  expect(status).toBe(0);
  const text = stdout.toString();
  if (kvm.available) {
    expect(text).toMatch(/^kvm: available\n {2}CPU model: /m);
    expect(text).toMatch(/^ {2}split irqchip: (yes|no)$/m);
    expect(text).toMatch(/^ {2}cpu\.native$/m);
  } else expect(text).toMatch(/^kvm: unavailable \(.+; .+\)$/m);
});
