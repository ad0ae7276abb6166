// The example plugin: its device by the device kit, the whole of it in a VM of the fake processor
// and in one of the emulated processor.
import { emulated } from '@cloister/backend-emu';
import { createVm, type MsrExit } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import { deviceKit, FakeLine, type FakeOp, fakeBackend, fakeMachine } from '@cloister/core/testing';
import { describe, expect, it, test } from 'vitest';
import counter, { COUNT, COUNTER_MSR, Counter, LIMIT, TICK } from './counter.js';

const PORT = 0x560;

deviceKit(
  { describe, it },
  {
    name: 'counter',
    make: (ports) => new Counter(PORT, ports.line()),
    hotOffsets: [[COUNT, LIMIT, TICK]],
  },
);

describe('the device', () => {
  test('counts, and raises its line at the limit', () => {
    const line = new FakeLine();
    const device = new Counter(PORT, line);
    device.write(0, LIMIT, 4, 3);
    device.write(0, TICK, 4, 2);
    expect(line.level).toBe(false);
    device.write(0, TICK, 4, 1);
    expect(line.level).toBe(true);
    expect(device.read(0, COUNT, 4)).toBe(3);
    device.write(0, COUNT, 4, 0);
    expect(line).toMatchObject({ level: false, rises: 1 });
  });

  test('wraps around, and answers aligned words only', () => {
    const device = new Counter(PORT, new FakeLine());
    device.write(0, COUNT, 4, 0xffffffff);
    device.write(0, TICK, 4, 2);
    device.write(0, TICK, 1, 9);
    expect(device.read(0, COUNT, 4)).toBe(1);
    expect(device.read(0, COUNT, 2)).toBe(0);
  });
});

const msr = (direction: MsrExit['direction'], lo: number): MsrExit => {
  const stamp = { vcpu: 0, instructions: 0 };
  return { kind: 'msr', ...stamp, direction, index: COUNTER_MSR, lo, hi: 0, fault: true };
};

/** Runs a script with the plugin. */
async function run(main: readonly FakeOp[], options: Parameters<typeof counter>[0]) {
  const backend = fakeBackend({ programs: [{ main: [...main, { op: 'out', port: 0xf4 }] }] });
  const vm = await createVm({ memory: '1M', seed: 1 })
    .use(fakeMachine(backend), debugExit(), counter(options))
    .build();
  await vm.run();
  const { lines, faults } = vm.summary();
  await vm.dispose();
  return { lines, faults };
}

describe('the plugin', () => {
  test('is a device, an exit handler and a subscriber', async () => {
    const [write, read] = [msr('write', 40), msr('read', 0)];
    const result = await run(
      [
        { op: 'exit', exit: write },
        { op: 'out', port: PORT + TICK, size: 4, value: 2 },
        { op: 'exit', exit: read },
      ],
      { watch: true },
    );
    expect(read).toMatchObject({ lo: 42, hi: 0, fault: false });
    expect(result).toEqual({
      lines: [
        ['counter', '42'],
        ['counter exits', '3'],
      ],
      faults: 0,
    });
  });

  test('does not watch unless asked', async () => {
    const ticks: FakeOp = { op: 'out', port: 0x700 + TICK, size: 4, value: 7 };
    expect((await run([ticks], { port: 0x700 })).lines).toEqual([['counter', '7']]);
  });

  test('cannot lie where something else does', async () => {
    const vm = createVm().use(fakeMachine(fakeBackend({ programs: [] })), debugExit());
    const build = vm.use(counter({ port: 0xf0 })).build();
    await expect(build).rejects.toMatchObject({ code: 'plugin-conflict', plugin: 'counter' });
  });
});

const GUEST = [
  'ba 68 05', // mov dx, PORT + TICK
  '66 b8 05 00 00 00', // mov eax, 5
  '66 ef', // out dx, eax
  '66 ef', // out dx, eax
  '66 b9 52 54 4e 43', // mov ecx, COUNTER_MSR
  '0f 32', // rdmsr
  'e6 f4', // out 0xf4, al
  'f4', // hlt
];

test('a guest of the emulated processor uses it', async () => {
  const image = Uint8Array.from(GUEST.join(' ').split(' '), (byte) => Number.parseInt(byte, 16));
  const vm = await createVm({ memory: '1M', seed: 1 })
    .use(emulated(), pc(), debugExit(), counter(), boot(flat({ image })))
    .build();
  const end = await vm.run();
  await vm.dispose();
  expect(end).toMatchObject({ reason: 'debug-exit', status: (10 << 1) | 1 });
});
