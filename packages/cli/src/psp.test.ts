/**
 * `cloister psp`: a platform's life in files, an owner's session with it, and a launch that the
 * owner checks with nothing but those files.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emulated } from '@cloister/backend-emu';
import { type BootSource, createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import { parseLegacyCertificate, verifyLegacyChain } from '@cloister/sev/attest';
import { checkLaunchMeasure, measurePlan } from '@cloister/sev/measure';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseArguments } from './arguments.js';
import { main } from './main.js';
import { protectionPlugins } from './protection.js';
import { psp } from './psp.js';
import { FakeHost } from './testing/fake-host.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-psp-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const path = (...names: string[]) => join(folder, ...names);
const file = (...names: string[]) => Uint8Array.from(readFileSync(path(...names)));

/** Runs the words after `cloister psp`; what they print. */
async function run(...words: string[]): Promise<string> {
  let printed = '';
  const invocation = parseArguments(['psp', ...words], { version: '0', cwd: folder });
  if (invocation.command !== 'psp') throw new Error('another command');
  const print = async (text: string) => {
    printed += text;
  };
  expect(await psp(invocation, { cwd: folder, print })).toBe(0);
  return printed;
}

describe('a platform in a file', () => {
  beforeAll(async () => {
    await run('init', 'platform');
    await run('export', 'platform', '--out', 'certificates');
    await run('session', 'certificates/pdh.cert', '--out', 'owner', '--policy', '0x1');
    // The root's RSA keys take their time on a busy machine.
  }, 120_000);

  test('is for its user only, is not overwritten, and says what it is', async () => {
    expect(statSync(path('platform')).mode & 0o77).toBe(0);
    await expect(run('init', 'platform')).rejects.toThrow('is there already');
    const status = JSON.parse(await run('status', 'platform', '--json'));
    expect(status).toEqual({
      api: '1.55 build 1',
      owner: 'self',
      chip: expect.stringMatching(/^[0-9a-f]{128}$/),
    });
    expect(await run('status', 'platform')).toContain(status.chip);
  });

  test('exports the same chain each time, and it verifies', async () => {
    const names = readdirSync(path('certificates'));
    expect(names.sort()).toEqual(
      ['ark', 'ask', 'cek', 'oca', 'pdh', 'pek'].map((n) => `${n}.cert`),
    );
    await run('export', 'platform', '--out', 'again');
    const read = (name: string) => parseLegacyCertificate(file('again', `${name}.cert`));
    for (const name of names) expect(file('again', name)).toEqual(file('certificates', name));
    const [pdh, pek, oca, cek] = ['pdh', 'pek', 'oca', 'cek'].map(read);
    const [ask, ark] = ['ask', 'ark'].map(read);
    const chain = { pdh: pdh!, pek: pek!, oca: oca!, cek: cek!, ask: ask!, ark: ark! };
    const checks = await verifyLegacyChain(chain, ark!);
    expect(checks.filter(({ ok }) => !ok)).toEqual([]);
  });

  test('launches a guest whose measurement the owner checks', async () => {
    const options = {
      backend: 'emu' as const,
      protect: 'sev' as const,
      sevHost: undefined,
      policy: 1,
      platform: path('platform'),
      session: path('owner', 'session.bin'),
      dhCert: path('owner', 'godh.cert'),
      sendTo: undefined,
      measureOut: path('measure'),
      seed: undefined,
    };
    const source = flat({ image: Uint8Array.of(0x30, 0xc0, 0xe6, 0xf4), mode: 'long' });
    let digest = new Uint8Array();
    const predicting: BootSource = {
      ...source,
      plan: (machine) => {
        const plan = source.plan(machine);
        digest = measurePlan(plan, { mode: 'sev' }) as typeof digest;
        return plan;
      },
    };
    const plugins = await protectionPlugins(options);
    const backend = emulated({ tuneHost: false });
    const vm = await createVm({ memory: '8M' })
      .use(backend, pc(), debugExit(), boot(predicting), ...plugins)
      .build();
    expect((await vm.run()).reason).toBe('debug-exit');
    await vm.dispose();
    const version = { major: 1, minor: 55, build: 1 };
    const check = (tik: Uint8Array) =>
      checkLaunchMeasure(file('measure'), { version, policy: 1, digest, tik });
    expect(check(file('owner', 'tik.bin'))).toBe(true);
    expect(check(file('owner', 'tek.bin'))).toBe(false);
    expect(statSync(path('owner', 'tik.bin')).mode & 0o77).toBe(0);
  });

  test('and by nothing but commands, as the documentation has it', async () => {
    // xor eax, eax; out 0xf4, al
    writeFileSync(path('kernel'), Uint8Array.of(0x30, 0xc0, 0xe6, 0xf4));
    const cloister = async (line: string) => {
      const host = Object.assign(new FakeHost(), { cwd: folder });
      return { status: await main(line.split(' '), host), out: host.output, lines: host.lines };
    };
    const guest = '--kernel kernel --entry flat --flat-mode long --memory 8M --policy 1 --rng';
    const session = '--platform platform --session owner/session.bin --dh-cert owner/godh.cert';
    const run = `run --protect sev ${guest} ${session} --measure-out measure.bin --quiet`;
    expect(await cloister(run)).toEqual({ status: 1, out: '', lines: [] });
    const measure = (more: string) =>
      cloister(`measure --vmm-type cloister --mode sev ${guest} ${more}`);
    const blob = '--launch-measure-blob measure.bin';
    const { status, out } = await measure(`--tik owner/tik.bin ${blob}`);
    expect(out).toContain('this launch was measured\n');
    expect(status).toBe(0);
    expect((await measure(`--tik owner/tek.bin ${blob}`)).status).toBe(1);
    expect((await measure(`--tik owner/tik.bin ${blob} --cpus 2`)).status).toBe(1);
  });

  test('refuses a session that is for another policy, and files of other sizes', async () => {
    const options = {
      backend: 'emu' as const,
      protect: 'sev' as const,
      sevHost: undefined,
      policy: 1,
      platform: path('platform'),
      session: path('owner', 'godh.cert'),
      dhCert: path('owner', 'godh.cert'),
      sendTo: undefined,
      measureOut: undefined,
      seed: undefined,
    };
    await expect(protectionPlugins(options)).rejects.toThrow('it has 2084 bytes, not 128');
    const absent = { ...options, session: path('none') };
    await expect(protectionPlugins(absent)).rejects.toThrow('no such file');
  });
});

test('what is no platform, certificate, policy or folder is refused with the file', async () => {
  writeFileSync(path('text'), 'no');
  writeFileSync(path('json'), '{"format":"x"}');
  await expect(run('status', 'text')).rejects.toThrow('text": emulated platform: it is not JSON');
  await expect(run('status', 'json')).rejects.toThrow('another kind of file');
  await expect(run('status', 'absent')).rejects.toThrow('no such file');
  await expect(run('session', 'text', '--out', 'o')).rejects.toThrow('SEV certificate');
  const words = ['session', 'text', '--out', 'o', '--policy', 'much'];
  await expect(run(...words)).rejects.toThrow('--policy: "much" is not 32 bits');
  await expect(run('init', 'text/platform')).rejects.toThrow('not a directory');
  expect(() => parseArguments(['psp', 'export', 'p'], { version: '0', cwd: folder })).toThrow(
    "required option '--out <dir>'",
  );
});
