/**
 * KVM-01: /dev/sev and KVM's commands, driven against kernels made up for the test: they read the
 * structs at the offsets of the kernel's headers and hand the work to an emulated processor.
 */
import type { EncryptAttachment, NativeVmControl } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { PLATFORM_STATE } from '../abi/commands.js';
import { toHex, viewOf } from '../bytes.js';
import { GUEST_OFFSET, kernelVm, secureProcessor } from '../testing/kvm-kernel.js';
import { DevSev, type SevDevice } from './dev-sev.js';
import type { PspDriver } from './driver.js';
import { SevFirmwareError } from './error.js';
import { KvmSevDriver } from './kvm-driver.js';

const EPERM = 1;
const EIO = 5;

/** sev-dev.c: `struct sev_issue_cmd` is cmd u32 at 0, data u64 at 4, error u32 at 12. */
function kernelDevice(driver: PspDriver): SevDevice & { readonly requests: number[] } {
  const requests: number[] = [];
  return {
    requests,
    ioctl: (request, argument, pointersGiven) => {
      requests.push(request);
      const id = viewOf(argument).getUint32(0, true);
      const data = pointersGiven.find(({ of }) => of === undefined);
      expect(data?.at ?? 4).toBe(4);
      const pointers = new Map(
        pointersGiven.filter(({ of }) => of === data?.bytes).map(({ at, bytes }) => [at, bytes]),
      );
      try {
        platformCommand(driver, id, data?.bytes ?? new Uint8Array(), pointers);
        return 0;
      } catch (error) {
        if (!(error instanceof SevFirmwareError)) throw error;
        viewOf(argument).setUint32(12, error.status, true);
        return -EIO;
      }
    },
  };
}

function platformCommand(
  driver: PspDriver,
  id: number,
  struct: Uint8Array,
  pointers: ReadonlyMap<number, Uint8Array>,
): void {
  const view = viewOf(struct);
  if (id === 0) driver.factoryReset();
  else if (id === 1) {
    const { version, state, es, guests } = driver.platformStatus();
    struct.set([version.major, version.minor, PLATFORM_STATE[state]]);
    view.setUint32(3, es ? 0x100 : 0, true);
    view.setUint8(7, version.build);
    view.setUint32(8, guests, true);
  } else if (id === 2) driver.pekGen();
  else if (id === 3) pointers.get(0)!.set(driver.pekCsr());
  else if (id === 4) driver.pdhGen();
  else if (id === 5) {
    const { pdh, pek, oca, cek } = driver.pdhCertExport();
    expect([view.getUint32(8, true), view.getUint32(20, true)]).toEqual([0x824, 3 * 0x824]);
    pointers.get(0)!.set(pdh);
    pointers.get(12)!.set([...pek, ...oca, ...cek]);
  } else if (id === 6) driver.pekCertImport(pointers.get(0)!, pointers.get(12)!);
  else if (id === 8) {
    pointers.get(0)!.set(driver.chipId());
    view.setUint32(8, 64, true);
  } else throw new Error(`command ${id}`);
}

describe('KVM-01 /dev/sev', () => {
  function open() {
    const { driver } = secureProcessor();
    driver.init({ es: true });
    const kernel = kernelDevice(driver);
    return { driver, kernel, device: new DevSev(kernel) };
  }

  test('reads status, certificates and identifier', () => {
    const { driver, kernel, device } = open();
    expect(device.platformStatus()).toEqual(driver.platformStatus());
    expect(device.pdhCertExport()).toEqual(driver.pdhCertExport());
    expect(device.pekCsr()).toEqual(driver.pekCsr());
    expect(device.chipId()).toEqual(driver.chipId());
    // _IOWR('S', 0, 16 bytes)
    expect(new Set(kernel.requests)).toEqual(new Set([0xc010_5300]));
  });

  test('generates keys, and says what the firmware refused', () => {
    const { driver, device } = open();
    const { pdh } = device.pdhCertExport();
    device.pdhGen();
    expect(device.pdhCertExport().pdh).not.toEqual(pdh);
    device.pekGen();
    expect(() => device.factoryReset()).toThrow('FACTORY_RESET: INVALID_PLATFORM_STATE');
    expect(() => device.pekCertImport(pdh, pdh)).toThrow(SevFirmwareError);
    driver.shutdown();
    device.factoryReset();
  });

  test('says which errno the kernel gave', () => {
    const device = new DevSev({ ioctl: () => -EPERM });
    expect(() => device.pekGen()).toThrow('/dev/sev refuses PEK_GEN: errno 1');
  });
});

describe('KVM-01 commands of KVM', () => {
  test('launch a guest', () => {
    const { control, memory, log } = kernelVm(2);
    const kvm = new KvmSevDriver(control);
    kvm.init();
    kvm.registerRegion(0, 0x8000);
    kvm.launchStart({ policy: 1 });
    const page = memory.bytes.subarray(0x2000 + GUEST_OFFSET, 0x3000 + GUEST_OFFSET);
    const before = toHex(page);
    kvm.launchUpdateData({ gpa: 0x2000, length: page.length });
    expect(toHex(page)).not.toBe(before);
    expect(kvm.launchMeasure().length).toBe(48);
    expect(kvm.guestStatus()).toEqual({ state: 'LSECRET', policy: 1 });
    const secret = { header: new Uint8Array(52), ciphertext: new Uint8Array(16) };
    expect(() => kvm.launchSecret(secret, 0x2000)).toThrow('BAD_MEASUREMENT');
    kvm.launchFinish();
    expect(kvm.attestation(new Uint8Array(16).fill(6))[0]).toBe(6);
    expect(log).toEqual([22, 2, 3, 6, 16, 5, 7, 20]);
  });

  test('initialize a VM by its type', () => {
    const { control, log } = kernelVm(0);
    new KvmSevDriver(control).init();
    expect(log).toEqual([0]);
    const other = kernelVm(4).control;
    expect(() => new KvmSevDriver(other).init()).toThrow('a VM of type 4 takes no SEV');
    const sev = kernelVm(2).control;
    expect(() => new KvmSevDriver(sev).init({ es: true })).toThrow('type 2 takes no SEV-ES');
  });

  test('attach memory where the structs have its address', () => {
    const seen: (readonly EncryptAttachment[])[] = [];
    const control: NativeVmControl = {
      ...kernelVm(2).control,
      memoryEncryptOp: (_, __, attachments) => {
        seen.push(attachments);
        return 0;
      },
    };
    const kvm = new KvmSevDriver(control);
    const owner = { certificate: new Uint8Array(0x824), session: new Uint8Array(128) };
    kvm.launchStart({ policy: 0, owner });
    kvm.launchSecret({ header: new Uint8Array(52), ciphertext: new Uint8Array(16) }, 0x7000);
    expect(seen.map((list) => list.map(({ at }) => at))).toEqual([
      [8, 24],
      [0, 16, 32],
    ]);
    expect(seen[1]![1]).toEqual({ at: 16, gpa: 0x7000, length: 16 });
  });
});
