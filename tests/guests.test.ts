// The small guests by the command: every entry that is not Linux's, and the exit status.
import { fileURLToPath } from 'node:url';
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
