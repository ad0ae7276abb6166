// Debian's cloud kernel from its first instruction to user space, beside QEMU's TCG: the same
// kernel, initial root file system and command line, in turns, so that what else the machine does
// meets both alike. Measured is the processor time of the whole process, all threads, user and
// system, at the moment its console shows the line BOOT-OK.

import { execFileSync } from 'node:child_process';
import { image } from '../guest-image/index.mjs';
import { bootArguments, bootOkPath, cpuSecondsToReady, row } from './boot-time.mjs';
import { judged } from './goals.mjs';
import { unmeasurable } from './process-time.mjs';
import { median } from './statistics.mjs';

export const name = 'boot';
export const description = 'CPU seconds of a Debian cloud kernel boot, up to the line BOOT-OK';

const PAIRS = 3;
const QEMU = 'qemu-system-x86_64';

export async function run(report) {
  const why = unmeasurable(QEMU);
  if (why !== undefined) return void report.note(`skipped: ${why}`);
  const guest = await image({ log: report.progress });
  const args = bootArguments({ kernel: guest.kernelPath, initrd: await bootOkPath(guest) });
  const machines = [
    { title: 'cloister', program: process.execPath, args: args.cloister, seconds: [] },
    { title: 'qemu tcg', program: QEMU, args: args.qemu, seconds: [] },
  ];
  for (let pair = 1; pair <= PAIRS; pair++) {
    for (const { title, program, args, seconds } of machines) {
      seconds.push(await cpuSecondsToReady(title, program, args));
      report.progress(`${title} ${pair} of ${PAIRS}: ${seconds.at(-1).toFixed(2)} s`);
    }
  }
  const [ours, theirs] = machines.map(({ seconds }) => median(seconds));
  const cost = ours / theirs;
  for (const [index, { title, seconds }] of machines.entries()) {
    const compared = index === 0 ? { 'x of tcg': cost, goal: judged('boot', cost) } : {};
    report.row({ ...row(title, seconds), ...compared });
  }
  const version = execFileSync(QEMU, ['--version'], { encoding: 'utf8' }).split('\n')[0];
  report.note(`kernel ${guest.version}; ${version}`);
}
