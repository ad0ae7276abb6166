// What SEV and SEV-ES cost: Debian's cloud kernel from its first instruction to user space, with
// --protect sev, with sev-es and without, in turns. Measured is the processor time of the whole
// process at the moment its console shows the line BOOT-OK: the launch, the guest's own work
// (bounce buffers, pages turned shared, its #VC handler) and the cipher are all in it. What a guest
// executes is the same in each run: its instructions and exits are those of one more run of each.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { image } from '../guest-image/index.mjs';
import { root } from '../lib/workspace.mjs';
import { bootOkPath, COMMAND_LINE, cpuSecondsToReady, row } from './boot-time.mjs';
import { judged } from './goals.mjs';
import { canMeasure } from './process-time.mjs';
import { median } from './statistics.mjs';

export const name = 'sev';
export const description =
  'CPU seconds of a Debian boot as a SEV and as a SEV-ES guest, beside the same without';

const ROUNDS = 5;
const PAGES = 4000;
const PAGES_AT_ONCE = 16;
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
    { title: 'with sev', args: [...plain, '--protect', 'sev'], goal: 'sev', seconds: [] },
    { title: 'with sev-es', args: [...plain, '--protect', 'sev-es'], seconds: [] },
    { title: 'without', args: plain, seconds: [] },
  ];
  for (let round = 1; round <= ROUNDS; round++) {
    for (const { title, args, seconds } of machines) {
      seconds.push(await cpuSecondsToReady(title, process.execPath, args));
      report.progress(`${title} ${round} of ${ROUNDS}: ${seconds.at(-1).toFixed(2)} s`);
    }
  }
  const open = machines.at(-1);
  const openCounts = countsOf(open.args);
  for (const machine of machines) {
    const { title, seconds, goal } = machine;
    if (machine === open) {
      report.row(row(title, seconds));
      continue;
    }
    // Each round is one comparison: what else the machine did met all.
    const cost = median(seconds.map((each, index) => each / open.seconds[index]));
    const counts = countsOf(machine.args);
    const perInstruction = cost / (counts.instructions / openCounts.instructions);
    const verdict = goal === undefined ? judged('sev-es', perInstruction) : judged(goal, cost);
    report.row({
      ...row(title, seconds),
      'x of without': cost,
      'x an instruction': perInstruction,
      goal: verdict,
    });
    report.note(describe(title, counts, openCounts, median(seconds)));
  }
  report.note(
    `${await pageCost()} us of cipher for a page that was written before, others are copied`,
  );
}

/** What a whole run counts, as its summary says. */
function countsOf(args) {
  const { stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const number = (text) => Number((text ?? '0').replaceAll(',', ''));
  const sum = (name) => {
    const list = new RegExp(`^ *${name} +(.*)$`, 'm').exec(stderr)?.[1] ?? '';
    return [...list.matchAll(/ ([0-9]+)(?=,|$)/g)].reduce((all, [, count]) => all + +count, 0);
  };
  return {
    instructions: number(/^ *instructions +([0-9,]+)/m.exec(stderr)?.[1]),
    reencoded: number(/pages re-encoded +([0-9,]+)/.exec(stderr)?.[1]),
    automatic: sum('automatic exits'),
    vmgexits: sum('GHCB events') + sum('GHCB MSR requests'),
  };
}

function describe(title, counts, open, seconds) {
  const { instructions, reencoded, automatic, vmgexits } = counts;
  const added = ((instructions / open.instructions - 1) * 100).toFixed(1);
  const parts = [`${added} % more instructions`, `${reencoded} pages re-encoded`];
  if (vmgexits > 0) {
    const rate = Math.round(vmgexits / seconds);
    parts.push(`${automatic} automatic exits`, `${vmgexits} VMGEXITs (${rate} a second)`);
  }
  return `${title}: ${parts.join(', ')}`;
}

/** Microseconds of processor time to encipher a page, as many in a row as a processor takes. */
async function pageCost() {
  const { CIPHER_PAGE_SIZE, ciphers, PAGE_KEY_SIZE } = await import('@cloister/sev/firmware');
  const cipher = ciphers().pageCipher(new Uint8Array(PAGE_KEY_SIZE).map((_, index) => index));
  const pages = new Uint8Array(PAGES_AT_ONCE * CIPHER_PAGE_SIZE);
  const before = process.cpuUsage();
  for (let frame = 0; frame < PAGES; frame += PAGES_AT_ONCE) {
    cipher.encrypt(frame * CIPHER_PAGE_SIZE, pages);
  }
  const { user, system } = process.cpuUsage(before);
  return ((user + system) / PAGES).toFixed(1);
}
