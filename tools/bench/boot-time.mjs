// How long a machine takes from its start to the line BOOT-OK on its console, in processor time of
// its process.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { cacheDirectory, initramfs, publishFile, sha256 } from '../guest-image/index.mjs';
import { BOOT_OK } from '../guest-image/init-scripts.mjs';
import { root } from '../lib/workspace.mjs';
import { cpuSeconds } from './process-time.mjs';
import { median, spreadPercent } from './statistics.mjs';

export const COMMAND_LINE = 'console=ttyS0 panic=-1';

const CLOISTER = join(root, 'packages/cli/bin/cloister.js');
const RUN_MS_MAX = 900_000;
const TAIL_CHARS = 4096;
const READY = /^BOOT-OK\r?$/m;

/** The initial root file system that says BOOT-OK. */
export async function bootOkPath(guest) {
  const bytes = await initramfs({ init: BOOT_OK, busybox: guest.busyboxPath });
  const file = `initramfs-${sha256(bytes).slice(0, 16)}.cpio`;
  return publishFile(join(cacheDirectory(), 'bench', file), bytes);
}

/** Arguments of a boot: of Node for Cloister, and of QEMU. */
export const bootArguments = ({ kernel, initrd }) => ({
  cloister: [
    ...[CLOISTER, 'run', '--memory', '256M', '--kernel', kernel, '--initrd', initrd],
    ...['--append', COMMAND_LINE],
  ],
  // With ACPI on, a direct boot of this machine type hangs.
  qemu: [
    ...['-M', 'microvm,acpi=off', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nographic'],
    ...['-no-reboot', '-kernel', kernel, '-initrd', initrd, '-append', COMMAND_LINE],
  ],
});

/** Runs a program until its output has the line BOOT-OK; the time it used by then. */
export function cpuSecondsToReady(title, program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    let seconds;
    const tooLate = setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX);
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-TAIL_CHARS);
      if (seconds !== undefined || !READY.test(output)) return;
      try {
        seconds = cpuSeconds(child.pid);
      } catch (error) {
        reject(new Error(`${title} was gone before it could be measured: ${error.message}`));
      }
      child.kill('SIGKILL');
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors = (errors + text).slice(-TAIL_CHARS);
    });
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(tooLate);
      if (seconds !== undefined) return resolve(seconds);
      const last = (errors.trim() || output.trim()).split('\n').at(-1);
      reject(new Error(`${title} ended (status ${status}) without BOOT-OK: ${last}`));
    });
  });
}

/** Seconds of one machine as a row of a report. */
export const row = (title, seconds) => ({
  machine: title,
  'median s': median(seconds),
  'min s': Math.min(...seconds),
  'max s': Math.max(...seconds),
  'spread %': spreadPercent(seconds),
});
