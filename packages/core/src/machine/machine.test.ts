// The run loop: exact timers, jumps over sleep, turns of several CPUs, ends, requests.
import { describe, expect, test } from 'vitest';
import { createVm } from '../assembly/create-vm.js';
import type { PluginContext } from '../interfaces/index.js';
import { collectExits, FakeHost, type FakeOp, fakeBackend, fakeMachine } from '../testing/index.js';
import { makeVm as make, OFF, WORK } from './test-vm.js';
import type { VmOptions } from './vm.js';

describe('a run', () => {
  test('ends with what the guest wrote to the exit port, after that instruction', async () => {
    const { vm } = await make({ main: [{ op: 'work', count: 41 }, OFF, WORK] });
    expect(await vm.run()).toEqual({
      reason: 'debug-exit',
      status: 7,
      message: 'debug-exit',
      instructions: 42,
    });
    expect(vm.status).toBe('stopped');
    await vm.dispose();
  });

  test('ends with a triple fault, or with the error of the processor', async () => {
    const { vm } = await make({ main: [{ op: 'shutdown' }] });
    expect((await vm.run()).reason).toBe('triple-fault');
    const failing = await make({ main: [{ op: 'fail', code: 'emulation-failure', message: 'x' }] });
    const end = await failing.vm.run();
    expect(end).toMatchObject({ reason: 'error', message: 'emulation-failure: x' });
  });

  test('is dead when it halts and nothing can wake it', async () => {
    const { vm } = await make({ main: [{ op: 'hlt' }, OFF] });
    expect(await vm.run()).toMatchObject({
      reason: 'stopped',
      message: 'every CPU is halted and nothing can wake one',
    });
  });

  test('is dead when it halts with interrupts disabled, although timers go on', async () => {
    let fired = 0;
    const { vm } = await make({
      main: [{ op: 'hlt', interruptible: false }, OFF],
      with: ({ clock }) => {
        const tick = () => {
          fired++;
          clock.at(clock.now() + 1e8, tick);
        };
        clock.at(1e8, tick);
      },
    });
    const end = await vm.run();
    expect(end.message).toBe('every CPU is halted with interrupts disabled');
    expect(fired).toBe(10);
    expect(vm.clock.now()).toBe(1e9 + 1);
  });

  test('goes on after an NMI although interrupts were disabled', async () => {
    const { vm } = await make({
      main: [{ op: 'hlt', interruptible: false }, OFF],
      with: (context) => void context.clock.at(5e8, () => context.vcpus[0]!.nmi()),
    });
    expect((await vm.run()).reason).toBe('debug-exit');
  });

  test('stops from outside with the reason given', async () => {
    const { vm } = await make({ main: [WORK, { op: 'jump', to: 0 }] });
    const running = vm.run();
    await vm.start();
    await vm.stop('timeout', 'too slow');
    expect(await running).toMatchObject({ reason: 'timeout', message: 'too slow' });
  });

  test('ends in error where the processor throws, and says so as an internal error', async () => {
    const { vm, backend } = await make({ main: [WORK] });
    Object.assign(backend.vms[0]!.vcpus[0]!, {
      run: () => {
        throw new TypeError('a bug');
      },
    });
    await expect(vm.run()).rejects.toMatchObject({ code: 'internal', message: 'a bug' });
    await expect(vm.stop()).rejects.toMatchObject({ code: 'internal' });
    await vm.dispose();
  });
});

describe('timers', () => {
  test('fire at exactly their instruction, in the order of setting', async () => {
    const fired: (readonly [string, number])[] = [];
    const { vm, backend } = await make({
      main: [{ op: 'work', count: 10_000 }, OFF],
      with: ({ clock }) => {
        const note = (name: string) => () => void fired.push([name, clock.now()]);
        clock.at(5000, note('b'));
        clock.at(17, note('a'));
        clock.at(5000, note('c'));
        clock.at(-3, note('past'));
        clock.at(5000, note('cancelled')).cancel();
        clock.at(9999.5, note('d'));
      },
    });
    await vm.run();
    const expected = [
      ['past', 0],
      ['a', 17],
      ['b', 5000],
      ['c', 5000],
      ['d', 10_000],
    ];
    expect(fired).toEqual(expected);
    expect(backend.vms[0]!.vcpus[0]!.runs).toBeLessThan(8);
  });

  test('set by a device inside a slice cut that slice short', async () => {
    const fired: number[] = [];
    const { vm } = await make({
      main: [
        { op: 'work', count: 100 },
        { op: 'out', port: 0x40 },
        { op: 'work', count: 100 },
        { op: 'out', port: 0x41 },
        { op: 'work', count: 100 },
        OFF,
      ],
      with: ({ clock, addExitHandler }) => {
        const note = () => void fired.push(clock.now());
        addExitHandler({
          name: 'timer-ports',
          filter: { kind: 'io', ports: { base: 0x40, length: 2 } },
          handle(exit) {
            if (exit.kind === 'io' && exit.port === 0x40) clock.at(clock.now() + 50, note);
            else clock.at(clock.now(), note);
            return 'handled';
          },
        });
      },
    });
    await vm.run();
    // OUT is instruction 100 (its time while it executes); the second one is instruction 201.
    expect(fired).toEqual([150, 202]);
  });

  test('that always set the next one for now do not stop the guest', async () => {
    const { vm } = await make({
      main: [{ op: 'work', count: 3 }, OFF],
      with: ({ clock }) => {
        const again = () => void clock.at(clock.now(), again);
        clock.at(0, again);
      },
    });
    expect((await vm.run()).reason).toBe('debug-exit');
  });

  test('that throw are faults, and the others still fire', async () => {
    let fired = false;
    const { vm } = await make({
      main: [{ op: 'work', count: 100 }, OFF],
      with: ({ clock }) => {
        clock.at(5, () => {
          throw new Error('broken timer');
        });
        clock.at(6, () => {
          fired = true;
        });
      },
    });
    const faults: string[] = [];
    vm.events.faults.subscribe((fault) =>
      faults.push(`${fault.instructions} ${fault.plugin}: ${fault.message}`),
    );
    await vm.run();
    expect(faults).toEqual(['5 test: a timer threw: broken timer']);
    expect(fired).toBe(true);
  });

  test('wake a halted CPU by a jump of virtual time, not by waiting', async () => {
    const { vm, backend } = await make({
      main: [{ op: 'hlt' }, { op: 'jump', to: 0, times: 4 }, OFF],
      with: (context) => {
        const tick = () => {
          context.interrupts.sendMsi(0xfee00000, 0x30);
          context.clock.at(context.clock.now() + 1e9, tick);
        };
        context.clock.at(1e9, tick);
      },
    });
    const end = await vm.run();
    expect(end).toMatchObject({ reason: 'debug-exit', instructions: 11 });
    expect(backend.vms[0]!.vcpus[0]!.state.taken.map(([, vector]) => vector)).toEqual([
      0x30, 0x30, 0x30, 0x30, 0x30,
    ]);
    expect(vm.clock.now()).toBeGreaterThanOrEqual(5e9);
    expect(vm.summary().clock).toEqual({ mode: 'icount', why: 'no live input is attached' });
  });
});

describe('several CPUs', () => {
  const spin = (port: number): FakeOp[] => [
    { op: 'work', count: 999 },
    { op: 'out', port },
    { op: 'jump', to: 0, times: 9 },
  ];

  test('take turns with a fixed quantum, the same way whatever the slices are', async () => {
    const run = async (options: VmOptions): Promise<string[]> => {
      const { vm } = await make({
        programs: [{ main: [...spin(0x10), OFF] }, { main: [...spin(0x11), OFF] }],
        options: { quantum: 1500, ...options },
      });
      const { exits } = collectExits(vm.events);
      await vm.run();
      return exits.map(({ vcpu, instructions }) => `${vcpu}:${instructions}`);
    };
    const first = await run({});
    expect(first.slice(0, 4)).toEqual(['0:999', '1:2499', '0:3500', '1:5000']);
    expect(await run({ slice: 7 })).toEqual(first);
    expect(await run({ slice: 10_000_000 })).toEqual(first);
  });

  test('run on while another one sleeps, and wake it', async () => {
    const { vm } = await make({
      programs: [
        { main: [{ op: 'hlt' }, OFF] },
        { main: [{ op: 'work', count: 100_000 }, { op: 'out', port: 0x77 }, { op: 'hlt' }] },
      ],
      with: (context) => {
        context.addExitHandler({
          name: 'ipi',
          filter: { kind: 'io', ports: { base: 0x77, length: 1 } },
          handle() {
            context.interrupts.sendMsi(0xfee00000, 0x40);
            return 'handled';
          },
        });
      },
    });
    expect(await vm.run()).toMatchObject({ reason: 'debug-exit' });
  });

  test('that wait for SIPI do not keep a halted machine alive', async () => {
    const backend = fakeBackend({ programs: [{ main: [{ op: 'hlt', interruptible: false }] }] });
    const vm = await createVm({ cpus: 2, memory: '1M', host: new FakeHost() })
      .use(fakeMachine(backend))
      .build();
    expect((await vm.run()).reason).toBe('stopped');
  });
});

describe('reset', () => {
  const resetPort = (context: PluginContext, log: string[] = []) => {
    context.addExitHandler({
      name: 'reset-port',
      filter: { kind: 'io', ports: { base: 0x64, length: 1 } },
      handle() {
        context.control.reset('keyboard controller');
        return 'handled';
      },
    });
    context.onReset(() => void log.push('hook'));
  };

  test('by the guest ends the run', async () => {
    const { vm } = await make({
      main: [{ op: 'out', port: 0x64 }, WORK],
      with: (context) => resetPort(context),
    });
    expect(await vm.run()).toMatchObject({ reason: 'reset', message: 'keyboard controller' });
  });

  test('starts the guest again where asked, with cleared memory and reset devices', async () => {
    const log: string[] = [];
    const { vm } = await make({
      main: [
        { op: 'load', gpa: 0x2000 },
        { op: 'out', port: 0x80, size: 4 },
        { op: 'store', gpa: 0x2000, value: 0x1234 },
        { op: 'out', port: 0x64 },
      ],
      options: { onReset: 'reboot' },
      with: (context) => {
        resetPort(context, log);
        context.addDevice({
          name: 'latch',
          regions: [{ space: 'io', base: 0x80, length: 4, name: 'latch' }],
          read: () => 0,
          write: (_region, _offset, _size, value) => {
            log.push(`write ${value}`);
            if (log.filter((line) => line.startsWith('write')).length === 3) {
              context.control.powerOff('enough');
            }
          },
          drain: async () => {},
          reset: () => void log.push('device'),
          snapshot: () => ({ type: 'latch', version: 1, state: null }),
          restore: () => {},
        });
      },
    });
    expect(await vm.run()).toMatchObject({ reason: 'power-off', message: 'enough' });
    const round = ['write 0', 'device', 'hook'];
    expect(log).toEqual([...round, ...round, 'write 0']);
    expect(vm.summary().resets).toBe(2);
  });

  test('by the host restarts whatever onReset says', async () => {
    let starts = 0;
    const { vm } = await make({
      main: [
        { op: 'out', port: 0x50 },
        { op: 'work', count: 100 },
        { op: 'jump', to: 1 },
      ],
      with: ({ addExitHandler }) =>
        addExitHandler({
          name: 'count',
          filter: { kind: 'io', ports: { base: 0x50, length: 1 } },
          handle: () => {
            starts++;
            return 'handled';
          },
        }),
    });
    await vm.start();
    await vm.pause({ at: 3000 });
    vm.reset();
    vm.resume();
    await vm.pause({ at: 5000 });
    expect(starts).toBe(2);
    await vm.dispose();
  });

  test('a triple fault reboots where reboot is asked for', async () => {
    const { vm } = await make({ main: [{ op: 'shutdown' }], options: { onReset: 'reboot' } });
    await vm.start();
    while (vm.summary().resets < 3) await new FakeHost().turn();
    expect((await vm.stop()).reason).toBe('stopped');
  });

  test('does not swallow a stop that comes in the same instruction', async () => {
    const { vm } = await make({
      main: [{ op: 'out', port: 0x64 }],
      options: { onReset: 'reboot' },
      with: ({ addExitHandler, control }) =>
        addExitHandler({
          name: 'reset and stop',
          filter: { kind: 'io', ports: { base: 0x64, length: 1 } },
          handle: () => {
            control.reset('by the guest');
            void vm.stop('timeout');
            return 'handled';
          },
        }),
    });
    expect((await vm.run()).reason).toBe('timeout');
    expect(vm.summary().resets).toBe(1);
  });

  test('by a triple fault does not swallow a pause', async () => {
    let paused: Promise<void> | null = null;
    const { vm } = await make({
      main: [{ op: 'work', count: 10 }, { op: 'shutdown' }],
      options: { onReset: 'reboot' },
      with: ({ clock, onStart }) =>
        onStart(() => {
          clock.at(0, () => {
            paused = vm.pause();
          });
        }),
    });
    await vm.start();
    while (paused === null) await new FakeHost().turn();
    await paused;
    expect(vm.status).toBe('paused');
    await vm.dispose();
  });
});

describe('pause', () => {
  test('stands still before the instruction named, and then goes on as if it had not', async () => {
    const main: FakeOp[] = [{ op: 'work', count: 123_456 }, { op: 'out', port: 1 }, OFF];
    const { vm } = await make({ main });
    await vm.start();
    await vm.pause({ at: 777 });
    expect(vm.status).toBe('paused');
    expect(vm.instructions).toBe(777);
    const end = vm.run();
    expect(await end).toMatchObject({ instructions: 123_458 });
  });

  test('at an instruction survives other pauses, and each is told when it has come', async () => {
    const { vm } = await make({ main: [WORK, { op: 'jump', to: 0 }] });
    await vm.start();
    const told: string[] = [];
    const points = [900, 700, 700].map((at) => vm.pause({ at }).then(() => told.push(`${at}`)));
    await vm.pause({ at: 300 });
    const plain = vm.pause();
    vm.resume();
    await plain;
    await points[1];
    expect([vm.status, vm.instructions]).toEqual(['paused', 700]);
    vm.resume();
    await points[0];
    expect([vm.status, vm.instructions]).toEqual(['paused', 900]);
    expect(told).toEqual(['700', '700', '900']);
    vm.resume();
    const never = vm.pause({ at: 1e12 });
    const soon = vm.pause();
    vm.resume();
    await soon;
    await vm.stop();
    await never;
  });

  test('that never comes is told when a paused VM is stopped', async () => {
    const { vm } = await make({ main: [WORK, { op: 'jump', to: 0 }] });
    await vm.start();
    const never = vm.pause({ at: 1e12 });
    await vm.pause({ at: 100 });
    expect(vm.status).toBe('paused');
    await vm.stop();
    await never;
    expect(vm.instructions).toBe(100);
  });

  test('before no whole number of instructions is refused', async () => {
    const { vm } = await make({ main: [WORK, { op: 'jump', to: 0 }] });
    await vm.start();
    for (const at of [Number.NaN, -1, 10.5]) {
      await expect(vm.pause({ at })).rejects.toMatchObject({ code: 'invalid-argument' });
    }
    await vm.dispose();
  });

  test('reports its lifecycle', async () => {
    const { vm } = await make({ main: [WORK, { op: 'jump', to: 0 }] });
    const seen: string[] = [];
    vm.events.lifecycle.subscribe(({ status }) => seen.push(status));
    await vm.start();
    await vm.pause();
    vm.resume();
    await vm.stop();
    await vm.dispose();
    expect(seen).toEqual(['running', 'paused', 'running', 'stopped', 'disposed']);
    expect(() => vm.resume()).toThrow('cannot resume a VM that is disposed');
  });
});
