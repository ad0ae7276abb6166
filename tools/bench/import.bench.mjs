// How long it takes to import a package as it is built, beside its dependencies alone: each in a
// process of its own, in turns, so that what else the machine does meets all alike. Measured inside
// the process, from before the first import to after the last one.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { packages, root } from '../lib/workspace.mjs';
import { median, spreadPercent } from './statistics.mjs';

export const name = 'import';
export const description = 'milliseconds to import a package, beside its dependencies alone';

const STARTS = 15;

export async function run(report) {
  const core = packages().find(({ manifest }) => manifest.name === '@cloister/core');
  // tsyringe throws at import unless reflect-metadata came first; the manifest lists it first.
  const dependencies = Object.keys(core.manifest.dependencies);
  const subjects = [
    { title: 'dependencies of core', names: dependencies, ms: [] },
    { title: '@cloister/core', names: ['@cloister/core'], ms: [] },
    { title: '@cloister/backend-emu', names: ['@cloister/backend-emu'], ms: [] },
  ];
  // The first round fills the file cache and is not counted.
  for (let round = 0; round <= STARTS; round++) {
    for (const { names, ms } of subjects) {
      const taken = importMs(names, core.dir);
      if (round > 0) ms.push(taken);
    }
  }
  for (const { title, ms } of subjects) {
    report.row({ import: title, 'median ms': median(ms), 'spread %': spreadPercent(ms) });
  }
  const [alone, ours] = subjects.map(({ ms }) => median(ms));
  report.note(`core to its dependencies alone: ${(ours / alone).toFixed(2)} (at most 1.5)`);
}

/** Milliseconds that a new process takes to import `names`, one after the other. */
function importMs(names, cwd) {
  const script = `
    const before = performance.now();
    for (const name of ${JSON.stringify(names)}) await import(name);
    process.stdout.write(String(performance.now() - before));
  `;
  const from = names.includes('@cloister/backend-emu') ? join(root, 'packages/backend-emu') : cwd;
  const args = ['--input-type=module', '-e', script];
  return Number(execFileSync(process.execPath, args, { cwd: from, encoding: 'utf8' }));
}
