/**
 * A kernel made up for tests: what KVM does with the commands about a guest. It reads structs at
 * the offsets of the kernel's headers, wants what KVM wants (regions that are registered before
 * they are encrypted), and has the work done by an emulated secure processor.
 */
import type { BackendVm, NativeVmControl } from '@cloister/core';
import { GUEST_STATE } from '../abi/commands.js';
import { viewOf } from '../bytes.js';
import { seededEntropy } from '../firmware/entropy.js';
import { KeyedMemory } from '../firmware/keyed-memory.js';
import { emulatedPsp } from '../psp/emulated-psp.js';
import { SevFirmwareError } from '../psp/error.js';
import { testChip } from './emulated-chip.js';

/** Where guest memory begins in system memory, to tell addresses apart. */
export const GUEST_OFFSET = 0x1000;
const INVALID_ADDRESS = 9;

export function secureProcessor(size = 0x10000) {
  const memory = new KeyedMemory(size);
  const entropy = seededEntropy('kernel');
  return { memory, ...emulatedPsp({ memory, chip: testChip, entropy }) };
}

/** Offsets of the addresses in each command's struct; those of headers before 6.9, and of later. */
type Pointers = ReadonlyMap<number, Uint8Array>;

/** A VM of this type, with so much memory at guest-physical 0. */
export function kernelVm(vmType: number, size = 0x8000) {
  const { driver, memory, asids, processor } = secureProcessor(size + GUEST_OFFSET);
  const log: number[] = [];
  const regions: { readonly gpa: number; readonly length: number }[] = [];
  let handle = 0;
  const placeOf = (bytes: Uint8Array) => bytes.byteOffset - memory.bytes.byteOffset;
  const guest = (gpa: number, length: number) =>
    memory.bytes.subarray(gpa + GUEST_OFFSET, gpa + GUEST_OFFSET + length);

  const update = (bytes: Uint8Array): void => {
    const gpa = placeOf(bytes) - GUEST_OFFSET;
    const registered = regions.some((region) => {
      return gpa >= region.gpa && gpa + bytes.length <= region.gpa + region.length;
    });
    if (!registered) throw new SevFirmwareError('LAUNCH_UPDATE_DATA', INVALID_ADDRESS);
    driver.launchUpdateData(handle, placeOf(bytes), bytes.length);
  };

  const start = (view: DataView, at: Pointers): void => {
    const owner = at.has(8) && { certificate: at.get(8)!, session: at.get(24)! };
    handle = driver.launchStart({ policy: view.getUint32(4, true), ...(owner && { owner }) });
    driver.dfFlush();
    driver.activate(handle, asids.take(false));
  };

  const status = (view: DataView): void => {
    const { policy, state } = driver.guestStatus(handle);
    view.setUint32(4, policy, true);
    view.setUint32(8, GUEST_STATE[state], true);
  };

  const secret = (at: Pointers): void => {
    const packet = { header: at.get(0)!, ciphertext: at.get(32)! };
    driver.launchSecret(handle, packet, placeOf(at.get(16)!));
  };

  const attest = (view: DataView, at: Pointers): void => {
    const nonce = new Uint8Array(view.buffer, view.byteOffset, 16);
    at.get(16)!.set(driver.attestation(handle, nonce));
  };

  const COMMANDS: Readonly<Record<number, (view: DataView, at: Pointers) => void>> = {
    0: () => driver.init(),
    2: start,
    3: (_, at) => update(at.get(0)!),
    5: (_, at) => secret(at),
    6: (_, at) => at.get(0)!.set(driver.launchMeasure(handle)),
    7: () => driver.launchFinish(handle),
    16: status,
    20: attest,
    22: () => driver.init(),
  };

  const control: NativeVmControl = {
    vmType,
    vmTypes: 0b1101,
    registerRegion: (gpa, length) => void regions.push({ gpa, length }),
    unregisterRegion: () => {},
    setPrivate: () => {},
    memoryEncryptOp: (id, struct, attachments) => {
      log.push(id);
      const pointed = attachments.map((one) => {
        return [one.at, 'bytes' in one ? one.bytes : guest(one.gpa, one.length)] as const;
      });
      try {
        COMMANDS[id]!(viewOf(struct), new Map(pointed));
        return 0;
      } catch (error) {
        if (error instanceof SevFirmwareError) return error.status;
        throw error;
      }
    },
  };

  const slot = { id: 0, gpa: 0, size, readOnly: false, name: 'ram', encryptable: true };
  const vm = {
    native: control,
    memory: {
      slots: [slot],
      write: (gpa: number, bytes: Uint8Array) => guest(gpa, bytes.length).set(bytes),
    },
  } as unknown as BackendVm;
  return { control, vm, memory, log, driver, processor };
}
