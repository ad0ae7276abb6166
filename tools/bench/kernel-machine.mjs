// Small kernels (kernels.c), the same program under several machines, each a process with a
// console. They live through the whole benchmark and take turns, so that what else the host does
// meets them alike. Measured is the processor time of the machine's process from a request on its
// console to the answer; a machine that waits for a request is idle. Each kernel is repeated until
// it takes long enough to be measured and costs what it cost the time before, since what translates
// or compiles gets faster for a while. So the repetitions differ, the results may not.

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { publishFolder } from '../guest-image/cache.mjs';
import { cacheDirectory, cpio, image, publishFile, sha256 } from '../guest-image/index.mjs';
import { root } from '../lib/workspace.mjs';
import { cpuSeconds, unmeasurable as unmeasurableBeside } from './process-time.mjs';
import { median } from './statistics.mjs';

const ROUNDS = 3;
export const PROCESSOR_BOUND = ['sieve', 'xorshift', 'fib', 'crc32', 'sort'];

/** Long beside a clock tick, short beside a user's patience. */
const SECONDS_GOAL = 0.5;
const SECONDS_ENOUGH = 0.3;
const GROWTH_MAX = 16;
const REPETITIONS_MAX = 1e9;
/** How much two runs in a row may differ, and after how many it does not matter any more. */
const AGREEMENT = 0.05;
const WARMING_RUNS_MAX = 8;
const ANSWER_MS_MAX = 300_000;
const TAIL_CHARS = 4096;

const COMMAND_LINE = 'console=ttyS0 panic=-1 quiet';
export const QEMU = 'qemu-system-x86_64';
export const COMPILER = 'gcc';
const COMPILER_OPTIONS = [
  ...['-O2', '-static', '-fno-math-errno'],
  // The integer kernels are to stay loops of integer instructions.
  ...['-fno-tree-vectorize', '-fno-tree-loop-distribute-patterns'],
];
const SOURCE = fileURLToPath(new URL('./kernels.c', import.meta.url));
const CLOISTER = join(root, 'packages/cli/bin/cloister.js');

/** The compiled kernels, and the guest that has them as its first process. */
export async function kernelGuest(log) {
  const guest = await image({ log });
  const program = await compiled();
  const { kernelPath: kernel, version } = guest;
  return { program, version, boot: { kernel, initrd: await initrdOf(program) } };
}

/** Why this host cannot measure, if so. */
export function unmeasurable() {
  if (process.arch !== 'x64') return 'the host runs other instructions than the guest';
  return unmeasurableBeside(QEMU, COMPILER);
}

export const firstLine = (program) =>
  execFileSync(program, ['--version'], { encoding: 'utf8' }).split('\n')[0];

/** Path of the compiled kernels, in the cache. */
function compiled() {
  const folder = join(cacheDirectory(), 'bench');
  const inputs = [readFileSync(SOURCE), firstLine(COMPILER), ...COMPILER_OPTIONS];
  const key = sha256(Buffer.concat(inputs.map((input) => Buffer.from(input)))).slice(0, 16);
  return publishFolder(join(folder, `kernels-${key}`), (into) => {
    execFileSync(COMPILER, [...COMPILER_OPTIONS, SOURCE, '-o', join(into, 'kernels')]);
  }).then((path) => join(path, 'kernels'));
}

function initrdOf(program) {
  const bytes = cpio([
    { path: 'init', mode: 0o755, data: readFileSync(program) },
    { path: 'dev/console', type: 'character-device', device: [5, 1] },
  ]);
  const file = `initramfs-${sha256(bytes).slice(0, 16)}.cpio`;
  return publishFile(join(cacheDirectory(), 'bench', file), bytes);
}

/** By the host's clock, as QEMU does: as many timer interrupts a second, and idle when idle. */
export const cloisterArguments = ({ kernel, initrd }, jit) => [
  ...[CLOISTER, 'run', '--memory', '256M', '--clock', 'wall', '--quiet', '--jit', jit],
  ...['--kernel', kernel, '--initrd', initrd, '--append', COMMAND_LINE],
];

/** With ACPI on, a direct boot of this machine type hangs. */
export const qemuArguments = ({ kernel, initrd }) => [
  ...['-M', 'microvm,acpi=off', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nographic'],
  ...['-no-reboot', '-kernel', kernel, '-initrd', initrd, '-append', COMMAND_LINE],
];

/** The program under one machine: a process with a console. */
export class Machine {
  #child;
  #output = '';
  #errors = '';
  /** What is waited for: resolved with the match, rejected when the process ends. */
  #awaited;

  constructor(title, program, args) {
    this.title = title;
    this.#child = spawn(program, args, { stdio: 'pipe' });
    this.#child.stdin.on('error', () => {}); // its end is reported by 'close'
    this.#child.stdout.setEncoding('utf8').on('data', (text) => this.#take(text));
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-TAIL_CHARS);
    });
    this.#child.on('error', (error) => this.#fail(error.message));
    this.#child.on('close', (status) => this.#fail(`ended with status ${status}`));
  }

  ready() {
    return this.#until(/^@ ready\r*\n/m);
  }

  /** CPU seconds and result of a kernel. */
  async measure(kernel, repetitions) {
    const before = cpuSeconds(this.#child.pid);
    const answer = this.#until(new RegExp(`^@ ${kernel} ${repetitions} ([0-9a-f]+)\\r*\\n`, 'm'));
    this.#child.stdin.write(`${kernel} ${repetitions}\n`);
    const [, result] = await answer;
    return { seconds: cpuSeconds(this.#child.pid) - before, result };
  }

  end() {
    this.#child.kill('SIGKILL');
  }

  #until(pattern) {
    return new Promise((resolve, reject) => {
      const tooLate = setTimeout(() => this.#fail('no answer'), ANSWER_MS_MAX);
      const settle = (how) => (value) => {
        clearTimeout(tooLate);
        this.#awaited = undefined;
        how(value);
      };
      this.#awaited = { pattern, resolve: settle(resolve), reject: settle(reject) };
      this.#take('');
    });
  }

  #take(text) {
    this.#output = (this.#output + text).slice(-TAIL_CHARS);
    const match = this.#awaited?.pattern.exec(this.#output);
    if (!match) return;
    this.#output = this.#output.slice(match.index + match[0].length);
    this.#awaited.resolve(match);
  }

  #fail(what) {
    const last = (this.#errors.trim() || this.#output.trim()).split('\n').at(-1);
    this.#awaited?.reject(new Error(`${this.title}: ${what}: ${last}`));
  }
}

/** Cost of a kernel on each machine, in seconds per repetition, and its spread. */
export async function measured(kernel, machines) {
  const runs = [];
  for (const machine of machines) runs.push({ machine, ...(await calibrated(kernel, machine)) });
  const [expected] = runs;
  for (const { machine, result } of runs) {
    if (result !== expected.result) {
      throw new Error(`${machine.title}: ${kernel} gave ${result}, not ${expected.result}`);
    }
  }
  const costs = runs.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, { machine, repetitions }] of runs.entries()) {
      const { seconds } = await machine.measure(kernel, repetitions);
      costs[index].push(seconds / repetitions);
    }
  }
  return costs.map((each) => ({
    cost: median(each),
    spread: (Math.max(...each) - Math.min(...each)) / median(each),
  }));
}

/** How often to repeat a kernel for a run long enough, and its result. Warms it as well. */
export async function calibrated(kernel, machine) {
  let repetitions = 1;
  let before;
  let warming = 0;
  for (;;) {
    const { seconds, result } = await machine.measure(kernel, repetitions);
    const isLong = seconds >= SECONDS_ENOUGH;
    const cost = seconds / repetitions;
    if (isLong) warming++;
    const isSettled = warming >= WARMING_RUNS_MAX || (isLong && agrees(cost, before));
    if (isSettled || repetitions >= REPETITIONS_MAX) return { repetitions, result };
    before = isLong ? cost : undefined;
    repetitions = enough(repetitions, seconds);
  }
}

const agrees = (cost, before) => Math.abs(cost - before) <= AGREEMENT * before;

/** Repetitions for a run as long as it is to be, by one of `repetitions` that took `seconds`. */
function enough(repetitions, seconds) {
  const growth = Math.min(GROWTH_MAX, SECONDS_GOAL / Math.max(seconds, 0.001));
  const least = seconds < SECONDS_ENOUGH ? repetitions + 1 : 1;
  return Math.max(least, Math.round(repetitions * growth));
}
