// Exits per second on KVM: the backend in a Worker, exits answered by a device, beside a VMM in C
// with the same guest; and those of a second CPU, which go from its Worker to the VM's thread. In
// short turns, each compared with the one beside it, so that what else the
// machine does meets all; ratios are medians over the turns.
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { kvmBackend } from '@cloister/backend-kvm';
import { median, spreadPercent } from './statistics.mjs';

export const name = 'kvm';
export const description = 'exits per second on KVM, beside a loop in C with the same guest';

const EXITS = 30_000;
const ROUNDS = 21;

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

export async function run(report) {
  const probe = await kvmBackend().probe();
  if (!probe.available) return report.note(`not measured: ${probe.reason}`);
  if (spawnSync('gcc', ['--version']).status !== 0) return report.note('not measured: no gcc');
  const scratch = mkdtempSync(join(tmpdir(), 'cloister-bench-'));
  const program = join(scratch, 'kvm-exits');
  const worker = new Worker(new URL('./kvm-exits-worker.mjs', import.meta.url));
  try {
    execFileSync('gcc', ['-O2', '-o', program, here('kvm-exits.c')]);
    for (const kind of ['pio', 'mmio']) await measure(kind, program, worker, report);
  } finally {
    await worker.terminate();
    rmSync(scratch, { recursive: true });
  }
}

async function measure(kind, program, worker, report) {
  const rates = { c: [], ours: [], hop: [] };
  const cpuRates = { c: [], ours: [], hop: [] };
  for (let round = 0; round < ROUNDS; round++) {
    report.progress(`${kind}, round ${round + 1} of ${ROUNDS}`);
    const words = execFileSync(program, [kind, String(EXITS)], { encoding: 'utf8' }).split(' ');
    rates.c.push(EXITS / Number(words[0]));
    cpuRates.c.push(EXITS / Number(words[1]));
    const turn = async (asked, by) => {
      worker.postMessage({ kind: asked, count: EXITS });
      const [{ wall, used }] = await once(worker, 'message');
      rates[by].push(EXITS / wall);
      cpuRates[by].push(EXITS / used);
    };
    await turn(kind, 'ours');
    if (kind === 'pio') await turn('hop', 'hop');
  }
  const toC = (those, c) => median(those.map((rate, round) => rate / c[round]));
  const row = (title, rate, cpuRate) =>
    report.row({
      exits: kind,
      by: title,
      'per s': Math.round(median(rate)),
      'spread %': spreadPercent(rate),
      'per CPU s': Math.round(median(cpuRate)),
      'to C': toC(rate, rates.c),
      'CPU to C': toC(cpuRate, cpuRates.c),
    });
  row('C', rates.c, cpuRates.c);
  row('Worker', rates.ours, cpuRates.ours);
  if (kind === 'pio') row('second CPU', rates.hop, cpuRates.hop);
}
