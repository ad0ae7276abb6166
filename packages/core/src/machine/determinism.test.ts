// The same guest gives the same trace whatever the host does meanwhile: other slices, pauses at any
// instruction, saving and restoring in another VM.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PluginContext, Timer } from '../interfaces/index.js';
import { collectExits, type FakeOp, type FakeProgram, traceLines } from '../testing/index.js';
import { makeVm, OFF, type TestVm } from './test-vm.js';
import type { Vm, VmOptions } from './vm.js';

/** Writing n sets a timer n instructions ahead, which interrupts; reading gives time or chance. */
function timerDevice(context: PluginContext): void {
  const due = new Map<number, Timer>();
  let serial = 0;
  let pending: { id: number; at: number }[] = [];
  const arm = (id: number, at: number) => {
    due.set(
      id,
      context.clock.at(at, () => {
        due.delete(id);
        pending = pending.filter((each) => each.id !== id);
        context.interrupts.sendMsi(0xfee00000 | ((id % context.cpus) << 12), 0x40 + (id & 7));
      }),
    );
  };
  context.addDevice({
    name: 'timers',
    regions: [{ space: 'io', base: 0x40, length: 4, name: 'timers' }],
    read: (_region, offset) => (offset === 0 ? context.clock.now() : context.random.u32()) & 0xff,
    write: (_region, _offset, _size, value) => {
      const timer = { id: serial++, at: context.clock.now() + value };
      pending.push(timer);
      arm(timer.id, timer.at);
    },
    drain: async () => {},
    reset: () => {},
    snapshot: () => ({ type: 'timers', version: 1, state: { serial, pending: [...pending] } }),
    restore: ({ state }) => {
      for (const timer of due.values()) timer.cancel();
      due.clear();
      const saved = state as unknown as { serial: number; pending: { id: number; at: number }[] };
      serial = saved.serial;
      pending = [...saved.pending];
      for (const { id, at } of pending) arm(id, at);
    },
  });
}

const op: fc.Arbitrary<FakeOp> = fc.oneof(
  fc.record({ op: fc.constant('work' as const), count: fc.integer({ min: 1, max: 400 }) }),
  fc.record({
    op: fc.constant('out' as const),
    port: fc.constant(0x40),
    value: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({ op: fc.constant('in' as const), port: fc.constantFrom(0x40, 0x41) }),
  fc.record({ op: fc.constant('store' as const), gpa: fc.constantFrom(0x1000, 0x1ffe) }),
  fc.record({ op: fc.constant('load' as const), gpa: fc.constantFrom(0x1000, 0x1ffe) }),
  fc.constant<FakeOp>({ op: 'out', port: 0x80 }),
);

/** A HLT with a timer before it, so that it ends. */
const nap: FakeOp[] = [{ op: 'out', port: 0x40, value: 99 }, { op: 'hlt' }];

const program: fc.Arbitrary<FakeProgram> = fc
  .record({
    main: fc.array(
      fc.oneof(
        op.map((each) => [each]),
        fc.constant(nap),
      ),
      { maxLength: 12 },
    ),
    isr: fc.array(
      op.filter((each) => each.op !== 'out' || each.port !== 0x40),
      { maxLength: 3 },
    ),
    times: fc.integer({ min: 0, max: 5 }),
  })
  .map(({ main, isr, times }) => {
    const steps = main.flat();
    return { main: [...steps, { op: 'jump', to: 0, times }, OFF], isr };
  });

const setup = (programs: readonly FakeProgram[], options: VmOptions = {}): TestVm => ({
  programs,
  options: { quantum: 150, ...options },
  with: (context) => timerDevice(context),
});

function observed(vm: Vm): () => string[] {
  const { exits } = collectExits(vm.events);
  return () => exits.map((exit) => `${exit.instructions} ${traceLines(exit).join()}`);
}

async function plainRun(programs: readonly FakeProgram[], options: VmOptions = {}) {
  const { vm } = await makeVm(setup(programs, options));
  const trace = observed(vm);
  const end = await vm.run();
  const time = vm.clock.now();
  await vm.dispose();
  return { end, trace: trace(), time };
}

const programs = fc.array(program, { minLength: 1, maxLength: 3 });

describe('a run', () => {
  test('is the same with any slices', async () => {
    await fc.assert(
      fc.asyncProperty(programs, fc.integer({ min: 1, max: 500 }), async (guest, slice) => {
        expect(await plainRun(guest, { slice })).toEqual(await plainRun(guest));
      }),
      { numRuns: 60 },
    );
  });

  test('is the same with pauses, and when it is saved and goes on elsewhere', async () => {
    const stops = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(programs, stops, fc.boolean(), async (guest, places, move) => {
        const whole = await plainRun(guest);
        let { vm } = await makeVm(setup(guest));
        let trace = observed(vm);
        const lines: string[] = [];
        await vm.start();
        for (const at of [...places].sort((a, b) => a - b)) {
          await vm.pause({ at });
          if (vm.status !== 'paused') break;
          if (move) {
            const record = await vm.save();
            lines.push(...trace());
            await vm.dispose();
            ({ vm } = await makeVm(setup(guest)));
            trace = observed(vm);
            await vm.restore(record);
          }
          vm.resume();
        }
        const end = await vm.run();
        lines.push(...trace());
        expect({ end, trace: lines, time: vm.clock.now() }).toEqual(whole);
      }),
      { numRuns: 60 },
    );
  });
});
