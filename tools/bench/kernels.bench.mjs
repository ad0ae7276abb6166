// Small kernels under four machines: this one's interpreter, the same with translation, QEMU's TCG
// and the host itself. How they are measured is in kernel-machine.mjs.

import { judged, judgedInterpreted } from './goals.mjs';
import {
  COMPILER,
  cloisterArguments,
  firstLine,
  kernelGuest,
  Machine,
  measured,
  PROCESSOR_BOUND,
  QEMU,
  qemuArguments,
  unmeasurable,
} from './kernel-machine.mjs';

export const name = 'kernels';
export const description = 'CPU microseconds per repetition of small loops';

const KERNELS = [
  ...PROCESSOR_BOUND,
  ...['sse-copy', 'rep-movsb', 'double', 'flat', 'syscall', 'page-fault'],
];

export async function run(report) {
  const why = unmeasurable();
  if (why !== undefined) return void report.note(`skipped: ${why}`);
  const { program, boot, version } = await kernelGuest(report.progress);
  const machines = [
    new Machine('native', program, []),
    new Machine('qemu tcg', QEMU, qemuArguments(boot)),
    new Machine('cloister', process.execPath, cloisterArguments(boot, 'off')),
    new Machine('cloister jit', process.execPath, cloisterArguments(boot, 'on')),
  ];
  try {
    for (const machine of machines) {
      await machine.ready();
      report.progress(`${machine.title} is up`);
    }
    const tables = [];
    for (const kernel of KERNELS) {
      tables.push(await measured(kernel, machines));
      const costs = tables.at(-1).map(({ cost }) => microseconds(cost));
      report.progress(`${kernel}: ${costs.join(', ')} us`);
    }
    for (const [index, table] of tables.entries()) report.row(row(KERNELS[index], table));
    report.row(meanRow(tables.slice(0, PROCESSOR_BOUND.length)));
    report.note(`mean of the five: geometric, of ${PROCESSOR_BOUND.join(', ')}`);
    report.note(`kernel ${version}; ${firstLine(QEMU)}; ${firstLine(COMPILER)}`);
  } finally {
    for (const machine of machines) machine.end();
  }
}

const microseconds = (seconds) => Number((seconds * 1e6).toPrecision(4));

function row(kernel, [native, tcg, ours, jit]) {
  return {
    kernel,
    native: microseconds(native.cost),
    'qemu tcg': microseconds(tcg.cost),
    cloister: microseconds(ours.cost),
    'cloister jit': microseconds(jit.cost),
    ...ratios(kernel, tcg.cost / ours.cost, native.cost / ours.cost),
    ...jitRatios(kernel, tcg.cost / jit.cost, native.cost / jit.cost),
    'spread %': [native, tcg, ours, jit].map(({ spread }) => Math.round(100 * spread)).join('/'),
  };
}

function meanRow(tables) {
  const mean = (ratio) =>
    Math.exp(tables.reduce((sum, table) => sum + Math.log(ratio(table)), 0) / tables.length);
  const ofTcg = mean(([, tcg, ours]) => tcg.cost / ours.cost);
  const ofNative = mean(([native, , ours]) => native.cost / ours.cost);
  const jitOfTcg = mean(([, tcg, , jit]) => tcg.cost / jit.cost);
  const jitOfNative = mean(([native, , , jit]) => native.cost / jit.cost);
  return {
    kernel: 'mean of the five',
    ...ratios('mean of the five', ofTcg, ofNative),
    ...jitRatios('mean of the five', jitOfTcg, jitOfNative),
  };
}

/** Speed as a part of the others', and the goal where there is one. */
const ratios = (name, ofTcg, ofNative) => ({
  'x of tcg': Number(ofTcg.toFixed(3)),
  'x of native': Number(ofNative.toFixed(4)),
  goal: judgedInterpreted(name, ofTcg),
});

/** The same with translation. */
const jitRatios = (name, ofTcg, ofNative) => ({
  'jit x of tcg': Number(ofTcg.toFixed(3)),
  'jit x of native': Number(ofNative.toFixed(4)),
  'jit goal': judged(name, ofTcg),
});
