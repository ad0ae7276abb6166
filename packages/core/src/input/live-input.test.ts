// External input: when it reaches the guest, how long a guest sleeps for it, and that a replay of
// a recording gives the same run.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { InputSource, PluginContext, Timer } from '../interfaces/index.js';
import { makeVm, OFF, type TestVm } from '../machine/test-vm.js';
import type { VmOptions } from '../machine/vm.js';
import { collectExits, traceLines } from '../testing/index.js';
import { decodeRecording } from './recording-reader.js';
import { encodeRecording, RecordingWriter } from './recording-writer.js';

const TICK = 1e7;

/** A keyboard and a tick: a byte or 10 ms raise an interrupt; port 0x60 gives byte and time. */
function keyboard(context: PluginContext, keep: (source: InputSource) => void): void {
  let last = 0;
  let next = TICK;
  let timer: Timer | null = null;
  const source = context.input.source('keyboard', (data) => {
    last = data[0]!;
    context.interrupts.sendMsi(0xfee00000, 0x21);
  });
  keep(source);
  const arm = () => {
    timer?.cancel();
    timer = context.clock.at(next, () => {
      next += TICK;
      context.interrupts.sendMsi(0xfee00000, 0x20);
      arm();
    });
  };
  context.addDevice({
    name: 'keyboard',
    regions: [{ space: 'io', base: 0x60, length: 8, name: 'keyboard' }],
    read: (_region, offset) => (offset === 0 ? last : context.clock.now() & 0xffffffff),
    write: () => {},
    drain: async () => {},
    reset: () => {},
    snapshot: () => ({ type: 'keyboard', version: 1, state: { last, next } }),
    restore: ({ state }) => {
      ({ last, next } = state as { last: number; next: number });
      arm();
    },
  });
  context.onStart(arm);
}

/** Sleeps between interrupts; each one prints key and time. */
function guest(
  options: VmOptions,
  rounds = 12,
): Promise<{ source: InputSource } & Awaited<ReturnType<typeof makeVm>>> {
  let source: InputSource;
  const setup: TestVm = {
    main: [{ op: 'work', count: 500 }, { op: 'hlt' }, { op: 'jump', to: 0, times: rounds }, OFF],
    isr: [
      { op: 'in', port: 0x60, size: 4 },
      { op: 'out', port: 0x80, size: 4 },
      { op: 'in', port: 0x64, size: 4 },
      { op: 'out', port: 0x80, size: 4 },
    ],
    options,
    with: (context) =>
      keyboard(context, (each) => {
        source = each;
        source.setLive(true);
      }),
  };
  return makeVm(setup).then((made) => ({ ...made, source: source! }));
}

const trace = (vm: Parameters<typeof collectExits>[0]) => {
  const { exits } = collectExits(vm);
  return () => exits.map((exit) => `${exit.instructions} ${traceLines(exit).join()}`);
};

describe('a guest that sleeps while input is live', () => {
  test('waits for its timer in host time, and for input no longer than it takes', async () => {
    const { vm, host, source } = await guest({ clock: 'icount' });
    host.drift = 0;
    await vm.start();
    await host.until(() => host.waiting === 1);
    expect(vm.clock.now()).toBe(501);
    host.advance(2.5);
    source.push(Uint8Array.of(65));
    await host.until(() => vm.instructions > 501);
    // The time passed for the guest too.
    expect(vm.clock.now()).toBeGreaterThanOrEqual(2_500_501);
    expect(vm.clock.now()).toBeLessThan(TICK);
    await vm.stop();
  });

  test('goes by the wall clock unless told otherwise, and the summary says so', async () => {
    const { vm, host } = await guest({});
    await vm.start();
    expect(vm.summary().clock).toEqual({ mode: 'wall', why: 'live input is attached' });
    await host.until(() => host.waiting === 1);
    host.advance(11);
    await host.until(() => vm.instructions > 502);
    expect(vm.clock.now()).toBeGreaterThan(TICK);
    await vm.stop();
  });

  test('no longer sleeps once the input has ended', async () => {
    const { vm, host, source } = await guest({ clock: 'icount' });
    await vm.start();
    await host.until(() => host.waiting === 1);
    source.setLive(false);
    expect(await vm.run()).toMatchObject({ reason: 'debug-exit' });
    expect(host.waiting).toBe(0);
  });
});

describe('a recorded run', () => {
  /** Types `keys` at odd moments of host time. */
  async function record(keys: readonly number[], options: VmOptions = {}) {
    const made = await guest({ record: true, ...options });
    const { vm, host, source } = made;
    const seen = trace(vm.events);
    const end = vm.run();
    for (const key of keys) {
      for (let i = 0; i < 1 + (key % 3); i++) await host.turn();
      host.advance(key / 10);
      source.push(Uint8Array.of(key));
    }
    let over = false;
    end.then(() => {
      over = true;
    });
    await host.until(() => {
      host.advance(3);
      return over;
    });
    return { vm, end: await end, trace: seen() };
  }

  test('replays bit for bit, whatever the host types meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 6 }),
        async (keys) => {
          const first = await record(keys);
          expect(first.vm.summary().clock.mode).toBe('icount');
          const file = decodeRecording(encodeRecording(first.vm.recording()));
          expect(file).toEqual(first.vm.recording());

          const again = await guest({ seed: 1, replay: file });
          const seen = trace(again.vm.events);
          again.source.push(Uint8Array.of(99));
          expect(await again.vm.run()).toEqual(first.end);
          expect(seen()).toEqual(first.trace);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('may be written while it goes on: a function gets all input', async () => {
    const blocks: Uint8Array[] = [];
    let writer: RecordingWriter | undefined;
    const made = await guest({ seed: 1, record: (input) => writer!.add(input) }, 1000);
    writer = new RecordingWriter(made.vm.recording(), (block) => blocks.push(block.slice()), 16);
    const seen = trace(made.vm.events);
    await made.vm.start();
    for (let i = 0; i < 40; i++) {
      await made.host.turn();
      made.host.advance(4);
      if (i % 8 === 3) made.source.push(Uint8Array.of(i));
    }
    await made.vm.stop();
    expect(made.vm.recording().inputs).toEqual([]);
    writer.finish(made.vm.recording().end);
    const replay = decodeRecording(blocks);
    expect(replay.inputs.map(({ data }) => data[0])).toEqual([3, 11, 19, 27, 35]);
    const again = await guest({ replay }, 1000);
    const repeated = trace(again.vm.events);
    await again.vm.run();
    expect(repeated()).toEqual(seen());
  });

  test('that was stopped from outside ends at the same instruction when replayed', async () => {
    const made = await guest({ record: true }, 1000);
    const seen = trace(made.vm.events);
    await made.vm.start();
    for (let i = 0; i < 40; i++) {
      await made.host.turn();
      made.host.advance(4);
      if (i === 7) made.source.push(Uint8Array.of(77));
    }
    const end = await made.vm.stop('timeout');
    const replay = made.vm.recording();
    const again = await guest({ replay }, 1000);
    const repeated = trace(again.vm.events);
    expect(await again.vm.run()).toMatchObject({
      reason: 'timeout',
      instructions: end.instructions,
      message: 'the recorded run ended here',
    });
    expect(repeated()).toEqual(seen());
    expect(again.vm.clock.now()).toBe(made.vm.clock.now());
  });

  test('of another guest is noticed', async () => {
    const first = await record([50, 60]);
    const recording = first.vm.recording();
    const shifted = recording.inputs.map((each) => ({ ...each, at: each.at + 1 }));
    const { vm } = await guest({ replay: { ...recording, inputs: shifted } });
    await expect(vm.run()).rejects.toMatchObject({ code: 'replay-diverged' });
    const other = recording.inputs.map((each) => ({ ...each, source: 'mouse' }));
    const strange = await guest({ replay: { ...recording, inputs: other } });
    await expect(strange.vm.run()).rejects.toThrow('input for mouse');
  });

  test('cannot go by the wall clock, or with another seed', async () => {
    await expect(guest({ record: true, clock: 'wall' })).rejects.toMatchObject({ path: 'clock' });
    const replay = { inputs: [], seed: '5', cpus: 2 };
    await expect(guest({ replay })).rejects.toMatchObject({ path: 'seed' });
    await expect(guest({ replay: { ...replay, seed: '1' } })).rejects.toMatchObject({
      path: 'cpus',
    });
  });

  test('goes on from a restored state', async () => {
    const first = await guest({ record: true });
    const { vm, host, source } = first;
    await vm.start();
    const paused = vm.pause({ at: 1000 });
    await host.until(() => {
      host.advance(3);
      return vm.status === 'paused';
    });
    await paused;
    const saved = await vm.save();
    const seen = trace(vm.events);
    const end = vm.run();
    await host.turn();
    host.advance(2);
    source.push(Uint8Array.of(42));
    source.setLive(false);
    await end;
    const again = await guest({ replay: vm.recording() });
    await again.vm.restore(saved);
    const repeated = trace(again.vm.events);
    expect(await again.vm.run()).toEqual(await end);
    expect(repeated()).toEqual(seen());
  });
});

describe('a source', () => {
  test('takes no more than its bound, and tells when there is room', async () => {
    let rooms = 0;
    let source: InputSource;
    const seen: number[] = [];
    const { vm } = await makeVm({
      main: [{ op: 'work', count: 10 }, OFF],
      with: ({ input }) => {
        source = input.source('pipe', (data) => void seen.push(...data), 4);
        source.onRoom(() => rooms++);
      },
    });
    expect(source!.push(new Uint8Array(9))).toBe(true);
    expect(source!.push(Uint8Array.of(1))).toBe(false);
    await vm.run();
    expect(seen.length).toBe(9);
    expect(rooms).toBe(1);
  });

  test('takes what is given or lent as it is, and records a copy of what was lent', async () => {
    for (const how of ['given', 'lent'] as const) {
      let source: InputSource;
      const seen: Uint8Array[] = [];
      const { vm } = await makeVm({
        main: [{ op: 'work', count: 10 }, OFF],
        options: { record: true },
        with: ({ input }) => {
          source = input.source('pipe', (data) => void seen.push(data));
        },
      });
      const data = Uint8Array.of(1, 2);
      source!.push(data, how);
      await vm.run();
      expect(seen[0]).toBe(data);
      const [recorded] = vm.recording().inputs;
      expect(recorded!.data === data).toBe(how === 'given');
      expect(recorded!.data).toEqual(data);
    }
  });

  test('copies what it is given, and reports what its device throws', async () => {
    let source: InputSource;
    const seen: number[] = [];
    const { vm } = await makeVm({
      main: [{ op: 'work', count: 10 }, OFF],
      with: ({ input }) => {
        source = input.source('pipe', (data) => {
          seen.push(...data);
          throw new Error('overrun');
        });
      },
    });
    const data = Uint8Array.of(1, 2);
    source!.push(data);
    data.fill(9);
    const faults: string[] = [];
    vm.events.faults.subscribe(({ plugin, message }) => faults.push(`${plugin}: ${message}`));
    expect((await vm.run()).reason).toBe('debug-exit');
    expect(seen).toEqual([1, 2]);
    expect(faults).toEqual(['test: input source pipe threw: overrun']);
  });

  test('has a name of its own', async () => {
    const twice = makeVm({
      with: ({ input }) => {
        input.source('pipe', () => {});
        input.source('pipe', () => {});
      },
    });
    await expect(twice).rejects.toMatchObject({ code: 'plugin-conflict', plugin: 'test' });
  });
});
