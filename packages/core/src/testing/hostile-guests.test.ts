// The harness itself: it finds a backend that throws, and one that does not repeat itself.
import { expect, test } from 'vitest';
import type { CpuBackend, Vcpu } from '../interfaces/index.js';
import { fakeBackend } from './fake-backend.js';
import { hostileGuests } from './hostile-guests.js';

/** The first test of the harness on a fake backend whose CPUs `run` like that. */
function first(run: (...words: Parameters<Vcpu['run']>) => ReturnType<Vcpu['run']>) {
  const bodies: (() => void | Promise<void>)[] = [];
  const make = (): CpuBackend => {
    const fake = fakeBackend({ programs: [{ main: [] }] });
    return {
      name: fake.name,
      probe: () => fake.probe(),
      async createVm(options) {
        const vm = await fake.createVm(options);
        for (const vcpu of vm.vcpus) Object.assign(vcpu, { run });
        let count = 0;
        return Object.assign(vm, { instructions: () => ++count });
      },
    };
  };
  const runner = {
    describe: (_name: string, body: () => void) => body(),
    it: (_name: string, body: () => void | Promise<void>) => void bodies.push(body),
  };
  hostileGuests(runner, { name: 'fake', make, seed: 5, guest: 100, whole: 100 });
  return bodies[0]!;
}

test('a backend that throws fails, with the seed', async () => {
  const body = first(() => {
    throw new Error('a bug of the host');
  });
  await expect(body()).rejects.toThrow(/guest 0 of seed 5: .*a bug of the host/);
});

test('a guest that does something else the second time fails', async () => {
  let port = 0;
  const body = first((_slice, sink) => {
    const data = new Uint8Array(1);
    const place = { vcpu: 0, instructions: 1, direction: 'out', size: 1, count: 1, data } as const;
    sink({ kind: 'io', port: port++ & 0xffff, ...place });
    return 'slice';
  });
  await expect(body()).rejects.toThrow('it did something else the second time');
});

test('a guest that does the same passes', async () => {
  await first(() => 'slice')();
});
