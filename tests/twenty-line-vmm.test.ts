// The README's monitor, against the packages as they are built.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { BOOT_OK, debian, type Guest, initrd } from './lib/guests.js';

const guest = await debian();
const program = fileURLToPath(new URL('../examples/twenty-line-vmm/vmm.js', import.meta.url));

test.skipIf(typeof guest === 'string')('twenty lines boot Debian’s kernel', async () => {
  const { kernelPath } = guest as Guest;
  const files = [program, kernelPath, await initrd(guest as Guest, BOOT_OK)];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, files);
  expect(stdout).toMatch(/^BOOT-OK\r?$/m);
  expect(stderr).toMatch(/after \d+ instructions\n$/);
});
