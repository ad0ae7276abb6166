/** The backend as core sees it: what it says of itself, and what it refuses. */
import { type CpuExtension, createVm, definePlugin, type Snapshot } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { describe, expect, it } from 'vitest';
import { emulated, emulatedBackend } from './index.js';

function withExtension(extension: CpuExtension) {
  return definePlugin({
    name: 'extender',
    version: '1.0.0',
    api: 1,
    setup: (context) => context.addCpuExtension(extension),
  });
}

describe('the emulated backend', () => {
  it('is available everywhere and names its model', async () => {
    const probe = await emulatedBackend().probe();
    expect(probe.available).toBe(true);
    const details = Object.fromEntries(probe.details);
    expect(details['CPU model']).toBe('cloister-v1');
    expect(details['CPU models']).toMatch(/^cloister-v1 cloister-v1-rome /);
    expect(details['optional features']?.split(' ')).toContain('la57');
    const other = await emulatedBackend({ cpu: 'cloister-v1-rome,-smap,+la57' }).probe();
    const chosen = Object.fromEntries(other.details);
    expect(chosen['CPU model']).toBe('cloister-v1-rome,+la57,-smap');
    expect(chosen['features']?.split(' ')).not.toContain('smap');
  });

  it('refuses an unknown CPU before anything is built', () => {
    const refused = expect.objectContaining({
      code: 'invalid-argument',
      remedy: expect.stringMatching(/cloister-v1, cloister-v1-rome/),
    });
    expect(() => emulated({ cpu: '486' })).toThrow(refused);
  });

  it('refuses what an extension needs and it lacks', async () => {
    const refuse = (extension: Omit<CpuExtension, 'name'>, code: string, message: RegExp) => {
      const plugin = withExtension({ name: 'walls', ...extension });
      const vm = createVm({ memory: '4M' }).use(emulated(), plugin).build();
      return expect(vm).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    };
    const execute: CpuExtension['execute'] = () => ({ kind: 'resume' });
    await refuse({ instructions: ['WALL'], execute }, 'unsupported', /instruction WALL/);
    await refuse({ instructions: ['PSMASH'] }, 'unsupported', /instruction PSMASH/);
    await refuse({ contexts: 17 }, 'invalid-argument', /17 contexts/);
  });

  it('refuses two extensions that decide about pages, and bits that no entry has', async () => {
    const fill: CpuExtension['fill'] = () => ({ kind: 'device', gpa: 0 });
    const build = (...extensions: CpuExtension[]) =>
      createVm({ memory: '4M' })
        .use(
          emulated(),
          definePlugin({
            name: 'extender',
            version: '1.0.0',
            api: 1,
            setup(context) {
              for (const each of extensions) context.addCpuExtension(each);
            },
          }),
        )
        .build();
    const two = build({ name: 'one', fill }, { name: 'two', fill });
    await expect(two).rejects.toMatchObject({ code: 'plugin-conflict', message: /one and two/ });
    const low = build({ name: 'low', tableBits: [31] });
    await expect(low).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  it('refuses memory that a WebAssembly memory cannot hold', async () => {
    const vm = createVm({ memory: '8G' }).use(emulated()).build();
    await expect(vm).rejects.toMatchObject({ code: 'invalid-config' });
  });
});

describe('a saved VM', () => {
  const make = (cpu?: string) =>
    createVm({ memory: '1M', seed: 1 })
      .use(
        emulated(cpu === undefined ? {} : { cpu }),
        boot(flat({ image: new Uint8Array([0xeb, 0xfe]), mode: 'real' })),
      )
      .build();

  async function saved(): Promise<Snapshot> {
    const vm = await make();
    await vm.start();
    await vm.pause({ at: 1000 });
    const snapshot = await vm.save();
    await vm.dispose();
    return snapshot;
  }

  async function refuse(snapshot: Snapshot, cpu: string | undefined, message: RegExp) {
    const vm = await make(cpu);
    await expect(vm.restore(snapshot)).rejects.toMatchObject({
      code: 'snapshot-mismatch',
      message: expect.stringMatching(message),
    });
    await vm.dispose();
  }

  it('goes on at its instruction', async () => {
    const vm = await make();
    await vm.restore(await saved());
    expect(vm.instructions).toBe(1000);
    vm.resume();
    await vm.pause({ at: 3000 });
    expect(vm.instructions).toBe(3000);
    await vm.dispose();
  });

  it('is refused by another CPU', async () => {
    await refuse(
      await saved(),
      'cloister-v1-rome',
      /saved with cpu "cloister-v1"; .*"cloister-v1-rome"/,
    );
    await refuse(await saved(), 'cloister-v1,-rdrand', /this one has "cloister-v1,-rdrand"/);
  });

  it('is refused by a CPU of the same name with other features, of another release', async () => {
    const snapshot = await saved();
    const whole = snapshot.state as { backend: { state: { cpu: string } } };
    const { cpu } = whole.backend.state;
    for (const [before, message] of [
      [cpu.replace(' rdrand', ''), /saved on CPU cloister-v1,-rdrand$/],
      [`${cpu} vme`, /saved on CPU cloister-v1,\+vme$/],
      ['cloister-v9 fpu', /saved on CPU cloister-v9$/],
    ] as const) {
      const state = { ...whole.backend.state, cpu: before };
      const backend = { ...whole.backend, state };
      const other = { ...snapshot, state: { ...whole, backend } } as unknown as Snapshot;
      await refuse(other, undefined, message);
    }
  });

  it('is refused with damaged instruction counts', async () => {
    const snapshot = await saved();
    const whole = snapshot.state as { backend: { state: object } };
    for (const executed of [undefined, null, [], [-1], ['7'], [0.5]]) {
      const state = { ...whole.backend.state, executed };
      const backend = { ...whole.backend, state };
      const damaged = { ...snapshot, state: { ...whole, backend } } as unknown as Snapshot;
      await refuse(damaged, undefined, /not the state of this emulated VM/);
    }
  });

  it('is refused without parts that it must have', async () => {
    const snapshot = await saved();
    const whole = snapshot.state as { backend: { state: { cpus: { state: object }[] } } };
    const [cpu] = whole.backend.state.cpus;
    for (const [change, message] of [
      [{ remapped: undefined }, /not the state of this emulated VM/],
      [{ remapped: [0.5] }, /not the state of this emulated VM/],
      [{ cpus: [null] }, /not the state of this emulated VM/],
      [{ cpus: [{ ...cpu, state: null }] }, /not the state of an emulated processor/],
      [{ cpus: [{ ...cpu, state: { ...cpu.state, services: null } }] }, /vCPU services/],
    ] as const) {
      const backend = { ...whole.backend, state: { ...whole.backend.state, ...change } };
      const damaged = { ...snapshot, state: { ...whole, backend } } as unknown as Snapshot;
      await refuse(damaged, undefined, message);
    }
  });
});

it('runs a slice of more instructions than 32 bits count', async () => {
  const vm = await createVm({ memory: '1M', seed: 1 })
    .use(emulated(), boot(flat({ image: new Uint8Array([0xe6, 0x80, 0xf4]), mode: 'real' })))
    .build();
  await vm.start();
  await vm.pause({ at: 0 });
  const end = vm.vcpus[0].run(2 ** 33, () => {});
  expect([end, vm.instructions]).toEqual(['halted', 2]);
  await vm.dispose();
});
