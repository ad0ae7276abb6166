/**
 * SEV-10, SEV-11: what a launch measures is what the owner predicts, by `@cloister/sev/measure` and
 * by a recomputation that knows neither; every input counts; the owner's secret arrives.
 *
 * Guest memory lies in system memory back to front here, so that an order of addresses cannot be
 * mistaken for an order of pages.
 */
import { createHash } from 'node:crypto';
import { type BackendVm, type LaunchPlan, type SystemMemory, VmmError } from '@cloister/core';
import { linux, ramRanges } from '@cloister/core/boot';
import { describe, expect, test } from 'vitest';
import { POLICY } from '../abi/policy.js';
import { toHex } from '../bytes.js';
import { seededEntropy } from '../firmware/entropy.js';
import {
  checkLaunchMeasure,
  kernelHashes,
  kernelHashesTable,
  measure,
  measurePlan,
  secretPacket,
} from '../measure/index.js';
import type { OwnerSession } from '../psp/driver.js';
import { testChip } from '../testing/emulated-chip.js';
import { firmwareImage } from '../testing/firmware-image.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { openOwnerSession } from './owner.js';
import { type LaunchMeasurement, type LaunchSecret, SevGuest } from './sev-launch.js';

const MIB = 2 ** 20;
const PAGE = 4096;
const RAM = 32 * MIB;
const ASID = 100;
const C_BIT = 51;

/** System memory behind a controller, the guest's pages in it from the last to the first. */
function systemMemory(platform: EmulatedPlatform): SystemMemory {
  const bytes = new Uint8Array(RAM);
  const { controller } = platform;
  const eachPage = (
    spa: number,
    length: number,
    tag: number,
    use: (page: Uint8Array, at: number, from: number, count: number) => boolean,
  ) => {
    for (let from = 0; from < length; ) {
      const at = (spa + from) % PAGE;
      const count = Math.min(PAGE - at, length - from);
      const start = spa + from - at;
      const page = bytes.slice(start, start + PAGE);
      if (tag !== 0) controller.decrypt(tag, start, page);
      if (use(page, at, from, count)) {
        if (tag !== 0) controller.encrypt(tag, start, page);
        bytes.set(page, start);
      }
      from += count;
    }
  };
  return {
    size: RAM,
    locate: (gpa) => (gpa < RAM ? RAM - PAGE - (gpa - (gpa % PAGE)) : -1),
    place: (page) => (page < RAM / PAGE ? RAM - PAGE * (page + 1) : -1),
    read: (spa, target, tag) =>
      eachPage(spa, target.length, tag, (page, at, from, count) => {
        target.set(page.subarray(at, at + count), from);
        return false;
      }),
    write: (spa, source, tag) =>
      eachPage(spa, source.length, tag, (page, at, from, count) => {
        page.set(source.subarray(from, from + count), at);
        return true;
      }),
    defer: (_spa, _tag, store) => store(),
    isDeferred: () => false,
    release: () => {},
    reserve: () => {
      throw new Error('nothing is reserved here');
    },
  };
}

/** A platform whose controller has memory, and what a launch asks of a VM. */
function machine() {
  const platform = new EmulatedPlatform({ chip: testChip, seed: 'launch' });
  const memory = systemMemory(platform);
  platform.controller.attach(memory);
  const byPage = (gpa: number, bytes: Uint8Array, use: (spa: number, part: Uint8Array) => void) => {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(PAGE - ((gpa + at) % PAGE), bytes.length - at);
      const spa = memory.locate(gpa + at) + ((gpa + at) % PAGE);
      use(spa, bytes.subarray(at, at + count));
      at += count;
    }
  };
  const vm = {
    memory: {
      covers: (gpa: number, length: number) => gpa + length <= RAM,
      write: (gpa: number, bytes: Uint8Array) =>
        byPage(gpa, bytes, (spa, part) => memory.write(spa, part, 0)),
    },
  } as unknown as BackendVm;
  const seen = (gpa: number, length: number, tag: number) => {
    const bytes = new Uint8Array(length);
    byPage(gpa, bytes, (spa, part) => memory.read(spa, part, tag));
    return bytes;
  };
  return { platform, vm, seen };
}

/** A bzImage of recognisable bytes, with what its boot protocol needs (x86/boot.rst). */
function kernelFile(fill = 0xc3): Uint8Array {
  const file = new Uint8Array(3 * 512 + 0x3000).fill(fill, 3 * 512);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, 2);
  view.setUint32(0x1f4, 0x300, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x20f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, 0x7fffffff, true);
  view.setUint32(0x230, 0x200000, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 0x7f, true);
  view.setUint32(0x238, 2047, true);
  view.setBigUint64(0x258, 0x1000000n, true);
  view.setUint32(0x260, 0x100000, true);
  return file;
}

interface Inputs {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly append: string;
  readonly cBit: number;
}

const INPUTS: Inputs = {
  kernel: kernelFile(),
  initrd: new Uint8Array(5000).fill(0x1d),
  append: 'console=ttyS0',
  cBit: C_BIT,
};

function planOf({ kernel, initrd, append, cBit }: Inputs): LaunchPlan {
  const source = linux({ kernel, initrd, append });
  const ram = ramRanges(RAM);
  return source.plan({ ramSize: RAM, ram, cpus: 1, acpi: null, cBit, protection: 'sev' });
}

/** Contents of the plan's pages in the order in which they are first touched, hashed. */
function recomputed({ regions }: LaunchPlan): string {
  const pages = new Map<number, Uint8Array>();
  for (const { gpa, bytes } of regions) {
    for (const [at, byte] of bytes.entries()) {
      const address = gpa + at;
      const page = pages.get(Math.floor(address / PAGE)) ?? new Uint8Array(PAGE);
      pages.set(Math.floor(address / PAGE), page);
      page[address % PAGE] = byte;
    }
  }
  const hash = createHash('sha256');
  for (const page of pages.values()) hash.update(page);
  return hash.digest('hex');
}

/** Launches with an owner's session; what the platform measured, and the digest that it is of. */
async function launch(
  inputs: Inputs,
  policy: number = POLICY.NODBG,
  secret?: (
    keys: { tek: Uint8Array; tik: Uint8Array },
    m: LaunchMeasurement,
  ) => Promise<LaunchSecret>,
) {
  const { platform, vm, seen } = machine();
  platform.start();
  const { pdh } = platform.driver.pdhCertExport();
  const session = openOwnerSession(pdh, policy, seededEntropy('owner'));
  const { owner, keys } = session;
  const plan = planOf(inputs);
  const guest = await SevGuest.launch(platform, vm, plan, {
    policy,
    asid: ASID,
    owner,
    ...(secret && { secret: (m) => secret(keys, m) }),
  });
  const { version } = platform.driver.platformStatus();
  const blob = Uint8Array.from([...guest.measurement!.measure, ...guest.measurement!.nonce]);
  const verifies = (digest: Uint8Array, tik = keys.tik, of = policy) =>
    checkLaunchMeasure(blob, { version, policy: of, digest, tik });
  return { guest, plan, platform, seen, verifies, keys };
}

describe('SEV-10 a measured direct boot', () => {
  test('has the digest that the owner predicts, which is a hash of its pages', async () => {
    const { plan, verifies, guest } = await launch(INPUTS);
    const digest = measurePlan(plan, { mode: 'sev' });
    expect(toHex(digest)).toBe(recomputed(plan));
    expect(verifies(digest)).toBe(true);
    expect(guest.pages).toBeGreaterThan(10);
    // Anything else is refused: another digest, key or policy.
    expect(verifies(digest.map((byte, at) => (at === 0 ? byte ^ 1 : byte)))).toBe(false);
    expect(verifies(digest, new Uint8Array(16))).toBe(false);
    expect(verifies(digest, undefined, POLICY.NODBG | POLICY.NOKS)).toBe(false);
  });

  test('is the same in two runs', async () => {
    const [one, two] = [await launch(INPUTS), await launch(INPUTS)];
    expect(one.guest.measurement).toEqual(two.guest.measurement);
  });

  test.each([
    ['the kernel', { kernel: INPUTS.kernel.map((b, at) => (at === 3 * 512 + 77 ? b ^ 1 : b)) }],
    ['the initrd', { initrd: INPUTS.initrd.map((b, at) => (at === 4999 ? b ^ 0x80 : b)) }],
    ['the command line', { append: 'console=ttyS1' }],
    ['the page tables', { cBit: 47 }],
  ])('changes with one byte of %s', async (_, change) => {
    const expected = measurePlan(planOf(INPUTS), { mode: 'sev' });
    const { verifies, plan } = await launch({ ...INPUTS, ...change });
    expect(verifies(expected)).toBe(false);
    expect(verifies(measurePlan(plan, { mode: 'sev' }))).toBe(true);
  });

  test('is encrypted where it lies: the guest reads it, the host does not', async () => {
    const { plan, seen } = await launch(INPUTS);
    const region = plan.regions.find(({ name }) => name === 'initrd')!;
    expect(seen(region.gpa, region.bytes.length, ASID)).toEqual(region.bytes);
    expect(toHex(seen(region.gpa, 256, 0))).not.toContain('1d1d1d1d');
  });

  test("takes the owner's secret once it is measured", async () => {
    const plaintext = new TextEncoder().encode('a key for the disk of the guest.');
    const gpa = 0x8000;
    const { seen } = await launch(INPUTS, POLICY.NODBG, async (keys, { measure: measurement }) => {
      const iv = new Uint8Array(16).fill(5);
      return { ...(await secretPacket({ plaintext, keys, iv, measurement })), gpa };
    });
    expect(seen(gpa, plaintext.length, ASID)).toEqual(plaintext);
  });

  test('has a platform that answers before there is a VM', () => {
    const { driver } = new EmulatedPlatform({ chip: testChip, seed: 'early' });
    driver.init();
    expect(driver.pdhCertExport().pdh.length).toBe(0x824);
    const handle = driver.launchStart({ policy: 0 });
    driver.dfFlush();
    driver.activate(handle, ASID);
    expect(() => driver.launchUpdateData(handle, 0, PAGE)).toThrow('INVALID_ADDRESS');
    driver.shutdown();
  });

  test('that fails leaves no guest behind', async () => {
    const { platform, vm } = machine();
    const options = { policy: 0, asid: ASID };
    const wrong = {
      ...planOf(INPUTS),
      regions: [{ name: 'secrets', gpa: 0, bytes: new Uint8Array(PAGE), type: 'secrets' as const }],
    };
    await expect(SevGuest.launch(platform, vm, wrong, options)).rejects.toThrow('SEV doesn’t have');
    const outside = [
      { name: 'far', gpa: RAM, bytes: new Uint8Array(PAGE), type: 'normal' as const },
    ];
    const far = { ...wrong, regions: outside };
    await expect(SevGuest.launch(platform, vm, far, options)).rejects.toThrow('not backed');
    expect(platform.driver.platformStatus().guests).toBe(0);
    const guest = await SevGuest.launch(platform, vm, planOf(INPUTS), options);
    guest.end();
    expect(platform.driver.platformStatus().guests).toBe(0);
  });

  test('an owner is told when a certificate is not of a PDH', () => {
    const { platform } = machine();
    platform.start();
    const { pek, pdh } = platform.driver.pdhCertExport();
    expect(() => openOwnerSession(pek, 0)).toThrow('this is no PDH certificate');
    expect(() => openOwnerSession(pdh.subarray(1), 0)).toThrow(VmmError);
    const made: OwnerSession = openOwnerSession(pdh, 0).owner;
    expect(made.session).not.toEqual(openOwnerSession(pdh, 0).owner.session);
  });
});

describe('SEV-11 the table of kernel hashes', () => {
  const files = { kernel: INPUTS.kernel, initrd: INPUTS.initrd, append: INPUTS.append };

  test('is the one that firmware and QEMU agree on', () => {
    const sha = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');
    // Header and entries with GUIDs as they lie in memory, lengths, padding to 176 bytes.
    const table = [
      '06d63894224fc94cb479a793d411fd21a800',
      `d82dd09720bd944caa78e7714d36ab2a3200${sha(`${files.append}\0`)}`,
      `31f7ba442f3ad74b9af141e29169781d3200${sha(files.initrd)}`,
      `3794e74dd2ab7f42b835d5b172d2045b3200${sha(files.kernel)}`,
    ].join('');
    expect(toHex(kernelHashesTable(kernelHashes(files)))).toBe(table.padEnd(352, '0'));
  });

  test('is measured behind the firmware, and tells another initrd', () => {
    const ovmf = firmwareImage({ hashTable: { base: 0x10c00, size: 0x400 } });
    const digestOf = (initrd: Uint8Array) =>
      measure({ mode: 'sev', firmware: ovmf, ...files, initrd });
    const { platform, vm } = machine();
    platform.start();
    const { driver } = platform;
    const handle = driver.launchStart({ policy: 0 });
    driver.activate(handle, ASID);
    for (const [at, bytes] of [
      [0x100000, ovmf],
      [0x10c00, kernelHashesTable(kernelHashes(files))],
    ] as const) {
      vm.memory.write(at, bytes);
      for (let page = 0; page < bytes.length; page += PAGE) {
        const spa = platform.controller.memory.locate(at + page) + (at % PAGE);
        driver.launchUpdateData(handle, spa, Math.min(PAGE, bytes.length - page));
      }
    }
    const blob = driver.launchMeasure(handle);
    const { version } = driver.platformStatus();
    const check = { version, policy: 0, tik: new Uint8Array(16) };
    expect(checkLaunchMeasure(blob, { ...check, digest: digestOf(files.initrd) })).toBe(true);
    const other = digestOf(files.initrd.subarray(1));
    expect(checkLaunchMeasure(blob, { ...check, digest: other })).toBe(false);
  });
});
