// Unmodified Debian kernels, from their first instruction to user space and back to the command:
// every entry, bit for bit repeatable, and through a file in the middle.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, type Finished } from './lib/command.js';
import {
  BOOT_OK,
  COMMAND_LINE,
  CPU_REPORT,
  debian,
  type Guest,
  initrd,
  skipped,
} from './lib/guests.js';

const cloud = await debian();
const full = process.env['CLOISTER_FULL'] === '1';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-linux-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(endAll);

interface Boot extends Finished {
  readonly exits: Buffer;
}

/** Boots `guest` and returns all that came out; `name` is that of the exit log. */
async function boot(
  guest: Guest,
  name: string,
  options: string,
  kernel = guest.kernelPath,
  init = BOOT_OK,
) {
  const exits = join(folder, name);
  const files = ['--kernel', kernel, '--initrd', await initrd(guest, init)];
  const words = ['run', ...files, '--append', COMMAND_LINE, '--exits', exits];
  const defaults = ['--memory 256M', '--timeout 280'].filter((each) => {
    return !options.includes(each.split(' ')[0] as string);
  });
  const given = [...defaults, options].join(' ').split(' ');
  const finished = await cloister([...words, ...given]);
  return { ...finished, exits: readFileSync(exits) };
}

function expectBooted({ status, stdout, stderr }: Finished) {
  const text = stdout.toString('latin1');
  expect(text, stderr).toMatch(/Linux version 6\.\d+/);
  expect(text, stderr).toMatch(/^BOOT-OK\r?$/m);
  expect(stderr).toMatch(/^ {2}ended +\S/m);
  expect(status).toBe(0);
}

const same = (a: Buffer, b: Buffer) => Buffer.compare(a, b) === 0;

/** The figure of the summary's line. */
function figure(stderr: string, name: string): number {
  const match = new RegExp(`^  ${name} +([0-9,]+)`, 'm').exec(stderr);
  return Number(match?.[1]?.replaceAll(',', ''));
}

describe.skipIf(typeof cloud === 'string')(`Debian’s cloud kernel${skipped(cloud)}`, () => {
  const guest = cloud as Guest;
  let first: Boot;

  test('boots by its 64-bit entry; the same seed gives the same bytes and exits', async () => {
    const [one, two] = await Promise.all([
      boot(guest, 'one', '--entry 64 --seed 1'),
      boot(guest, 'two', '--entry 64 --seed 1'),
    ]);
    expectBooted(one);
    expect(same(one.stdout, two.stdout)).toBe(true);
    expect(same(one.exits, two.exits)).toBe(true);
    expect(one.exits.length).toBeGreaterThan(100_000);
    first = one;
  });

  test('gives the same bytes and exits interpreted and translated', async () => {
    const modes = full ? ['off', 'stress'] : ['off'];
    for (const mode of modes) {
      const other = await boot(guest, `jit-${mode}`, `--entry 64 --seed 1 --jit ${mode}`);
      expectBooted(other);
      expect(same(first.stdout, other.stdout), mode).toBe(true);
      expect(same(first.exits, other.exits), mode).toBe(true);
    }
    expect(figure(first.stderr, 'regions translated')).toBeGreaterThan(20);
    expect(figure(first.stderr, 'percent of instructions in regions')).toBeGreaterThan(50);
  });

  test('another seed gives others; the 32-bit entry boots', async () => {
    const [other, by32] = await Promise.all([
      boot(guest, 'other', '--seed 2'),
      boot(guest, 'by32', '--entry 32 --seed 1'),
    ]);
    expectBooted(other);
    expectBooted(by32);
    expect(same(first.stdout, other.stdout)).toBe(false);
    expect(same(first.exits, other.exits)).toBe(false);
  });

  test('boots on four CPUs, in which it finds nothing to mitigate by choice', async () => {
    const [report, again] = await Promise.all([
      boot(guest, 'cpu', '--seed 1 --cpus 4', guest.kernelPath, CPU_REPORT),
      full ? boot(guest, 'cpus', '--seed 1 --cpus 4', guest.kernelPath, CPU_REPORT) : null,
    ]);
    if (again !== null) {
      expect(same(report.stdout, again.stdout)).toBe(true);
      expect(same(report.exits, again.exits)).toBe(true);
    }
    expectBooted(report);
    const text = report.stdout.toString('latin1').replaceAll('\r', '');
    const lines = text.split('\n').filter((line) => /^(vulnerability|message) /.test(line));
    expect(text).toMatch(/smp: Brought up 1 node, 4 CPUs/);
    expect(text).toMatch(/^CPUs 4$/m);
    process.stdout.write(`${lines.join('\n')}\n`);
    const found = new Map(
      [...text.matchAll(/^vulnerability (\w+): (.*)$/gm)].map(([, name, says]) => [name, says]),
    );
    expect(found.size).toBeGreaterThan(10);
    // Barriers against bounds checks passed in speculation are no choice of the kernel's.
    expect(found.get('spectre_v1')).toMatch(/^Mitigation: usercopy/);
    expect(found.get('spectre_v2')).toMatch(/^Mitigation: Enhanced \/ Automatic IBRS;/);
    found.delete('spectre_v1');
    found.delete('spectre_v2');
    for (const [name, says] of found) expect(says, name).toBe('Not affected');
    // A line for each kind of work that the processor spares the kernel.
    const costly = /retpoline|IBPB|RSB filling|thunk|untrained|VERW|Vulnerable/i;
    expect(lines.join('\n')).not.toMatch(costly);
    const flags = /^flags\s+:(.*)$/m.exec(text)?.[1]?.trim().split(' ') ?? [];
    expect(flags).toEqual(
      expect.arrayContaining([
        'smep',
        'smap',
        'umip',
        'pku',
        'ospke',
        'pcid',
        'invpcid',
        'pdpe1gb',
        'fsgsbase',
      ]),
    );
  });

  test.skipIf(!full).each([
    ['cloister-v1-rome', ''],
    ['cloister-v1-genoa', ''],
    [',+la57', 'la57'],
    [',-x2apic,-tsc_deadline,-pcid,-invpcid', ''],
    [',-smap,-smep,-umip,-pku,-pdpe1gb,-nx', ''],
    [',-kvmclock,-kvmclock2,-kvm_pv_eoi,-hypervisor', ''],
  ])(`boots four CPUs of the model %s${full ? '' : ' (in the full run)'}`, async (cpu, flag) => {
    const name = `model${cpu}`;
    const options = `--seed 1 --cpus 4 --cpu ${cpu}`;
    const report = await boot(guest, name, options, guest.kernelPath, CPU_REPORT);
    expectBooted(report);
    const text = report.stdout.toString('latin1');
    expect(text).toMatch(/^CPUs 4\r?$/m);
    expect(text).toContain('vulnerability retbleed: Not affected');
    for (const change of cpu.split(',').slice(1)) {
      const known = new RegExp(`^flags.* ${change.slice(1)}\\b`, 'm').test(text);
      if (change.startsWith('-')) expect(known, change).toBe(false);
    }
    if (flag !== '') expect(text).toMatch(new RegExp(`^flags.* ${flag}\\b`, 'm'));
  });

  test('its ELF file boots by PVH; saved in mid-boot it goes on in a new process', async () => {
    const state = join(folder, 'state');
    const middle = Math.floor(figure(first.stderr, 'instructions') / 2);
    const [pvh, before] = await Promise.all([
      boot(guest, 'pvh', '--entry pvh --seed 1', await guest.vmlinuxPath()),
      boot(guest, 'before', `--seed 1 --save ${state} --save-at ${middle}`),
    ]);
    expectBooted(pvh);
    expect(before.status).toBe(0);
    expect(figure(before.stderr, 'instructions')).toBe(middle);
    expect(before.stdout.length).toBeGreaterThan(0);
    const exits = join(folder, 'after');
    const after = await cloister(['run', '--restore', state, '--exits', exits]);
    expect(after.status, after.stderr).toBe(0);
    expect(same(Buffer.concat([before.stdout, after.stdout]), first.stdout)).toBe(true);
    expect(same(Buffer.concat([before.exits, readFileSync(exits)]), first.exits)).toBe(true);
  });
});

const WHY = 'only in the full run';
const generic = full ? await debian('generic') : WHY;
const i386 = full ? await debian('686-pae') : WHY;
/** Two boots of a large kernel at a time, on machines of two cores. */
const LONG = 900;

/** Boots on one CPU and on four; `memory` as `--memory` has it. */
async function bootsOnOneAndFour(guest: Guest, name: string, memory: string) {
  const options = `--seed 1 --memory ${memory} --timeout ${LONG}`;
  const [one, four] = await Promise.all([
    boot(guest, `${name}-1`, options),
    boot(guest, `${name}-4`, `${options} --cpus 4`),
  ]);
  expectBooted(one);
  expectBooted(four);
  expect(four.stdout.toString('latin1')).toMatch(/smp: Brought up 1 node, 4 CPUs/);
  return one.stdout.toString('latin1');
}

test.skipIf(typeof generic === 'string')(
  `Debian’s generic kernel boots on one CPU and on four${skipped(generic)}`,
  () => bootsOnOneAndFour(generic as Guest, 'generic', '256M'),
  LONG * 1000,
);

test.skipIf(typeof i386 === 'string')(
  `Debian’s i386 kernel, with PAE, boots on one CPU and on four${skipped(i386)}`,
  async () => {
    const text = await bootsOnOneAndFour(i386 as Guest, 'i386', '512M');
    expect(text).toMatch(/^Hello from user space: Linux \S+-686-pae i686\r?$/m);
  },
  LONG * 1000,
);
