// What SEV costs: Debian's cloud kernel from its first instruction to user space, with --protect
// sev and without, in turns. Measured is the processor time of the whole process at the moment its
// console shows the line BOOT-OK: the launch, the guest's own work for SEV (bounce buffers, pages
// turned shared) and the cipher are all in it.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { image } from '../guest-image/index.mjs';
import { root } from '../lib/workspace.mjs';
import { bootOkPath, COMMAND_LINE, cpuSecondsToReady, row } from './boot-time.mjs';
import { judged } from './goals.mjs';
import { canMeasure } from './process-time.mjs';
import { median } from './statistics.mjs';

export const name = 'sev';
export const description = 'CPU seconds of a Debian boot as a SEV guest, beside the same without';

const PAIRS = 5;
const PAGES = 4000;
const CLOISTER = join(root, 'packages/cli/bin/cloister.js');

export async function run(report) {
  if (!canMeasure()) {
    return void report.note('skipped: processor time is read from /proc, which is not here');
  }
  const guest = await image({ log: report.progress });
  const initrd = await bootOkPath(guest);
  const words = [CLOISTER, 'run', '--memory', '256M', '--kernel', guest.kernelPath];
  const plain = [...words, '--initrd', initrd, '--append', COMMAND_LINE];
  const machines = [
    { title: 'with sev', args: [...plain, '--protect', 'sev'], seconds: [] },
    { title: 'without', args: plain, seconds: [] },
  ];
  for (let pair = 1; pair <= PAIRS; pair++) {
    for (const { title, args, seconds } of machines) {
      seconds.push(await cpuSecondsToReady(title, process.execPath, args));
      report.progress(`${title} ${pair} of ${PAIRS}: ${seconds.at(-1).toFixed(2)} s`);
    }
  }
  const [secret, open] = machines.map(({ seconds }) => seconds);
  // Each pair is one comparison: what else the machine did met both.
  const cost = median(secret.map((seconds, index) => seconds / open[index]));
  for (const [index, { title, seconds }] of machines.entries()) {
    const compared = index === 0 ? { 'x of without': cost, goal: judged('sev', cost) } : {};
    report.row({ ...row(title, seconds), ...compared });
  }
  report.note(
    `${reencoded(machines[0].args)} pages re-encoded, ${await pageCost()} us of cipher each`,
  );
}

/** Pages that a whole run re-encodes, as its summary says. */
function reencoded(args) {
  const { stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return /pages re-encoded +([0-9,]+)/.exec(stderr)?.[1] ?? 'no';
}

/** Microseconds of processor time to encipher a page. */
async function pageCost() {
  const { CIPHER_PAGE_SIZE, ciphers, PAGE_KEY_SIZE } = await import('@cloister/sev/firmware');
  const key = new Uint8Array(PAGE_KEY_SIZE).map((_, index) => index);
  const page = new Uint8Array(CIPHER_PAGE_SIZE);
  const before = process.cpuUsage();
  for (let frame = 0; frame < PAGES; frame++) {
    ciphers().encryptPage(key, frame * CIPHER_PAGE_SIZE, page);
  }
  const { user, system } = process.cpuUsage(before);
  return ((user + system) / PAGES).toFixed(1);
}
