// What can go wrong between host and Worker, and the end of both, on a thread that is none.
import { describe, expect, test } from 'vitest';
import { VmmError } from '../interfaces/index.js';
import { OFF } from '../machine/test-vm.js';
import { connectVm } from './remote-vm.js';
import { type BuildVm, serveOn } from './serve-vm.js';
import { testThread } from './test-thread.js';
import { build, codeOf, connect, SPIN } from './test-worker.js';

describe('what goes wrong', () => {
  test('in the VM module arrives as it was thrown, and ends the Worker', async () => {
    const thrown = new VmmError('invalid-config', 'no such size', { plugin: 'p', path: 'memory' });
    const cases: [() => unknown, string][] = [
      [() => Promise.reject(thrown), thrown.describe()],
      [() => { throw new Error('oops'); }, 'plugin-failed: oops'],
      [() => ({}), 'invalid-argument: the VM module built no VM'],
    ]; // biome-ignore format: a table
    for (const [make, text] of cases) {
      const thread = testThread();
      serveOn(thread.worker, make as BuildVm<unknown>);
      const error: VmmError = await connectVm(thread, {}, {}).catch((each) => each);
      expect(error.describe().split(' (')[0]).toBe(text);
      expect(thread.terminated).toBe(true);
    }
  });

  test('at the start disposes the VM', async () => {
    let disposed = false;
    const make = () =>
      build([], {
        with: (context) => {
          context.onStart(() => Promise.reject(new Error('no cable')));
          context.onDispose(() => {
            disposed = true;
          });
        },
      });
    await expect(connect(make, {})).rejects.toMatchObject({
      code: 'plugin-failed',
      plugin: 'test',
      message: /no cable/,
    });
    expect(disposed).toBe(true);
  });

  test('in the Worker rejects all that waits', async () => {
    const { vm, thread } = await connect(() => build([SPIN]), {});
    const summary = vm.summary();
    const never = vm.pause({ at: 2 ** 40 });
    thread.crash({ code: 'out-of-memory', message: 'heap' });
    thread.crash({ code: 'internal', message: 'status 1' });
    for (const each of [summary, never, vm.ended, vm.stop()]) {
      await expect(each).rejects.toMatchObject({ code: 'out-of-memory', message: /heap/ });
    }
    await vm.dispose();
    expect(thread.alive).toBe(false);
  });

  test('before the VM module serves anything says so', async () => {
    const thread = testThread();
    const connecting = connectVm(thread, {}, {});
    thread.crash({ code: 'internal', message: 'not found' });
    await expect(connecting).rejects.toMatchObject({ code: 'unavailable', message: /not found/ });
  });

  test('with options that cannot be cloned', async () => {
    const options = { callback: () => {} };
    await expect(connect(() => build([]), options)).rejects.toMatchObject({
      code: 'invalid-argument',
      remedy: /plain data/,
    });
  });

  test('with an instruction that is none', async () => {
    const error = { code: 'invalid-argument', path: 'pauseAt' };
    await expect(connect(() => build([]), {}, { pauseAt: -1 })).rejects.toMatchObject(error);
    const { vm } = await connect(() => build([SPIN]), {});
    expect(await codeOf(vm.pause({ at: Number.NaN }))).toBe('invalid-argument');
    await vm.dispose();
  });

  test('between two versions', async () => {
    const thread = testThread();
    const connecting = connectVm(thread, {}, {});
    thread.worker.send({ cloister: 'vm', kind: 'ready', protocol: 99 });
    await expect(connecting).rejects.toMatchObject({ code: 'version-mismatch', message: /99/ });
  });

  test('is not what other code says on the same line', async () => {
    const { vm, thread } = await connect(() => build([OFF]), {});
    for (const message of [null, 7, 'x', { kind: 'ended', end: null }, { cloister: 1 }]) {
      thread.worker.send(message);
      thread.send(message);
    }
    expect((await vm.ended).reason).toBe('debug-exit');
    await vm.dispose();
  });

  test('when a VM is disposed', async () => {
    const make = () =>
      build([SPIN], {
        with: (context) => context.onDispose(() => Promise.reject(new Error('stuck'))),
      });
    const { vm, thread } = await connect(make, {});
    await expect(vm.dispose()).rejects.toMatchObject({ name: 'VmmError', message: /stuck/ });
    expect(thread.terminated).toBe(true);
    expect((await vm.ended).reason).toBe('stopped');
  });
});

describe('dispose', () => {
  test('may be called again; nothing can be asked afterwards', async () => {
    const { vm, thread } = await connect(() => build([SPIN]), {});
    const first = vm.dispose();
    expect(await codeOf(vm.summary())).toBe('invalid-state');
    expect(vm.dispose()).toBe(first);
    await first;
    await vm.dispose();
    expect((await vm.ended).reason).toBe('stopped');
    expect(await codeOf(vm.stop())).toBe('invalid-state');
    expect([thread.terminated, thread.alive]).toEqual([true, false]);
  });

  test('does not wait for a Worker that hangs', async () => {
    const thread = testThread();
    thread.worker.onMessage((message) => {
      const { kind } = message as { readonly kind: string };
      if (kind === 'start') thread.worker.send({ cloister: 'vm', kind: 'started' });
    });
    thread.worker.send({ cloister: 'vm', kind: 'ready', protocol: 1 });
    const vm = await connectVm(thread, {}, { disposeTimeout: 1 });
    await vm.dispose();
    expect(thread.terminated).toBe(true);
    await expect(vm.ended).rejects.toMatchObject({ message: /did not answer/ });
  });
});
