// Programs of a user, under this machine, QEMU's TCG and the host itself: busybox's gzip, sha256sum
// and awk, and a static C program (userland.c). The machines run Debian's cloud kernel with one
// initial root file system. Measured is the processor time of the whole process between the lines
// before and after each part; what the programs print has to be the same on all.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../lib/workspace.mjs';
import { secondsOfParts } from './guest-parts.mjs';
import { unmeasurable } from './kernel-machine.mjs';
import { cpuSeconds } from './process-time.mjs';
import { programGuest } from './program-guest.mjs';
import { median } from './statistics.mjs';

export const name = 'userland';
export const description = 'CPU seconds of gzip, sha256sum, awk and loops in C in user space';

const PAIRS = 2;
const QEMU = 'qemu-system-x86_64';
const CLOISTER = join(root, 'packages/cli/bin/cloister.js');
const COMMAND_LINE = 'console=ttyS0 panic=-1 quiet';
const PARTS = ['gzip', 'sha256sum', 'awk', 'integer', 'copy', 'double'];
const DATA_BYTES = 3 << 20;

/** Run by busybox's shell, with the programs' places in B and P and the data beside it. */
const SCRIPT = `
part() { echo "BEGIN $1"; shift; "$@"; }
packed() { for i in 1 2; do $B gzip -c < data | $B wc -c; done; }
sums() { for i in 1 2 3 4 5 6; do $B sha256sum data; done; }
words() {
  $B awk 'BEGIN { for (i = 0; i < 400000; i++) { s += i % 7 * 3; a[i % 997] = s "" }
    for (k in a) n += length(a[k]); print s, n }'
}
part gzip packed; echo "END gzip"
part sha256sum sums; echo "END sha256sum"
part awk words; echo "END awk"
for each in integer copy double; do part $each $P $each; echo "END $each"; done
`;

const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
B=busybox P=/userland
cd /
. /parts
poweroff -f
`;

export async function run(report) {
  const why = unmeasurable();
  if (why !== undefined) return void report.note(`skipped: ${why}`);
  const folder = mkdtempSync(join(tmpdir(), 'cloister-bench-'));
  try {
    await measure(report, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function measure(report, folder) {
  const files = [
    { path: 'data', mode: 0o644, data: text(DATA_BYTES) },
    { path: 'parts', mode: 0o644, data: Buffer.from(SCRIPT) },
  ];
  const options = { folder, name: 'userland', init: INIT, modules: [], log: report.progress };
  const guest = await programGuest({ ...options, files });
  for (const { path, data } of files) writeFileSync(join(folder, path), data);
  const machines = machinesOf(guest, folder);
  for (let pair = 1; pair <= PAIRS; pair++) {
    for (const { title, program, args, env = {}, runs, said } of machines) {
      const stdio = ['ignore', 'pipe', 'pipe'];
      const child = spawn(program, args, { stdio, cwd: folder, env: { ...process.env, ...env } });
      let output = '';
      child.stdout.on('data', (piece) => (output += piece));
      runs.push(await secondsOfParts(title, child, PARTS, () => cpuSeconds(child.pid)));
      said.push(results(output));
      report.progress(`${title} ${pair} of ${PAIRS}`);
    }
  }
  const [expected] = machines[0].said;
  for (const { title, said } of machines) {
    const other = said.find((each) => each !== expected);
    if (other !== undefined) throw new Error(`${title} printed ${other}, not ${expected}`);
  }
  for (const part of PARTS) report.row(row(part, machines));
  report.note(`kernel ${guest.version}; seconds of processor time, medians of ${PAIRS}`);
}

const row = (part, machines) => {
  const [native, tcg, ours] = machines.map(({ runs }) => median(runs.map((each) => each[part])));
  const ratio = (seconds) => Number((seconds / ours).toFixed(3));
  const seconds = { native, 'qemu tcg': tcg, cloister: ours };
  return { part, ...seconds, 'x of tcg': ratio(tcg), 'x of native': ratio(native) };
};

/** What the programs printed, between the parts' lines. */
const results = (output) =>
  [...output.matchAll(/^(RESULT .*|[0-9a-f]{64} .*|\d+( \d+)?)\r?$/gm)]
    .map(([, line]) => line)
    .join();

function machinesOf({ kernel, initrd, program, busybox }, folder) {
  const boot = ['-kernel', kernel, '-initrd', initrd, '-append', COMMAND_LINE];
  const ours = boot.map((word) => word.replace(/^-(?=[a-z])/, '--'));
  const qemu = ['-M', 'microvm,acpi=off', '-accel', 'tcg', '-cpu', 'max', '-m', '256'];
  const made = (title, path, args, env) => ({
    title,
    program: path,
    args,
    env,
    runs: [],
    said: [],
  });
  return [
    made('native', busybox, ['sh', join(folder, 'parts')], { B: busybox, P: program }),
    made('qemu tcg', QEMU, [...qemu, '-nographic', '-no-reboot', ...boot]),
    // By the host's clock, as QEMU does: as many timer interrupts a second.
    made('cloister', process.execPath, [
      ...[CLOISTER, 'run', '--memory', '256M', '--clock', 'wall', '--quiet', ...ours],
    ]),
  ];
}

/** Words as a text has them: some often, most seldom. */
function text(bytes) {
  let state = 1;
  const random = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const letters = 'etaoinshrdlucmfw';
  const words = Array.from({ length: 2000 }, () =>
    Array.from({ length: 2 + random(8) }, () => letters[random(letters.length)]).join(''),
  );
  const lines = [];
  for (let length = 0; length < bytes; length += lines.at(-1).length) {
    lines.push(`${words[random(random(words.length) + 1)]}${random(12) === 0 ? '\n' : ' '}`);
  }
  return Buffer.from(lines.join('')).subarray(0, bytes);
}
