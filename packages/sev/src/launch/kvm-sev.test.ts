/**
 * KVM-01, KVM-02: `sev()` on a backend that a kernel runs: the whole way from plugins to a guest
 * that runs, with the kernel made up, and what is refused before there is a VM.
 */
import {
  type BackendProbe,
  type BackendVm,
  type BackendVmOptions,
  type CpuBackend,
  createVm,
  definePlugin,
  type LaunchPlan,
} from '@cloister/core';
import { boot } from '@cloister/core/boot';
import { fakeBackend } from '@cloister/core/testing';
import { expect, test } from 'vitest';
import { measurePlan } from '../measure/index.js';
import { checkLaunchMeasure } from '../measure/launch-measure.js';
import { kernelVm } from '../testing/kvm-kernel.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { sev } from './sev.js';
import type { LaunchMeasurement } from './sev-launch.js';
import type { SevOptions } from './sev-options.js';

const MIB = 1 << 20;
const PLAN: LaunchPlan = {
  regions: [
    { name: 'kernel', gpa: 0x4000, bytes: new Uint8Array(0x2000).fill(0x90), type: 'normal' },
    { name: 'table', gpa: 0x1000, bytes: new Uint8Array(100).fill(7), type: 'normal' },
  ],
  vcpus: new Map(),
  e820: [],
  entry: 'linux64',
};

const PROBE: Partial<BackendProbe> = {
  capabilities: ['cpu', 'cpu.native', 'cpu.long-mode', 'protection.sev'],
  cBit: 47,
};

/** A host whose kernel runs the VM: the fake backend's vCPUs on the made-up kernel's memory. */
function host(probe: Partial<BackendProbe> = PROBE) {
  const main = [{ op: 'work', count: 500 }, { op: 'shutdown' }] as const;
  const fake = fakeBackend({ programs: [{ main }], name: 'kvm', probe });
  const kernel = kernelVm(2, MIB);
  const created: BackendVmOptions[] = [];
  const backend: CpuBackend = {
    name: 'kvm',
    probe: () => fake.probe(),
    async createVm(options) {
      created.push(options);
      const vm = await fake.createVm(options);
      return new Proxy(vm, {
        get(target, key: keyof BackendVm) {
          if (key === 'native') return kernel.control;
          if (key === 'memory') return kernel.vm.memory;
          const value = target[key];
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
  return { backend, kernel, created };
}

/** The C-bit that the boot source was told. */
function build({ backend }: ReturnType<typeof host>, options: SevOptions = {}) {
  const told: (number | null)[] = [];
  const vm = createVm({ memory: '1M', requireHardware: true })
    .use(
      definePlugin({
        name: 'host',
        version: '1.0.0',
        api: 1,
        setup: (context) => context.setBackend(backend),
      }),
      boot({
        name: 'plan',
        plan({ cBit }) {
          told.push(cBit);
          return PLAN;
        },
      }),
      sev(options),
    )
    .build();
  return { vm, told };
}

test('KVM-01 sev() launches, measures and runs a guest through the kernel', async () => {
  const machine = host();
  const { kernel, created } = machine;
  let seen: LaunchMeasurement | null = null;
  const { vm: building, told } = build(machine, {
    policy: 1,
    secret(measurement) {
      seen = measurement;
      return null;
    },
  });
  const vm = await building;
  expect(created.map(({ vmType, extensions }) => [vmType, extensions])).toEqual([[2, []]]);
  expect(await vm.run()).toMatchObject({ reason: 'triple-fault', instructions: 500 });
  expect(told).toEqual([47]);
  // INIT2, START, two runs of pages, MEASURE, FINISH, STATUS.
  expect(kernel.log).toEqual([22, 2, 3, 3, 6, 7, 16]);
  const { name, strength, lines } = vm.summary().protection!;
  const { measure, nonce } = seen! as LaunchMeasurement;
  expect({ name, strength, ...Object.fromEntries(lines) }).toMatchObject({
    name: 'sev',
    strength: 'hardware',
    policy: '0x1',
    'protection by': "the host's secure processor",
    'launch measure': `${Buffer.from(measure).toString('hex')} (3 pages)`,
  });
  const { version } = kernel.driver.platformStatus();
  const digest = measurePlan(PLAN, { mode: 'sev' });
  const check = { version, policy: 1, digest, tik: new Uint8Array(16) };
  expect(checkLaunchMeasure(Uint8Array.from([...measure, ...nonce]), check)).toBe(true);
  await expect(vm.save()).rejects.toMatchObject({ code: 'unsupported' });
  await vm.dispose();
});

test('KVM-02 a guest that the firmware refuses does not start', async () => {
  const machine = host();
  // It asks for a firmware that is newer.
  const { vm } = build(machine, { policy: 0x00ff_0000 });
  const made = await vm;
  await expect(made.run()).rejects.toThrow(/refuses LAUNCH_START: POLICY_FAILURE/);
  expect(made.instructions).toBe(0);
  await made.dispose();
});

test('KVM-02 a host without SEV, and options of an emulated platform, make no VM', async () => {
  const bare = host({ ...PROBE, capabilities: ['cpu', 'cpu.native'] });
  await expect(build(bare).vm).rejects.toMatchObject({
    code: 'missing-capability',
    message: 'protection sev requires protection.sev, which backend kvm lacks',
  });
  const able = host();
  const platform = new EmulatedPlatform({ seed: 'none' });
  for (const options of [{ platform }, { sendTo: () => Promise.reject() as never }]) {
    await expect(build(able, options).vm).rejects.toMatchObject({
      code: 'invalid-argument',
      plugin: 'sev',
      message: expect.stringMatching(/is of no use with backend kvm/),
    });
  }
  expect([...bare.created, ...able.created]).toEqual([]);
});
