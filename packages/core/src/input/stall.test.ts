// Stalling: host work of unknown length that ends at a known virtual time. However slow the host
// is, the guest sees the same run, and so does a replay.
import { describe, expect, test } from 'vitest';
import type { InputSource, PluginContext } from '../interfaces/index.js';
import { makeVm, OFF } from '../machine/test-vm.js';
import type { VmOptions } from '../machine/vm.js';
import { collectExits, traceLines } from '../testing/index.js';

const LATENCY = 100;

/** Port 0x60: writing asks the host, which answers `LATENCY` ns later; reading gives the answer. */
function slowDevice(context: PluginContext, work: () => Promise<number>): void {
  let value = 0;
  let outstanding = 0;
  const source: InputSource = context.input.source('slow', ([byte]) => {
    value = byte!;
    context.interrupts.sendMsi(0xfee00000, 0x21);
  });
  const ask = () => {
    if (context.input.replaying) return;
    let due = false;
    let done: number | null = null;
    const settle = () => {
      if (due && done !== null) {
        source.push(Uint8Array.of(done));
        outstanding--;
      }
      source.stall(due && done === null);
    };
    outstanding++;
    context.clock.at(context.clock.now() + LATENCY, () => {
      due = true;
      settle();
    });
    void work().then((result) => {
      done = result;
      settle();
    });
  };
  context.addDevice({
    name: 'slow',
    regions: [{ space: 'io', base: 0x60, length: 1, name: 'slow' }],
    read: () => value,
    write: ask,
    drain: async () => {
      while (outstanding > 0) await work();
    },
    reset: () => {},
    snapshot: () => ({ type: 'slow', version: 1, state: value }),
    restore: () => {},
  });
}

/** A host that takes `turns` turns of the event loop for each answer. */
async function run(turns: number, options: VmOptions = { clock: 'icount' }) {
  let count = 0;
  const work = async () => {
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
    return ++count;
  };
  const { vm } = await makeVm({
    main: [
      { op: 'out', port: 0x60, value: 1 },
      { op: 'work', count: 5000 },
      { op: 'out', port: 0x60, value: 1 },
      { op: 'hlt' },
      { op: 'jump', to: 0, times: 5 },
      OFF,
    ],
    isr: [
      { op: 'in', port: 0x60 },
      { op: 'out', port: 0x80 },
    ],
    options,
    with: (context) => slowDevice(context, work),
  });
  const { exits } = collectExits(vm.events);
  const end = await vm.run();
  const trace = exits.map((exit) => `${exit.instructions} ${traceLines(exit).join()}`);
  return { vm, end, trace, count };
}

describe('a source that stalls', () => {
  test('gives the same run whatever the host takes', async () => {
    const fast = await run(0);
    const slow = await run(30);
    expect(slow.end).toEqual(fast.end);
    expect(slow.trace).toEqual(fast.trace);
    expect(fast.count).toBe(12);
  });

  test('replays without the host', async () => {
    const live = await run(7, { record: true });
    const replay = await run(0, { replay: live.vm.recording() });
    expect(replay.end).toEqual(live.end);
    expect(replay.trace).toEqual(live.trace);
    expect(replay.count).toBe(0);
  });

  test('lets the VM pause and stop meanwhile', async () => {
    let release: (value: number) => void = () => {};
    const { vm } = await makeVm({
      main: [{ op: 'out', port: 0x60, value: 1 }, { op: 'work', count: 5000 }, OFF],
      options: { clock: 'icount' },
      with: (context) => slowDevice(context, () => new Promise((resolve) => (release = resolve))),
    });
    await vm.start();
    while (vm.instructions < LATENCY) await new Promise((resolve) => setImmediate(resolve));
    await vm.pause();
    expect(vm.clock.now()).toBe(LATENCY);
    vm.resume();
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(vm.clock.now()).toBe(LATENCY);
    release(1);
    expect((await vm.run()).reason).toBe('debug-exit');
  });
});
