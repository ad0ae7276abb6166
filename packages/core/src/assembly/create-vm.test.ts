// Assembly: what is checked before anything starts, what errors name, what is undone and how.
import { describe, expect, test } from 'vitest';
import type { Device, PluginContext } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { type FakeBackendOptions, fakeBackend, fakeMachine } from '../testing/fake-backend.js';
import { FakeHost } from '../testing/fake-host.js';
import { createVm, type Usable } from './create-vm.js';
import { definePlugin, type PluginDefinition } from './define-plugin.js';
import { CLOCK, GUEST_MEMORY, serviceToken } from './tokens.js';

function part(
  name: string,
  setup: (context: PluginContext) => void = () => {},
  rest: Partial<PluginDefinition> = {},
): PluginDefinition {
  return { name, version: '1.0.0', api: 1, setup, ...rest };
}

function device(name: string, base: number, log: string[] = []): Device {
  return {
    name,
    regions: [{ space: 'io', base, length: 4, name }],
    read: () => 0,
    write: () => {},
    drain: async () => {},
    reset: () => {},
    snapshot: () => ({ type: name, version: 1, state: null }),
    restore: () => {},
    dispose: () => void log.push(`device ${name}`),
  };
}

function builder(backend: Partial<FakeBackendOptions> = {}) {
  const fake = fakeBackend({ programs: [{ main: [] }], ...backend });
  return createVm({ memory: '1M', host: new FakeHost() }).use(fakeMachine(fake));
}

async function failure(promise: Promise<unknown>): Promise<VmmError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof VmmError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

describe('definePlugin', () => {
  test('fills in the lists and freezes', () => {
    const plugin = definePlugin(part('a'));
    expect(plugin).toMatchObject({ requires: [], provides: [] });
    expect(Object.isFrozen(plugin)).toBe(true);
  });

  test('names both versions where the plugin interface is another', () => {
    const odd = part('tracer', () => {}, { version: '3.1.4', api: 2 as unknown as 1 });
    expect(() => definePlugin(odd)).toThrow(
      'plugin tracer 3.1.4 was written for plugin API 2; this core has 1',
    );
  });

  test.each([
    ['no object', 'a string', 'is not a plugin'],
    ['no name', { ...part('x'), name: '' }, 'a plugin cannot be named ""'],
    ['no version', { ...part('x'), version: 'latest' }, 'its version "latest" is none'],
    ['no setup', { ...part('x'), setup: undefined }, 'it has no setup function'],
    ['no list', { ...part('x'), requires: 'cpu' }, 'requires is not a list of words'],
  ])('refuses %s', (_what, plugin, message) => {
    expect(() => definePlugin(plugin as PluginDefinition)).toThrow(message);
  });
});

describe('build', () => {
  test('takes presets, and skips what is falsy', async () => {
    const order: string[] = [];
    const note = (name: string) => part(name, () => void order.push(name));
    const preset: readonly Usable[] = [note('b'), [note('c')], null];
    const vm = await builder().use(note('a'), false, preset, undefined, '', note('d')).build();
    expect(order).toEqual(['a', 'b', 'c', 'd']);
    await vm.dispose();
  });

  test('needs a processor', async () => {
    const error = await failure(createVm().use(part('a')).build());
    expect(error).toMatchObject({ code: 'missing-capability' });
    expect(error.remedy).toContain('@cloister/backend-emu');
  });

  test('names a missing word, its plugin and the remedy, before anything starts', async () => {
    let made = false;
    const fake = fakeBackend({ programs: [] });
    const create = fake.createVm.bind(fake);
    fake.createVm = (options) => {
      made = true;
      return create(options);
    };
    const needy = part('disk', () => {}, { requires: ['cpu', 'irqchip'] });
    const error = await failure(createVm().use(fakeMachine(fake), needy).build());
    expect(error.describe()).toBe(
      'missing-capability: disk: requires irqchip, which nothing here provides' +
        ' (use pc() of @cloister/core/devices)',
    );
    expect(made).toBe(false);
  });

  test('accepts words of plugins, in any order, of the backend and of core', async () => {
    const needy = part('a', () => {}, { requires: ['b.word', 'cpu.fake', 'core.snapshot'] });
    const giving = part('b', () => {}, { provides: ['b.word'] });
    await (await builder().use(needy, giving).build()).dispose();
  });

  test('says why a backend is not available', async () => {
    const probe = { available: false, reason: 'no /dev/kvm', remedy: 'load the kvm module' };
    const error = await failure(builder({ probe }).build());
    expect(error.describe()).toBe('unavailable: backend fake: no /dev/kvm (load the kvm module)');
  });

  test.each<[string, Usable, string]>([
    ['a plugin used twice', [part('a'), part('a')], 'plugin a is used twice'],
    [
      'two backends',
      part('second', (context) => context.setBackend(fakeBackend({ programs: [] }))),
      'fake-machine and second both set the backend',
    ],
    [
      'two devices on one port',
      part('d', (context) => {
        context.addDevice(device('one', 0x60));
        context.addDevice(device('two', 0x63));
      }),
      'regions two/two and one/one overlap at io 0x63',
    ],
    [
      'two devices of one name',
      part('d', (context) => {
        context.addDevice(device('one', 0x60));
        context.addDevice(device('one', 0x70));
      }),
      'there are two devices named one',
    ],
    [
      'two providers of one service',
      [
        part('p', (context) => context.provide(serviceToken<number>('n'), 1)),
        part('q', (context) => context.provide(serviceToken<number>('n'), 2)),
      ],
      'q and p both provide n',
    ],
    [
      'a service that is core’s own',
      part('p', (context) => context.provide(CLOCK, context.clock)),
      'p and @cloister/core both provide @cloister/core/Clock',
    ],
  ])('refuses %s', async (_what, plugins, message) => {
    const error = await failure(builder().use(plugins).build());
    expect(error).toMatchObject({ code: 'plugin-conflict', message });
  });

  test('names the plugin whose set-up failed, whatever it threw', async () => {
    const broken = part('broken', () => {
      throw new TypeError('undefined is not a function');
    });
    expect(await failure(builder().use(broken).build())).toMatchObject({
      code: 'plugin-failed',
      plugin: 'broken',
      message: 'could not be set up: undefined is not a function',
    });
    const picky = part('picky', () => {
      throw new VmmError('invalid-config', 'no such file', { path: 'disk.file' });
    });
    expect(await failure(builder().use(picky).build())).toMatchObject({
      code: 'invalid-config',
      plugin: 'picky',
      path: 'disk.file',
    });
  });

  test('builds once', async () => {
    const once = builder();
    await once.build();
    expect(await failure(once.build())).toMatchObject({ code: 'invalid-state' });
  });

  test('undoes what was made when a later step fails, in reverse', async () => {
    const log: string[] = [];
    const early = part('early', (context) => {
      context.onDispose(() => void log.push('early'));
      context.addDevice(device('one', 0x60, log));
    });
    const late = part('late', (context) => {
      context.onDispose(() => void log.push('late'));
      throw new Error('no');
    });
    await failure(builder().use(early, late).build());
    expect(log).toEqual(['late', 'device one', 'early']);
  });
});

describe('memory besides RAM', () => {
  const rom = (gpa: number, rest: object = {}) =>
    part('rom', (context) =>
      context.addMemory({ name: 'bios', gpa, size: 0x2000, readOnly: true, ...rest }),
    );

  test('holds its contents, again after a reset; writes of the guest are faults', async () => {
    const gpa = 0xffffe000;
    const fake = fakeBackend({
      programs: [
        {
          main: [
            { op: 'load', gpa },
            { op: 'out', port: 0x80, size: 4 },
            { op: 'store', gpa, value: 5 },
            { op: 'store', gpa, value: 6 },
            { op: 'shutdown' },
          ],
        },
      ],
    });
    const loaded: number[] = [];
    const vm = await createVm({ memory: '1M', onReset: 'reboot', host: new FakeHost() })
      .use(fakeMachine(fake), rom(gpa, { bytes: Uint8Array.of(1, 2) }))
      .use(
        part('port', (context) =>
          context.addExitHandler({
            name: 'port',
            filter: { kind: 'io' },
            handle(exit) {
              loaded.push(exit.data[0]! + 256 * exit.data[1]!);
              if (loaded.length === 1) context.memory.write(gpa, Uint8Array.of(9, 9));
              else context.control.powerOff('done');
              return 'handled';
            },
          }),
        ),
      )
      .build();
    const faults: string[] = [];
    vm.events.faults.subscribe(({ kind, message }) => faults.push(`${kind}: ${message}`));
    expect((await vm.run()).reason).toBe('power-off');
    expect(loaded).toEqual([0x201, 0x201]);
    expect(faults).toEqual(['rom-write: write to read-only memory at 0xffffe000']);
    expect(vm.memory.ramSize).toBe(2 ** 20);
    await vm.dispose();
  });

  test.each<[string, Usable, string, string]>([
    ['over RAM', rom(0xff000), 'plugin-conflict', 'memory bios and ram overlap'],
    ['of odd size', rom(0x200000, { size: 5 }), 'invalid-argument', 'memory bios is not whole'],
    [
      'smaller than its contents',
      rom(0x200000, { bytes: new Uint8Array(0x2001) }),
      'invalid-argument',
      'memory bios is smaller than its contents',
    ],
    [
      'under a device',
      [
        rom(0x200000),
        part('d', (context) =>
          context.addDevice({
            ...device('dev', 0),
            regions: [{ space: 'mmio', base: 0x201ff0, length: 0x20, name: 'regs' }],
          }),
        ),
      ],
      'plugin-conflict',
      'region dev/regs at 0x201ff0 lies in memory (bios)',
    ],
  ])('%s is refused', async (_what, plugins, code, message) => {
    const error = await failure(builder().use(plugins).build());
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
    expect(error.plugin).toBeDefined();
  });
});

describe('services', () => {
  test('reach plugins set up later, and the host', async () => {
    const token = serviceToken<{ readonly answer: number }>('test/answer');
    let got = 0;
    const vm = await builder()
      .use(
        part('giver', (context) => context.provide(token, { answer: 42 })),
        part('taker', (context) => {
          got = context.get(token).answer;
        }),
      )
      .build();
    expect(got).toBe(42);
    expect(vm.get(token).answer).toBe(42);
    expect(vm.get(GUEST_MEMORY).ramSize).toBe(2 ** 20);
    await vm.dispose();
  });

  test('that nobody provides are named', async () => {
    const token = serviceToken<number>('test/nothing');
    const taker = part('taker', (context) => void context.get(token));
    expect(await failure(builder().use(taker).build())).toMatchObject({
      code: 'missing-capability',
      plugin: 'taker',
      message: 'nothing provides test/nothing',
    });
  });

  test('of two VMs are apart', async () => {
    const token = serviceToken<number>('test/number');
    const build = (value: number) =>
      builder()
        .use(part('giver', (context) => context.provide(token, value)))
        .build();
    const [one, two] = [await build(1), await build(2)];
    expect([one.get(token), two.get(token)]).toEqual([1, 2]);
    await one.dispose();
    expect(two.get(token)).toBe(2);
    await two.dispose();
  });
});

describe('starting', () => {
  test('runs hooks in order, after the backend exists; memory before is an error', async () => {
    const log: string[] = [];
    const early = part('early', (context) => {
      expect(() => context.memory).toThrow('has no backend yet');
      expect(context.dma).toBeDefined();
      context.onStart(async () => {
        await new FakeHost().turn();
        log.push(`early ${context.memory.ramSize}`);
      });
    });
    const late = part('late', (context) => context.onStart(() => void log.push('late')));
    const vm = await builder().use(early, late).build();
    expect(log).toEqual([]);
    await vm.run();
    expect(log).toEqual(['early 1048576', 'late']);
    await vm.dispose();
  });

  test('fails with the plugin at fault; the VM is then of no use', async () => {
    const broken = part('broken', (context) =>
      context.onStart(() => Promise.reject(new Error('socket in use'))),
    );
    const vm = await builder().use(broken).build();
    expect(await failure(vm.run())).toMatchObject({
      code: 'plugin-failed',
      plugin: 'broken',
      message: 'could not start: socket in use',
    });
    expect(vm.status).toBe('stopped');
    expect(await failure(vm.start())).toMatchObject({ code: 'plugin-failed' });
    await vm.dispose();
  });
});

describe('dispose', () => {
  test('goes in reverse, collects every error, and happens once', async () => {
    const log: string[] = [];
    const vm = await builder({ onDispose: () => void log.push('backend') })
      .use(
        part('a', (context) => {
          context.onDispose(() => void log.push('a'));
          context.onDispose(() => Promise.reject(new Error('first')));
        }),
        part('b', (context) => {
          context.addDevice(device('d', 0x60, log));
          context.onDispose(() => {
            throw new Error('second');
          });
        }),
      )
      .build();
    await vm.start();
    const error = await vm.dispose().catch((each: unknown) => each);
    expect(error).toBeInstanceOf(AggregateError);
    expect((error as AggregateError).errors.map((each: Error) => each.message)).toEqual([
      'second',
      'first',
    ]);
    expect(log).toEqual(['backend', 'device d', 'a']);
    await expect(vm.dispose()).rejects.toBe(error);
    expect(log.length).toBe(3);
    expect(vm.status).toBe('disposed');
  });

  test('ends a run that is under way', async () => {
    const fake = fakeBackend({
      programs: [
        {
          main: [
            { op: 'work', count: 1000 },
            { op: 'jump', to: 0 },
          ],
        },
      ],
    });
    const vm = await createVm({ memory: '1M' }).use(fakeMachine(fake)).build();
    const run = vm.run();
    await vm.start();
    await vm.dispose();
    expect(await run).toMatchObject({ reason: 'stopped', message: 'the VM was disposed' });
  });
});
