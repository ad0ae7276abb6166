// Exits that nobody answers: the architecture's answer, the count, and a bounded number of faults.
import { describe, expect, test } from 'vitest';
import type { FaultEvent, HypercallExit, MsrExit, SystemEventExit } from '../interfaces/index.js';
import type { FakeOp } from '../testing/index.js';
import { makeVm, OFF, type TestVm } from './test-vm.js';

async function faultsOf(setup: TestVm) {
  const { vm } = await makeVm(setup);
  const faults: FaultEvent[] = [];
  vm.events.faults.subscribe((fault) => faults.push(fault));
  const end = await vm.run();
  const summary = vm.summary();
  await vm.dispose();
  return { faults: faults.map(({ kind, message }) => `${kind}: ${message}`), end, summary };
}

const msr = (index: number): MsrExit => ({
  kind: 'msr',
  vcpu: 0,
  instructions: 0,
  direction: 'read',
  index,
  lo: 0,
  hi: 0,
  fault: true,
});

const event = (name: SystemEventExit['event']): SystemEventExit => ({
  kind: 'system-event',
  vcpu: 0,
  instructions: 0,
  event: name,
  data: [],
});

describe('ports and addresses', () => {
  test('are named once each and counted always', async () => {
    const { faults, summary } = await faultsOf({
      main: [
        { op: 'in', port: 0x2f9 },
        { op: 'out', port: 0x80 },
        { op: 'out', port: 0x80 },
        { op: 'load', gpa: 0xfed00000 },
        { op: 'load', gpa: 0xfed00010, size: 8 },
        OFF,
      ],
    });
    expect(faults).toEqual([
      'unclaimed: no device at port 0x2f9 (in, 1 bytes)',
      'unclaimed: no device at port 0x80 (out, 1 bytes)',
      'unclaimed: no device at address 0xfed00000 (read, 4 bytes)',
    ]);
    expect(summary.exits).toMatchObject({ unclaimedIo: 3, unclaimedMmio: 2, total: 6 });
    expect(summary.exits.byPort[0]).toEqual({ port: 0x80, count: 2 });
  });

  test('without end do not give faults without end', async () => {
    const scan: FakeOp[] = Array.from({ length: 1000 }, (_, i) => ({ op: 'in', port: 0x1000 + i }));
    const { faults, summary } = await faultsOf({ main: [...scan, OFF] });
    expect(faults.length).toBe(256);
    expect(summary.exits.unclaimedIo).toBe(1000);
    expect(summary.faults).toBe(256);
  });
});

test('an MSR that nobody knows stays a fault of the guest', async () => {
  const exits = [msr(0xc0010000), msr(0x1a0)];
  const { faults } = await faultsOf({
    main: [{ op: 'exit', exit: exits[0]! }, { op: 'exit', exit: exits[1]! }, OFF],
    with: ({ addExitHandler }) =>
      addExitHandler({
        name: 'one msr',
        filter: { kind: 'msr', indices: { base: 0x1a0, length: 1 } },
        handle(exit) {
          exit.fault = false;
          exit.lo = 7;
          return 'handled';
        },
      }),
  });
  expect(faults).toEqual(['unclaimed: read of unknown MSR 0xc0010000']);
  expect(exits).toMatchObject([{ fault: true }, { fault: false, lo: 7 }]);
});

test('a hypercall that nobody knows returns -ENOSYS', async () => {
  const exit: HypercallExit = {
    kind: 'hypercall',
    vcpu: 0,
    instructions: 0,
    number: 99,
    args: new Uint32Array(8),
    resultLo: 0,
    resultHi: 0,
  };
  await faultsOf({ main: [{ op: 'exit', exit }, OFF] });
  expect([exit.resultLo | 0, exit.resultHi | 0]).toEqual([-1000, -1]);
});

describe('a platform event', () => {
  test.each([
    ['shutdown', 'power-off'],
    ['reset', 'reset'],
    ['crash', 'error'],
    ['sev-term', 'error'],
    ['wakeup', 'debug-exit'],
  ] as const)('%s ends as %s', async (name, reason) => {
    const { end } = await faultsOf({ main: [{ op: 'exit', exit: event(name) }, OFF] });
    expect(end.reason).toBe(reason);
  });

  test('ends in the words of who reports it', async () => {
    const exit = { ...event('sev-term'), message: 'the guest gave up' };
    const { end } = await faultsOf({ main: [{ op: 'exit', exit }, OFF] });
    expect(end.message).toBe('the guest gave up');
  });
});
