// Saving and restoring: in the middle of a run, in another VM, with the same rest of the run.
import { describe, expect, test } from 'vitest';
import type { PluginContext, Snapshot, Timer } from '../interfaces/index.js';
import { collectExits, type FakeOp, traceLines } from '../testing/index.js';
import { decodeSnapshot, encodeSnapshot } from './snapshot-file.js';
import { makeVm, OFF, type TestVm } from './test-vm.js';

/** A device that sends an interrupt at every period, and a random number and the time on read. */
function ticker(context: PluginContext, period = 1000): void {
  let next = period;
  let timer: Timer | null = null;
  const arm = () => {
    timer?.cancel();
    timer = context.clock.at(next, () => {
      next += period;
      context.interrupts.sendMsi(0xfee00000, 0x31);
      arm();
    });
  };
  context.addDevice({
    name: 'ticker',
    regions: [{ space: 'io', base: 0x40, length: 8, name: 'ticker' }],
    read: (_region, offset) =>
      offset === 0 ? context.random.u32() >>> 0 : context.clock.now() & 0xffffffff,
    write: () => {},
    drain: async () => {},
    reset: () => {},
    snapshot: () => ({ type: 'ticker', version: 1, state: { next } }),
    restore: ({ state }: Snapshot) => {
      next = (state as { next: number }).next;
      arm();
    },
  });
  context.onStart(arm);
}

const setup: TestVm = {
  programs: [
    {
      main: [
        { op: 'in', port: 0x40, size: 4 },
        { op: 'out', port: 0x80, size: 4 },
        { op: 'store', gpa: 0x3000 },
        { op: 'work', count: 333 },
        { op: 'hlt' },
        { op: 'load', gpa: 0x3000 },
        { op: 'out', port: 0x81, size: 4 },
        { op: 'jump', to: 0, times: 30 },
        OFF,
      ],
      isr: [
        { op: 'in', port: 0x44, size: 4 },
        { op: 'out', port: 0x82, size: 4 },
      ],
    },
    {
      main: [
        { op: 'work', count: 77 },
        { op: 'out', port: 0x90 },
        { op: 'jump', to: 0 },
      ],
    },
  ],
  options: { quantum: 100 },
  with: (context) => ticker(context),
};

function observed(vm: Parameters<typeof collectExits>[0]): () => string[] {
  const { exits } = collectExits(vm);
  return () => exits.map((exit) => `${exit.instructions} ${traceLines(exit).join()}`);
}

const configuration = (changes: Partial<TestVm['options']> = {}): TestVm => ({
  ...setup,
  options: { ...setup.options, ...changes },
});

describe('a VM saved in mid-run', () => {
  test('goes on in another VM with the same exits, times and random numbers', async () => {
    const whole = await makeVm(setup);
    const all = observed(whole.vm.events);
    const end = await whole.vm.run();
    expect(all().length).toBeGreaterThan(200);

    for (const at of [1, 1234, 4321, 9000]) {
      const first = await makeVm(setup);
      const head = observed(first.vm.events);
      await first.vm.start();
      await first.vm.pause({ at });
      const file = await encodeSnapshot(await first.vm.save());
      await first.vm.dispose();

      const second = await makeVm(configuration({ seed: 99 }));
      const tail = observed(second.vm.events);
      await second.vm.restore(await decodeSnapshot(file));
      expect(second.vm.status).toBe('paused');
      expect(second.vm.instructions).toBe(at);
      expect(second.vm.seed).toBe('1');
      expect(await second.vm.run()).toEqual(end);
      expect([...head(), ...tail()]).toEqual(all());
      await second.vm.dispose();
    }
  });

  test('can be saved while it runs, and is not disturbed by that', async () => {
    const whole = await makeVm(setup);
    const all = observed(whole.vm.events);
    const end = await whole.vm.run();

    const again = await makeVm(setup);
    const trace = observed(again.vm.events);
    await again.vm.start();
    const records = [await again.vm.save(), await again.vm.save()];
    expect(await again.vm.run()).toEqual(end);
    expect(trace()).toEqual(all());
    const restored = await makeVm(setup);
    await restored.vm.restore(records[1]!);
    expect(await restored.vm.run()).toEqual(end);
  });

  test('goes on when a device cannot be saved', async () => {
    const { vm } = await makeVm({
      ...setup,
      with: (context) => {
        context.addDevice({
          name: 'stubborn',
          regions: [],
          read: () => 0,
          write: () => {},
          drain: () => Promise.reject(new Error('no')),
          reset: () => {},
          snapshot: () => ({ type: 'stubborn', version: 1, state: null }),
          restore: () => {},
        });
      },
    });
    await vm.start();
    await expect(vm.save()).rejects.toThrow('no');
    expect(vm.status).toBe('running');
    await vm.dispose();
  });

  test('can be saved after it was stopped from outside', async () => {
    const first = await makeVm(setup);
    await first.vm.start();
    await first.vm.pause({ at: 2000 });
    await first.vm.stop('timeout');
    const record = await first.vm.save();
    const second = await makeVm(setup);
    await second.vm.restore(record);
    expect(await second.vm.run()).toMatchObject({ reason: 'debug-exit', status: 7 });
  });
});

describe('input that waits', () => {
  test('is saved with its order and with who holds it back', async () => {
    const build = async () => {
      const seen: string[] = [];
      const sources: Record<string, ReturnType<PluginContext['input']['source']>> = {};
      const { vm } = await makeVm({
        main: [{ op: 'work', count: 50 }, OFF],
        with: ({ input }) => {
          for (const name of ['a', 'b']) {
            const deliver = (data: Uint8Array) => void seen.push(`${name}${data[0]}`);
            sources[name] = input.source(name, deliver);
          }
        },
      });
      return { vm, seen, sources };
    };
    const first = await build();
    await first.vm.start();
    first.sources['a']!.hold(true);
    first.sources['a']!.push(Uint8Array.of(1));
    first.sources['b']!.push(Uint8Array.of(2));
    await first.vm.pause({ at: 0 });
    const record = await first.vm.save();
    expect(first.seen).toEqual([]);

    const second = await build();
    await second.vm.restore(record);
    await second.vm.run();
    expect(second.seen).toEqual(['b2']);
    const third = await build();
    await third.vm.restore(record);
    third.sources['a']!.hold(false);
    await third.vm.run();
    expect(third.seen).toEqual(['a1', 'b2']);
  });
});

describe('what does not fit is refused', () => {
  const saved = async (): Promise<Snapshot> => {
    const { vm } = await makeVm(setup);
    await vm.start();
    await vm.pause({ at: 100 });
    return vm.save();
  };
  const refuse = async (record: unknown, build: TestVm, message: string): Promise<void> => {
    const { vm } = await makeVm(build);
    await expect(vm.restore(record as Snapshot)).rejects.toMatchObject({
      code: 'snapshot-mismatch',
      message: expect.stringContaining(message),
    });
    await vm.dispose();
  };

  test('another configuration, by what differs', async () => {
    const record = await saved();
    await refuse(record, configuration({ memory: '2M' }), 'memory 1048576; this one has 2097152');
    await refuse(record, { ...setup, with: () => {} }, 'devices ["ticker"]; this one has []');
    const [program] = setup.programs!;
    await refuse(record, { ...setup, programs: [program!] }, 'cpus 2; this one has 1');
  });

  test('another type, version or shape', async () => {
    const record = await saved();
    await refuse({ ...record, type: 'toast' }, setup, 'this is a toast');
    await refuse({ ...record, version: 9 }, setup, 'version 9');
    const state = record.state as Record<string, unknown>;
    for (const part of Object.keys(state)) {
      await refuse({ ...record, state: { ...state, [part]: true } }, setup, '');
      const { [part]: _, ...rest } = state;
      await refuse({ ...record, state: rest }, setup, '');
    }
  });

  test('a VM in the wrong state', async () => {
    const { vm } = await makeVm(setup);
    await expect(vm.save()).rejects.toMatchObject({ code: 'invalid-state' });
    const record = await saved();
    await vm.start();
    await expect(vm.restore(record)).rejects.toMatchObject({ code: 'invalid-state' });
    await vm.dispose();
    await expect(vm.save()).rejects.toMatchObject({ code: 'invalid-state' });
  });
});

test('restoring needs no boot source', async () => {
  const first = await makeVm(setup);
  await first.vm.start();
  await first.vm.pause({ at: 500 });
  const record = await first.vm.save();
  const end = await first.vm.run();
  const { vm: bare } = await makeVm({ ...setup, boot: false });
  await expect(bare.start()).rejects.toMatchObject({ code: 'missing-capability' });
  await bare.dispose();
  const { vm } = await makeVm({ ...setup, boot: false });
  await vm.restore(record);
  expect(await vm.run()).toEqual(end);
  expect(vm.summary().boot).toBeNull();
});

const hop: FakeOp = { op: 'work', count: 10 };
test('a paused wall clock does not count the time between', async () => {
  const { vm, host } = await makeVm({
    main: [hop, OFF],
    options: { clock: 'wall' },
  });
  host.drift = 0;
  await vm.start();
  await vm.pause({ at: 0 });
  host.advance(1000);
  expect(vm.clock.now()).toBe(0);
  await vm.run();
  expect(vm.clock.now()).toBe(0);
});
