// A VM in a real Worker, from the build: the same run as inline, control from outside, and every
// way in which the Worker can go wrong.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInWorker, type WorkerVmOptions } from '@cloister/core/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { guest } from '../examples/worker-vmm/guest.js';
import buildVm from '../examples/worker-vmm/vm.js';

const vmModule = new URL('../examples/worker-vmm/vm.js', import.meta.url);
const misbehaving = new URL('lib/misbehaving-vm.js', import.meta.url);
const TEXT = `from a Worker ${'or inline '.repeat(500)}`;
/** `jmp $` */
const SPIN = Uint8Array.of(0xeb, 0xfe);

function collect() {
  const pieces: Uint8Array[] = [];
  return {
    take: ({ bytes }: { readonly bytes: Uint8Array }) => void pieces.push(bytes),
    text: () => Buffer.concat(pieces).toString('latin1'),
  };
}

describe('a VM in a Worker', () => {
  test('writes, counts and ends as inline', async () => {
    const options = { image: guest(TEXT) };
    const inline = collect();
    const vm = await buildVm(options);
    vm.events.console.subscribe(inline.take);
    const end = await vm.run();
    const { busyMs: _ms, ...summary } = vm.summary();
    await vm.dispose();

    const remote = collect();
    const worker = await runInWorker(vmModule, options, { console: remote.take });
    expect(await worker.ended).toEqual(end);
    expect(end).toMatchObject({ reason: 'power-off', message: 'acpi-s5' });
    const { busyMs: _workerMs, ...workerSummary } = await worker.summary();
    expect(workerSummary).toEqual(summary);
    await worker.dispose();
    expect(remote.text()).toBe(TEXT);
    expect(inline.text()).toBe(TEXT);
  });

  test('pauses, is saved, goes on in another Worker, stops while it spins', async () => {
    const first = collect();
    const middle = 20_000;
    const options = { image: guest(TEXT) };
    const host: WorkerVmOptions = { console: first.take, pauseAt: middle };
    const vm = await runInWorker(vmModule, options, host);
    await vm.pause({ at: middle });
    const saved = await vm.save();
    await vm.dispose();
    const second = collect();
    const other = await runInWorker(vmModule, options, { console: second.take, restore: saved });
    expect(await other.ended).toMatchObject({ reason: 'power-off' });
    await other.dispose();
    expect(first.text().length).toBeGreaterThan(0);
    expect(first.text() + second.text()).toBe(TEXT);

    const spinning = await runInWorker(vmModule, { image: SPIN });
    while ((await spinning.summary()).instructions === 0);
    expect(await spinning.stop('timeout')).toMatchObject({ reason: 'timeout' });
    await Promise.all([spinning.dispose(), spinning.dispose()]);
    await spinning.dispose();
    await expect(spinning.summary()).rejects.toMatchObject({ code: 'invalid-state' });
  });

  test('refuses what it refuses inline, by the same error', async () => {
    const inline = await Promise.resolve()
      .then(() => buildVm({ image: SPIN, memory: 'much' }))
      .catch((error) => error);
    const remote = await runInWorker(vmModule, { image: SPIN, memory: 'much' }).catch((e) => e);
    expect(remote.name).toBe('VmmError');
    expect(remote.describe()).toBe(inline.describe());
  });
});

describe('a Worker that fails', () => {
  const data = (code: string) => new URL(`data:text/javascript,${encodeURIComponent(code)}`);

  test.each([
    ['is not there', new URL('none.js', import.meta.url), /none\.js/],
    ['is no JavaScript', data('let let'), /let/],
    ['throws', data('throw new Error("at once")'), /at once/],
    ['serves nothing', data('export default 1'), /status 0/],
    ['ends the thread', data('process.exit(3)'), /status 3/],
  ])('since its module %s', async (_how, module, message) => {
    await expect(runInWorker(module)).rejects.toMatchObject({
      name: 'VmmError',
      code: 'unavailable',
      message,
    });
  });

  test.each([
    ['throw', /thrown by a timer/],
    ['reject', /rejected by nobody/],
    ['exit', /status 7/],
  ])('by %s while the guest runs rejects all that waits', async (how, message) => {
    const vm = await runInWorker(misbehaving, { how });
    const expected = { name: 'VmmError', code: 'internal', message };
    await expect(vm.ended).rejects.toMatchObject(expected);
    await expect(vm.summary()).rejects.toMatchObject(expected);
    await vm.dispose();
  });

  test('by a plugin that hangs is ended by force', async () => {
    const hanging = new Int32Array(new SharedArrayBuffer(4));
    const options = { how: 'hang', hanging };
    const vm = await runInWorker(misbehaving, options, { disposeTimeout: 100 });
    while (Atomics.load(hanging, 0) === 0) await new Promise(setImmediate);
    await vm.dispose();
    await expect(vm.ended).rejects.toMatchObject({ message: /did not answer/ });
  });

  test('since there is no URL', async () => {
    const error = { code: 'invalid-argument', remedy: /import\.meta\.url/ };
    await expect(runInWorker('./vm.js' as unknown as URL)).rejects.toMatchObject(error);
    const remote = runInWorker(new URL('https://example.org/vm.js'));
    await expect(remote).rejects.toMatchObject({ name: 'VmmError', code: 'unavailable' });
  });
});

describe('the process ends by itself', () => {
  const core = new URL('../packages/core/dist/worker/index.js', import.meta.url).href;
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'cloister-worker-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  async function statusOf(body: string) {
    const code = `import { runInWorker } from ${JSON.stringify(core)};
      const start = (image, host) =>
        runInWorker(new URL(${JSON.stringify(vmModule.href)}), { image }, host);
      const spin = Uint8Array.of(${SPIN});
      ${body}
      process.stdout.write('last line');`;
    const program = join(folder, 'main.mjs');
    writeFileSync(program, code);
    const child = spawn(process.execPath, [program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    const [status] = await once(child, 'close');
    return [status, text];
  }

  test.each([
    [
      'after a run that nobody disposed',
      'const vm = await start([0xf4, ...spin]); await vm.stop();',
    ],
    ['while a VM stands still', 'const vm = await start(spin); await vm.pause();'],
    ['after dispose', 'const vm = await start(spin); await vm.dispose();'],
    ['after a failure', 'await start("no image").catch(() => {});'],
    [
      'though a sink never takes anything',
      'const vm = await start(spin, { console: () => new Promise(() => {}) }); await vm.stop();',
    ],
  ])('%s', async (_when, body) => {
    expect(await statusOf(body)).toEqual([0, 'last line']);
  });
});
