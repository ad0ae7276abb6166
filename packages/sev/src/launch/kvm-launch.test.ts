/**
 * KVM-01, KVM-02: a launch by KVM's commands has the digest of the same plan; hosts that cannot do
 * it are told so before anything is done.
 */
import type { BackendVm, LaunchPlan, LaunchRegion } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { seededEntropy } from '../firmware/entropy.js';
import { checkLaunchMeasure, measurePlan, secretPacket } from '../measure/index.js';
import { GUEST_OFFSET, kernelVm } from '../testing/kvm-kernel.js';
import { launchOnKvm } from './kvm-launch.js';
import { openOwnerSession } from './owner.js';

const PAGE = 4096;
const region = (name: string, gpa: number, length: number): LaunchRegion => ({
  name,
  gpa,
  bytes: new Uint8Array(length).map((_, at) => (at * name.length) >> 1),
  type: 'normal',
});

/** Not in the order of addresses, with a page shared by two regions, and one of zeros. */
const PLAN: LaunchPlan = {
  regions: [
    region('kernel', 0x4000, 2 * PAGE),
    region('table', 0x1000, 100),
    region('tail', 0x1800, 100),
    { ...region('zero', 0x2000, PAGE), type: 'zero' },
  ],
  vcpus: new Map(),
  e820: [],
  entry: 'linux64',
};

describe('KVM-01 a launch by KVM', () => {
  test('measures what the owner predicts, and takes its secret', async () => {
    const { vm, driver, log, memory } = kernelVm(2);
    driver.init();
    const { pdh } = driver.pdhCertExport();
    const { version } = driver.platformStatus();
    driver.shutdown();
    const { owner, keys } = openOwnerSession(pdh, 1, seededEntropy('owner'));
    const plaintext = new TextEncoder().encode('a word between two: the password');
    const launched = await launchOnKvm(vm, PLAN, {
      policy: 1,
      owner,
      secret: async ({ measure: measurement }) => {
        const packet = { plaintext, keys, iv: new Uint8Array(16), measurement };
        return { ...(await secretPacket(packet)), gpa: 0x6000 };
      },
    });
    const { measure, nonce } = launched.measurement;
    const blob = Uint8Array.from([...measure, ...nonce]);
    const digest = measurePlan(PLAN, { mode: 'sev' });
    expect(checkLaunchMeasure(blob, { version, policy: 1, digest, tik: keys.tik })).toBe(true);
    expect(launched.pages).toBe(4);
    expect(launched.driver.guestStatus()).toEqual({ state: 'RUNNING', policy: 1 });
    // Two pages that follow each other are one command; 1, 2 follow in measuring too.
    expect(log).toEqual([22, 2, 3, 3, 6, 5, 7, 16]);
    const seen = new Uint8Array(plaintext.length);
    memory.read(0x6000 + GUEST_OFFSET, seen, 100);
    expect(seen).toEqual(plaintext);
  });

  test('refuses pages that SEV has not, and memory that is not there', async () => {
    const plan = (changed: object) => ({
      ...PLAN,
      regions: [{ ...region('odd', 0x1000, PAGE), ...changed }],
    });
    const launch = (changed: object) => launchOnKvm(kernelVm(2).vm, plan(changed), { policy: 0 });
    await expect(launch({ type: 'cpuid' })).rejects.toMatchObject({ code: 'unsupported' });
    await expect(launch({ gpa: 0x8000 })).rejects.toMatchObject({ code: 'invalid-config' });
  });
});

test('KVM-02 a VM that no kernel runs, or of another type, is refused at once', async () => {
  const { vm, log } = kernelVm(4);
  await expect(launchOnKvm(vm, PLAN, { policy: 0 })).rejects.toMatchObject({
    code: 'unsupported',
    message: 'a VM of type 4 takes no SEV',
  });
  const { memory } = vm;
  const none = { memory } as unknown as BackendVm;
  await expect(launchOnKvm(none, PLAN, { policy: 0 })).rejects.toMatchObject({
    code: 'unsupported',
  });
  expect(log).toEqual([]);
});
