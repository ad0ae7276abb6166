// The README's monitor, against the packages as they are built.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { BOOT_OK, debian, type Guest, initrd, skipped } from './lib/guests.js';

const guest = await debian();
const program = fileURLToPath(new URL('../examples/twenty-line-vmm/vmm.js', import.meta.url));

const MIB = 2 ** 20;
const GUEST = 256 * MIB;

/** Says at the end how much memory the process had at most, in KiB. */
const TELL_MEMORY = `data:text/javascript,${encodeURIComponent(`
  process.on('exit', () => {
    process.stderr.write('resident ' + process.resourceUsage().maxRSS);
  });
`)}`;

test.skipIf(typeof guest === 'string')(
  `twenty lines boot Debian’s kernel${skipped(guest)}`,
  async () => {
    const { kernelPath } = guest as Guest;
    const files = [program, kernelPath, await initrd(guest as Guest, BOOT_OK)];
    const words = ['--import', TELL_MEMORY, ...files];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, words);
    expect(stdout).toMatch(/^BOOT-OK\r?$/m);
    expect(stderr).toMatch(/after \d+ instructions\nresident \d+$/);
    const resident = Number(/resident (\d+)$/.exec(stderr)?.[1]) * 1024;
    expect(resident).toBeGreaterThan(32 * MIB);
    expect(resident).toBeLessThan(GUEST + 150 * MIB);
  },
);
