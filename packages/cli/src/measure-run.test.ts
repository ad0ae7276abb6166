/**
 * `cloister measure --vmm-type cloister` and `cloister run` agree about a launch, for both entries
 * of a Linux kernel and both protections: with a measurement that the secure processor made, and
 * with digests and HMACs recomputed here from the plan's bytes alone.
 */
import { createHash, createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LaunchPlan, VcpuState } from '@cloister/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseArguments } from './arguments.js';
import { assembler, planRun } from './assemble.js';
import { main } from './main.js';
import { run } from './run.js';
import { resolveOptions } from './run-options.js';
import { FakeHost } from './testing/fake-host.js';

const PAGE = 4096;
const KEY_OF_NOBODY = Buffer.alloc(16);

let folder = '';
const path = (name: string) => join(folder, name);
const read = (name: string) => readFileSync(path(name));

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-measure-run-'));
  writeFileSync(path('kernel'), kernelFile());
  writeFileSync(path('initrd'), Buffer.alloc(5000, 'initrd'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A bzImage (x86/boot.rst) that writes 0 to the debug-exit port, whichever way it is entered. */
function kernelFile(): Buffer {
  const file = Buffer.alloc(2 * 512 + 0x1000, 0x90);
  file.fill(0, 0, 2 * 512);
  file[0x1f1] = 1;
  file.writeUInt32LE(0x100, 0x1f4);
  file.writeUInt16LE(0xaa55, 0x1fe);
  file.writeUInt16LE(0x6aeb, 0x200);
  file.write('HdrS', 0x202);
  file.writeUInt16LE(0x20f, 0x206);
  file[0x211] = 1;
  file.writeUInt32LE(0x7fffffff, 0x22c);
  file.writeUInt32LE(0x200000, 0x230);
  file[0x234] = 1;
  file.writeUInt16LE(0x7f, 0x236);
  file.writeUInt32LE(2047, 0x238);
  file.writeBigUInt64LE(0x1000000n, 0x258);
  file.writeUInt32LE(0x10000, 0x260);
  const code = Buffer.from('30c0e6f4f4', 'hex');
  for (const entry of [0, 0x200]) code.copy(file, 2 * 512 + entry);
  return file;
}

const words = (line: string): string[] => line.split(' ').filter((word) => word !== '');

const LAUNCH = '--kernel kernel --initrd initrd --append quiet --memory 32M';

/** Runs the words; what the secure processor measured, and its nonce. */
async function launch(line: string): Promise<Buffer> {
  rmSync(path('measure.bin'), { force: true });
  const args = words(`run ${line} --measure-out measure.bin --timeout 100`);
  const invocation = parseArguments(args, { version: '0', cwd: folder });
  if (invocation.command !== 'run') throw new Error('not a run');
  const { options, given } = resolveOptions([invocation.flags]);
  const host = new FakeHost();
  const assemble = assembler(given);
  await run({ host, options, quiet: true, debug: true, assemble });
  expect(host.lines).toEqual([]);
  return read('measure.bin');
}

async function cloister(...args: string[]) {
  const host = Object.assign(new FakeHost(), { cwd: folder });
  const status = await main(args, host);
  return { status, out: host.output, errors: host.lines.join('\n') };
}

const measure = (line: string) => cloister('measure', ...words(`--vmm-type cloister ${line}`));

async function digestOf(line: string): Promise<Buffer> {
  const { status, out, errors } = await measure(line);
  expect({ status, errors }).toEqual({ status: 0, errors: '' });
  expect(out).toMatch(/^[0-9a-f]{64}\n$/);
  return Buffer.from(out.trim(), 'hex');
}

/** LAUNCH_MEASURE (SEV API 55766, 6.5), with API 1.55 build 1. */
function hmac(digest: Uint8Array, policy: number, nonce: Uint8Array, tik: Uint8Array): Buffer {
  const numbers = Buffer.from([4, 1, 55, 1, policy, 0, 0, 0]);
  return createHmac('sha256', tik).update(numbers).update(digest).update(nonce).digest();
}

/** The plan of the run's own assembly. */
async function planOf(line: string): Promise<LaunchPlan> {
  const invocation = parseArguments(words(`run ${line}`), { version: '0', cwd: folder });
  if (invocation.command !== 'run') throw new Error('not a run');
  const { options, given } = resolveOptions([invocation.flags]);
  return planRun(options, given);
}

/** Whole pages, each once, where a region first touches it; then the VMSAs. */
function recomputed(plan: LaunchPlan, withVmsas: boolean): Buffer {
  const pages = new Map<number, Buffer>();
  for (const { gpa, bytes } of plan.regions) {
    for (let at = 0; at < bytes.length; ) {
      const inPage = (gpa + at) % PAGE;
      const start = gpa + at - inPage;
      const page = pages.get(start) ?? Buffer.alloc(PAGE);
      pages.set(start, page);
      const part = bytes.subarray(at, at + PAGE - inPage);
      page.set(part, inPage);
      at += part.length;
    }
  }
  const hash = createHash('sha256');
  for (const page of pages.values()) hash.update(page);
  const vcpus = [...plan.vcpus].sort(([a], [b]) => a - b);
  if (withVmsas) for (const [, state] of vcpus) hash.update(vmsa(state));
  return hash.digest();
}

/** AMD APM vol. 2, table B-4; CR0, CR4, EFER and FPU as KVM starts a vCPU. */
function vmsa(state: VcpuState): Buffer {
  const page = Buffer.alloc(PAGE);
  const put = (at: number, value: bigint) => page.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  const { gdtr, idtr, gpr, ...rest } = state;
  const segments = {
    es: 0,
    cs: 0x10,
    ss: 0x20,
    ds: 0x30,
    fs: 0x40,
    gs: 0x50,
    ldtr: 0x70,
    tr: 0x90,
  };
  for (const [name, at] of Object.entries(segments)) {
    const { selector, attributes, limit, base } = rest[name as keyof typeof segments];
    page.writeUInt16LE(selector, at);
    page.writeUInt16LE(attributes, at + 2);
    page.writeUInt32LE(limit, at + 4);
    put(at + 8, base);
  }
  for (const [at, { limit, base }] of [[0x60, gdtr] as const, [0x80, idtr] as const]) {
    page.writeUInt32LE(limit, at + 4);
    put(at + 8, base);
  }
  put(0xd0, state.efer | 0x1000n);
  put(0x148, state.cr4 | 0x40n);
  put(0x150, state.cr3);
  put(0x158, state.cr0 & ~0x6000_0000n);
  put(0x160, state.dr7);
  put(0x168, state.dr6);
  put(0x170, state.rflags);
  put(0x178, state.rip);
  put(0x240, state.cr2);
  put(0x268, 0x0007040600070406n);
  put(0x3e8, state.xcr0);
  const registers = { rsp: 0x1d8, rax: 0x1f8, rcx: 0x308, rdx: 0x310, rbx: 0x318, rbp: 0x328 };
  for (const [name, at] of Object.entries(registers)) put(at, gpr[name as keyof typeof registers]);
  put(0x330, gpr.rsi);
  put(0x338, gpr.rdi);
  page.writeUInt32LE(0x1f80, 0x408);
  page.writeUInt16LE(0x37f, 0x410);
  return page;
}

describe('run and measure agree', () => {
  const devices = '--rng --balloon --console virtio';
  const cases: [entry: string, mode: string, protect: string, policy: number, more: string][] = [
    ['64', 'sev', 'sev', 0x23, ''],
    ['32', 'sev', 'sev', 0x01, `--policy 1 --virtio pci ${devices}`],
    ['64', 'seves', 'sev-es', 0x27, `--cpus 3 ${devices}`],
    ['32', 'seves', 'sev-es', 0x07, '--policy 7'],
  ];
  test.each(cases)('entry %s, mode %s', async (entry, mode, protect, policy, more) => {
    const line = `${LAUNCH} --entry ${entry} ${more}`;
    const digest = await digestOf(`--mode ${mode} ${line}`);
    const plan = await planOf(`--protect ${protect} ${line}`);
    expect(plan.entry).toBe(`linux${entry}`);
    expect(recomputed(plan, mode === 'seves')).toEqual(digest);
    const blob = await launch(`--protect ${protect} ${line}`);
    expect(blob.length).toBe(48);
    const nonce = blob.subarray(32);
    expect(hmac(digest, policy, nonce, KEY_OF_NOBODY)).toEqual(blob.subarray(0, 32));
    // The same question, asked by the owner in one word; and by --protect in place of --mode.
    const check = `--tik ${KEY_OF_NOBODY.toString('hex')} --launch-measure-blob measure.bin`;
    const { status, out } = await measure(`--protect ${protect} ${line} ${check}`);
    expect({ status, lines: out.split('\n') }).toEqual({
      status: 0,
      lines: [digest.toString('hex'), blob.toString('hex', 0, 32), 'this launch was measured', ''],
    });
  });
});

test('a byte of kernel, initrd, command line, memory or policy makes another launch', async () => {
  const key = `--tik ${KEY_OF_NOBODY.toString('hex')} --nonce ${'00'.repeat(16)} --json`;
  const measured = async (line: string) => {
    const { status, out, errors } = await measure(`--mode seves ${line} ${key}`);
    expect({ status, errors }).toEqual({ status: 0, errors: '' });
    return JSON.parse(out) as { digest: string; measurement: string };
  };
  const flipped = (name: string, at: number) => {
    const bytes = Buffer.from(read(name));
    bytes[at]! ^= 1;
    writeFileSync(path(`${name}.other`), bytes);
  };
  flipped('kernel', 2 * 512 + 0xfff);
  flipped('initrd', 4999);
  const base = await measured(LAUNCH);
  const others = await Promise.all(
    [
      LAUNCH.replace('kernel kernel', 'kernel kernel.other'),
      LAUNCH.replace('initrd initrd', 'initrd initrd.other'),
      LAUNCH.replace('quiet', 'quieu'),
      LAUNCH.replace('32M', '33558528'),
      `${LAUNCH} --cpus 2`,
      `${LAUNCH} --entry 32`,
      `${LAUNCH} --rng`,
    ].map(measured),
  );
  const digests = [base, ...others].map(({ digest }) => digest);
  expect(new Set(digests).size).toBe(digests.length);
  const policy = await measured(`${LAUNCH} --policy 0x26`);
  expect(policy.digest).toBe(base.digest);
  expect(policy.measurement).not.toBe(base.measurement);
  expect(await measured(LAUNCH)).toEqual(base);
});

test('nothing of the host is needed but what the guest is made of', async () => {
  const host = '--disk no.img --share no-folder --vsock no-folder --net passt --net tap=none0';
  const owner = '--platform no.json --session no.bin --dh-cert no.cert --measure-out no.bin';
  const run = '--seed 7 --timeout 3 --exits no.log --dump-memory no.ram --sev-host openbsd';
  const digest = await digestOf(`--mode seves ${LAUNCH} ${host} ${owner} ${run}`);
  // The kinds of devices are in no table, only how many they are.
  const five = '--rng --balloon --console virtio --net passt --net passt';
  expect(await digestOf(`--mode seves ${LAUNCH} ${five}`)).toEqual(digest);
  const config = {
    ...{ kernel: 'kernel', initrd: 'initrd', append: 'quiet', memory: '32M', protect: 'sev-es' },
    ...{ rng: true, balloon: true, console: 'virtio', nets: ['passt', 'passt'] },
  };
  writeFileSync(path('vm.json'), JSON.stringify(config));
  expect(await digestOf('--config vm.json')).toEqual(digest);
});

test('lists pages, dumps VMSAs, and explains what is forgotten', async () => {
  const line = `--mode seves ${LAUNCH} --cpus 2`;
  const { out } = await measure(`${line} --pages --dump-vmsa`);
  const lines = out.trimEnd().split('\n');
  const plan = await planOf(`--protect sev-es ${LAUNCH} --cpus 2`);
  expect(lines.at(-1)).toBe(recomputed(plan, true).toString('hex'));
  expect(lines.at(-2)).toMatch(/ vmsa {7}vmsa-1 /);
  expect(out).toMatch(/^0x000000004000 normal {5}ap-start {9}[0-9a-f]{64}$/m);
  expect(read('vmsa1.bin')).toEqual(vmsa(plan.vcpus.get(1)!));
  const explained = await measure(`${line} --explain ${lines.at(-1)}`);
  expect(explained).toMatchObject({ status: 0, out: expect.stringContaining('is the one') });
  const forgotten: [more: string, said: string][] = [
    ['--rng', 'virtio devices: given 0, found 1'],
    ['--cpus 4', 'CPUs: given 2, found 4'],
    ['--memory 256M', 'memory: given 32M, found 256M'],
  ];
  for (const [more, said] of forgotten) {
    const digest = (await digestOf(`${line} ${more}`)).toString('hex');
    const { status, out } = await measure(`${line} --explain ${digest}`);
    expect(status).toBe(1);
    expect(out).toContain(`  ${said}\n`);
  }
});

describe('refuses', () => {
  const ours = '--vmm-type cloister --mode sev --kernel kernel';
  const refused: [why: string, line: string, said: string][] = [
    ['no kernel', '--vmm-type cloister --mode sev', 'no kernel'],
    ['no protection', '--vmm-type cloister --kernel kernel', '--mode is needed'],
    ['SNP', '--vmm-type cloister --mode snp --kernel kernel', 'no such protection'],
    ['firmware', `${ours} --ovmf F`, '--ovmf has no meaning with --vmm-type cloister'],
    ['two protections', `${ours} --protect sev-es`, 'contradict each other'],
    ['a guest that goes on', `${ours} --restore F`, 'is not launched'],
    ['a policy of SEV-ES for SEV', `${ours} --policy 0x27`, 'it requires SEV-ES'],
    ['a key without a nonce', `${ours} --tik ${'00'.repeat(16)}`, '--nonce'],
    ['a nonce without a key', `${ours} --nonce ${'00'.repeat(16)}`, '--tik is needed'],
    ['PVH', `${ours} --entry pvh`, 'PVH entry can'],
    ['a run’s option for another VMM', '--mode sev --ovmf F --memory 1G', 'without --vmm-type'],
    ['a key for another VMM', `--mode sev --ovmf F --tik ${'00'.repeat(16)}`, 'measure hmac'],
  ];
  test.each(refused)('%s', async (_, line, said) => {
    const { status, out, errors } = await cloister('measure', ...words(line));
    expect({ status, out }).toEqual({ status: 2, out: '' });
    expect(errors).toMatch(/^cloister: (invalid-argument|unsupported): /);
    expect(errors).toContain(said);
  });

  test('another key, policy or launch than was measured, by the status', async () => {
    const line = `${LAUNCH} --protect sev`;
    await launch(line);
    const key = `--tik ${'00'.repeat(16)} --launch-measure-blob measure.bin`;
    expect((await measure(`${line} ${key}`)).status).toBe(0);
    for (const more of ['--policy 1', '--memory 64M', '--build-id 2', `--tik ${'01'.repeat(16)}`]) {
      const { status, out } = await measure(`${line} ${key} ${more}`);
      expect({ more, status }).toEqual({ more, status: 1 });
      expect(out).toContain('another launch was measured');
    }
  });
});
