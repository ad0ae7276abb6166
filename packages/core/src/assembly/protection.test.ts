/**
 * A VM's protection: which one it is, what it launches, and when the guest may run or be saved.
 */
import { describe, expect, test } from 'vitest';
import type {
  LaunchPlan,
  LaunchRegion,
  MemoryEncryption,
  PluginContext,
} from '../interfaces/index.js';
import { resetState, VmmError } from '../interfaces/index.js';
import { fakeBackend, fakeMachine } from '../testing/fake-backend.js';
import type { FakeOp } from '../testing/fake-program.js';
import { createVm, type Usable, type VmBuilder } from './create-vm.js';
import { definePlugin, type PluginDefinition } from './define-plugin.js';

const part = (name: string, setup: (context: PluginContext) => void): PluginDefinition =>
  definePlugin({ name, version: '1.0.0', api: 1, setup });

const builder = (main: readonly FakeOp[] = []): VmBuilder =>
  createVm({ memory: '1M' }).use(fakeMachine(fakeBackend({ programs: [{ main }] })));

async function failure(promise: Promise<unknown>): Promise<VmmError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VmmError);
  return error as VmmError;
}

describe('a protection', () => {
  const encryption = (): MemoryEncryption => ({
    name: 'sev-es',
    protection: 'sev-es',
    strength: 'emulated',
    requires: [],
    extensions: [],
    cBit: 51,
    launch: async () => {},
    ready: () => true,
    measurement: null,
    summary: () => [['policy', '0x5']],
  });
  const protection = (rest: Partial<MemoryEncryption> = {}): PluginDefinition =>
    part('sev', (context) => context.setMemoryEncryption({ ...encryption(), ...rest }));

  test('is named by the summary with its strength', async () => {
    const vm = await builder().use(protection()).build();
    await vm.run();
    expect(vm.summary().protection).toEqual({
      name: 'sev-es',
      strength: 'emulated',
      lines: [['policy', '0x5']],
    });
    await vm.dispose();
  });

  test('restricts what devices see of memory, whichever plugin comes first', async () => {
    const cipher = { encrypt: () => {}, decrypt: () => {} };
    const keyed = part('keys', (context) => context.addCpuExtension({ name: 'keys', cipher }));
    for (const protects of [false, protection(), keyed] as const) {
      let dma: PluginContext['dma'] | undefined;
      const device = part('device', (context) => {
        dma = context.dma;
      });
      const vm = await builder().use(device, protects).build();
      expect(dma?.restricted).toBe(protects !== false);
      await vm.dispose();
    }
  });

  test('that is not active at the last moment keeps the guest from running', async () => {
    const fake = fakeBackend({ programs: [{ main: [] }] });
    const vm = await createVm({ memory: '1M' })
      .use(fakeMachine(fake), protection({ ready: () => false }))
      .build();
    expect(await failure(vm.run())).toMatchObject({ code: 'protection-inactive' });
    expect(fake.vms[0]!.vcpus[0]!.runs).toBe(0);
    await vm.dispose();
  });

  test('requires words of the backend', async () => {
    const error = await failure(
      builder()
        .use(protection({ requires: ['sev.host'] }))
        .build(),
    );
    expect(error).toMatchObject({
      code: 'missing-capability',
      message: 'protection sev-es requires sev.host, which backend fake lacks',
    });
  });

  test('of hardware is not replaced by an emulated one, nor by none', async () => {
    const strict = (usable: Usable) =>
      createVm({ memory: '1M', requireHardware: true })
        .use(fakeMachine(fakeBackend({ programs: [] })), usable)
        .build();
    expect(await failure(strict(protection()))).toMatchObject({ path: 'requireHardware' });
    expect(await failure(strict(null))).toMatchObject({ path: 'requireHardware' });
    await (await strict(protection({ strength: 'hardware' }))).dispose();
  });

  test('that ends while the guest runs ends the run before its next slice', async () => {
    let slices = 0;
    const main: FakeOp[] = [
      { op: 'work', count: 1000 },
      { op: 'jump', to: 0 },
    ];
    const vm = await createVm({ memory: '1M', slice: 100 })
      .use(
        fakeMachine(fakeBackend({ programs: [{ main }] })),
        protection({ ready: () => ++slices <= 4 }),
      )
      .build();
    expect(await vm.run()).toMatchObject({
      reason: 'error',
      message: 'the protection does not let the guest run any more',
      instructions: 300,
    });
    await vm.dispose();
  });

  test('is the one that suits the backend', async () => {
    const own = { ...encryption(), name: 'sev-of-the-host', strength: 'hardware' as const };
    const build = (on: MemoryEncryption['on']) =>
      createVm({ memory: '1M', requireHardware: true })
        .use(fakeMachine(fakeBackend({ programs: [] })), protection({ ...(on && { on }) }))
        .build();
    const seen: string[] = [];
    const vm = await build(({ name }) => {
      seen.push(name);
      return own;
    });
    expect([seen, vm.summary().protection?.name]).toEqual([['fake'], 'sev-of-the-host']);
    await vm.dispose();
    expect(await failure(build(() => encryption()))).toMatchObject({ path: 'requireHardware' });
  });

  test('launches what plugins put into memory that may be private, no other', async () => {
    const launched: LaunchRegion[] = [];
    const rom = { size: 0x2000, readOnly: true, bytes: Uint8Array.of(1, 2, 3) };
    const vm = await createVm({ memory: '1M' })
      .use(
        fakeMachine(fakeBackend({ programs: [{ main: [] }] })),
        part('roms', (context) => {
          context.addMemory({ ...rom, name: 'firmware', gpa: 0xfff00000 });
          context.addMemory({ ...rom, name: 'shared', gpa: 0xffe00000, encryptable: false });
        }),
        protection({ launch: async (_, plan) => void launched.push(...plan.regions) }),
      )
      .build();
    await vm.start();
    const [{ name, bytes }] = launched as [LaunchRegion];
    expect([name, bytes.length, ...bytes.subarray(0, 4)]).toEqual(['firmware', 0x2000, 1, 2, 3, 0]);
    const lies = (gpa: number) => {
      const found = new Uint8Array(3);
      vm.memory.read(gpa, found);
      return [...found];
    };
    expect([lies(0xfff00000), lies(0xffe00000)]).toEqual([
      [0, 0, 0],
      [1, 2, 3],
    ]);
    await vm.dispose();
  });

  test('launches what the builder’s plan says, which makes no VM', async () => {
    const launched: LaunchPlan[] = [];
    const told: boolean[] = [];
    const fakes: ReturnType<typeof fakeBackend>[] = [];
    const assemble = () => {
      const fake = fakeBackend({ programs: [{ main: [] }, { main: [] }] });
      fakes.push(fake);
      const page = { name: 'stub', gpa: 0x4000, bytes: new Uint8Array(4096).fill(7) };
      return createVm({ memory: '1M', cpus: 2 }).use(
        fakeMachine(fake),
        part('roms', (context) => {
          told.push(context.input.replaying);
          context.addMemory({
            ...{ name: 'firmware', gpa: 0xfff00000, size: 0x1000 },
            ...{ readOnly: true, bytes: Uint8Array.of(1, 2, 3) },
          });
          context.onStart(() => void told.push(true));
        }),
        protection({
          additions: () => ({
            regions: [{ ...page, type: 'normal' }],
            vcpus: new Map([[1, resetState()]]),
          }),
          launch: async (_, plan) => void launched.push(plan),
        }),
      );
    };
    const planning = assemble();
    const plan = await planning.plan();
    expect(told).toEqual([true]);
    expect(fakes[0]!.vms).toEqual([]);
    expect(plan.regions.map(({ name }) => name)).toEqual(expect.arrayContaining(['stub']));
    expect(plan.regions[0]!.name).toBe('firmware');
    expect([...plan.vcpus.keys()]).toContain(1);
    expect(await failure(planning.build())).toMatchObject({ code: 'invalid-state' });
    const vm = await assemble().build();
    await vm.start();
    expect(launched).toEqual([plan]);
    expect(told).toEqual([true, false, true]);
    await vm.dispose();
    expect(
      await failure(
        createVm()
          .use(
            fakeMachine(fakeBackend({ programs: [] })),
            part('x', () => {
              throw new Error('no');
            }),
          )
          .plan(),
      ),
    ).toMatchObject({ code: 'plugin-failed' });
  });

  test('is saved by itself, or not at all', async () => {
    const main: FakeOp[] = [
      { op: 'store', gpa: 0x3000 },
      { op: 'work', count: 1000 },
    ];
    const make = async (rest: Partial<MemoryEncryption>) => {
      const vm = await createVm({ memory: '1M', seed: 1 })
        .use(fakeMachine(fakeBackend({ programs: [{ main }] })), protection(rest))
        .build();
      return vm;
    };
    const started = async (rest: Partial<MemoryEncryption>) => {
      const vm = await make(rest);
      await vm.start();
      await vm.pause({ at: 10 });
      return vm;
    };
    const plain = await started({});
    expect(await failure(plain.save())).toMatchObject({
      code: 'unsupported',
      message: 'a guest under sev-es can be neither saved nor restored',
    });
    await plain.dispose();
    const record = { type: 'part', version: 1, state: { word: 7 } };
    const asked: unknown[] = [];
    const restored: unknown[] = [];
    const saving: Partial<MemoryEncryption> = {
      save: () => ({ record, saves: () => true, settle: (leaves) => void asked.push(leaves) }),
      restore: (_, found) => void restored.push(found),
    };
    const vm = await started(saving);
    const full = async () => {
      // Nobody gets a guest back whose save may yet succeed.
      expect(() => vm.resume()).toThrow(/cannot resume/);
      await expect(vm.save()).rejects.toThrow(/cannot save/);
      expect(() => vm.resume()).toThrow(/cannot resume/);
      throw new VmmError('io-failed', 'the disk is full');
    };
    expect(await failure(vm.save({ leave: true, keep: full }))).toMatchObject({
      message: 'the disk is full',
    });
    const kept: unknown[] = [];
    const keep = async (saved: unknown) => void kept.push(saved, [...asked]);
    const snapshot = await vm.save({ leave: true, keep });
    await vm.save();
    await vm.dispose();
    expect(kept).toEqual([snapshot, [false]]);
    expect(asked).toEqual([false, true, false]);
    const other = await make(saving);
    await other.restore(snapshot);
    expect(restored).toEqual([record]);
    await other.dispose();
    const refused = await make({ ...saving, ready: () => false });
    expect(await failure(refused.restore(snapshot))).toMatchObject({ code: 'protection-inactive' });
    await refused.dispose();
  });

  test('is not started again in place', async () => {
    const fake = fakeBackend({ programs: [{ main: [{ op: 'shutdown' }] }] });
    const vm = await createVm({ memory: '1M', onReset: 'reboot' })
      .use(fakeMachine(fake), protection())
      .build();
    expect(await failure(vm.run())).toMatchObject({ code: 'unsupported' });
    await vm.dispose();
  });
});
