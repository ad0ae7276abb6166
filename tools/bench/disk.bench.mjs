// A virtio disk beside QEMU's: the same kernel, initial root file system and disk under
// `cloister run --virtio pci` and `qemu-system-x86_64 -M q35 -accel tcg`, both with virtio-blk-pci.
// A program in the guest reads and writes past the page cache, one request at a time, in rounds.
// Measured is the processor time of the whole process, between the lines before and after each part
// of a round; throughput is that of the last rounds.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../lib/workspace.mjs';
import { judged } from './goals.mjs';
import { secondsOfParts } from './guest-parts.mjs';
import { cpuSeconds, unmeasurable } from './process-time.mjs';
import { programGuest } from './program-guest.mjs';
import { comparedRates, labelsOf, ROUNDS } from './rounds.mjs';

export const name = 'disk';
export const description = 'throughput of a virtio disk in a Debian guest, per CPU second';

const PAIRS = 2;
const QEMU = 'qemu-system-x86_64';
const CLOISTER = join(root, 'packages/cli/bin/cloister.js');
const COMMAND_LINE = 'console=ttyS0 panic=-1 quiet';
const MODULES = ['virtio_pci', 'virtio_blk'];
const MIB = 128;
/** How often a part in order goes over the disk. */
const PASSES = 3;

/** What each part moves: MiB or requests. */
const PARTS = {
  'seq-write': { amount: PASSES * MIB, unit: 'MiB/s' },
  'seq-read': { amount: PASSES * MIB, unit: 'MiB/s' },
  'rand-write': { amount: 2000, unit: 'requests/s' },
  'rand-read': { amount: 4000, unit: 'requests/s' },
};

const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module; done
/disk /dev/vda ${MIB} ${ROUNDS} ${PASSES} || echo FAILED
poweroff -f
`;

export async function run(report) {
  const why = unmeasurable(QEMU, 'gcc');
  if (why !== undefined) return void report.note(`skipped: ${why}`);
  const folder = mkdtempSync(join(tmpdir(), 'cloister-bench-'));
  try {
    await measure(report, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function measure(report, folder) {
  const guest = { folder, name: 'disk', init: INIT, modules: MODULES, log: report.progress };
  const { kernel, initrd, version } = await programGuest(guest);
  const disk = join(folder, 'disk.img');
  // Written, so that the first machine has not to provide the host's blocks.
  writeFileSync(disk, Buffer.alloc(MIB * 2 ** 20));
  const boot = { kernel, initrd, disk };
  const machines = [
    { title: 'cloister', program: process.execPath, args: cloisterArguments(boot), runs: [] },
    { title: 'qemu tcg', program: QEMU, args: qemuArguments(boot), runs: [] },
  ];
  for (let pair = 1; pair <= PAIRS; pair++) {
    for (const { title, program, args, runs } of machines) {
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      const seconds = () => cpuSeconds(child.pid);
      runs.push(await secondsOfParts(title, child, labelsOf(Object.keys(PARTS)), seconds));
      report.progress(`${title} ${pair} of ${PAIRS}`);
    }
  }
  const runs = machines.map((machine) => machine.runs);
  for (const [part, { amount, unit }] of Object.entries(PARTS)) {
    const rates = comparedRates(part, amount, runs);
    report.row({ part, unit, ...rates, goal: judged('disk', rates['x of tcg']) });
  }
  report.note(
    `kernel ${version}; rates per second of processor time of the whole process, settled`,
  );
}

const cloisterArguments = ({ kernel, initrd, disk }) => [
  ...[CLOISTER, 'run', '--memory', '256M', '--kernel', kernel, '--initrd', initrd],
  ...['--append', COMMAND_LINE, '--virtio', 'pci', '--disk', disk],
];

const qemuArguments = ({ kernel, initrd, disk }) => [
  ...['-M', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nographic', '-no-reboot'],
  ...['-nic', 'none', '-drive', `file=${disk},if=virtio,format=raw`],
  ...['-kernel', kernel, '-initrd', initrd, '-append', COMMAND_LINE],
];
