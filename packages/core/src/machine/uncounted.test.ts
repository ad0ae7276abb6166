// A backend that counts no instructions: slices are nanoseconds, the clock is the wall's, a kick
// gives the event loop a turn, and what needs a count is refused.
import { describe, expect, test } from 'vitest';
import { createVm } from '../assembly/create-vm.js';
import type { BackendVm, RunEnd, Vcpu } from '../interfaces/index.js';
import { type FakeBackend, FakeHost, fakeBackend, fakeMachine } from '../testing/index.js';
import type { VmOptions } from './vm.js';

interface Ran {
  readonly cpu: number;
  readonly slice: number;
}

/** A fake backend without a count, whose CPUs end each run as `ends` says and write down slices. */
function uncounted(ends: (run: Ran) => RunEnd) {
  const ran: Ran[] = [];
  const inner = fakeBackend({ programs: [{ main: [{ op: 'hlt' }] }, { main: [] }] });
  const vcpu = (real: Vcpu): Vcpu => ({
    index: real.index,
    runnable: true,
    run(slice) {
      const run = { cpu: real.index, slice };
      ran.push(run);
      return ends(run);
    },
    shorten: () => {},
    kick: () => {},
    readState: () => real.readState(),
    writeState: (state) => real.writeState(state),
    nmi: () => {},
  });
  const backend: FakeBackend = {
    ...inner,
    async createVm(options) {
      const vm = await inner.createVm(options);
      const vcpus = vm.vcpus.map(vcpu);
      return new Proxy<BackendVm>(vm, {
        get(target, key) {
          if (key === 'instructions') return () => -1;
          if (key === 'vcpus') return vcpus;
          const value = Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
  return { backend, ran };
}

const make = (backend: FakeBackend, options: VmOptions = {}) =>
  createVm({ memory: '1M', ...options })
    .use(fakeMachine(backend))
    .build();

describe('a backend without a count', () => {
  test('runs by the wall clock, in slices of at most 10 ms, and to the next timer', async () => {
    const host = new FakeHost();
    const { backend, ran } = uncounted(() => {
      host.advance(1);
      return ran.length < 4 ? 'slice' : 'shutdown';
    });
    const vm = await make(backend, { host });
    await vm.start();
    expect(vm.clock.mode).toBe('wall');
    vm.clock.at(vm.clock.now() + 2.5e6, () => {});
    expect((await vm.run()).reason).toBe('triple-fault');
    const slices = ran.map(({ slice }) => slice / 1e6);
    expect(slices[0]).toBeLessThanOrEqual(2.5);
    expect(slices[1]).toBeLessThan(slices[0]!);
    expect(slices[3]).toBe(10);
    await vm.dispose();
  });

  test('gives several CPUs a turn of a millisecond each', async () => {
    const host = new FakeHost();
    const { backend, ran } = uncounted(() => {
      host.advance(1.5);
      return ran.length < 6 ? 'slice' : 'shutdown';
    });
    const vm = await make(backend, { host, cpus: 2 });
    await vm.run();
    expect(ran.map(({ cpu }) => cpu)).toEqual([0, 1, 0, 1, 0, 1]);
    expect(Math.max(...ran.map(({ slice }) => slice))).toBeLessThanOrEqual(1e6);
    await vm.dispose();
  });

  test('lets the event loop turn behind a kick, and not behind every slice', async () => {
    const host = new FakeHost();
    host.drift = 0;
    let turns = 0;
    const turn = host.turn.bind(host);
    host.turn = () => {
      turns++;
      return turn();
    };
    let kicked = 0;
    const { backend, ran } = uncounted(() => {
      if (ran.length > 20) return 'shutdown';
      if (ran.length % 10 !== 0) return 'slice';
      kicked++;
      return 'kicked';
    });
    const vm = await make(backend, { host });
    await vm.start();
    const before = turns;
    await vm.run();
    expect(kicked).toBe(2);
    expect(turns - before).toBeLessThanOrEqual(kicked + 1);
    expect(turns - before).toBeGreaterThanOrEqual(kicked);
    await vm.dispose();
  });

  test('refuses the instruction-counted clock and a pause at an instruction', async () => {
    const { backend } = uncounted(() => 'shutdown');
    const counted = await make(backend, { clock: 'icount' });
    await expect(counted.run()).rejects.toMatchObject({ code: 'unsupported', path: 'clock' });
    const vm = await make(backend);
    await vm.start();
    await expect(vm.pause({ at: 5 })).rejects.toMatchObject({ code: 'unsupported' });
    await vm.dispose();
  });
});
