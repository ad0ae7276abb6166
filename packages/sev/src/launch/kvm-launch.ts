/**
 * The measured launch of a SEV guest by KVM: what `SevGuest` does on the emulated processor, by
 * the kernel's commands. KVM binds the ASID itself, when the VM is initialized.
 *
 * Every slot that may be encrypted is registered first: its pages must not move, since their
 * ciphertext belongs to their addresses.
 *
 * Source: Linux Documentation/virt/kvm/x86/amd-memory-encryption.rst; QEMU target/i386/sev.c for
 * the order.
 */
import { type BackendVm, type LaunchPlan, VmmError } from '@cloister/core';
import { KvmSevDriver } from '../psp/kvm-driver.js';
import { launchPages } from './launch-pages.js';
import type { LaunchMeasurement, LaunchOptions } from './sev-launch.js';

const PAGE_SIZE = 4096;

export interface KvmLaunch {
  readonly measurement: LaunchMeasurement;
  /** Pages that were measured. */
  readonly pages: number;
  /** For `guestStatus` and `attestation`. */
  readonly driver: KvmSevDriver;
}

/**
 * Launches the guest of `plan`; it may run afterwards. `VmmError('unsupported')` for a VM that
 * no kernel runs, before anything is done.
 */
export async function launchOnKvm(
  vm: BackendVm,
  plan: LaunchPlan,
  options: Omit<LaunchOptions, 'asid'>,
): Promise<KvmLaunch> {
  const { policy, owner, secret } = options;
  const { native } = vm;
  if (native === undefined) {
    throw new VmmError('unsupported', 'this VM is not run by a kernel that could protect it', {
      remedy: 'use the KVM backend on a host with SEV, or sev() on the emulated processor',
    });
  }
  const driver = new KvmSevDriver(native);
  driver.init();
  for (const { gpa, size, encryptable } of vm.memory.slots) {
    if (encryptable) driver.registerRegion(gpa, size);
  }
  driver.launchStart({ policy, ...(owner !== undefined && { owner }) });
  const pages = load(vm, driver, plan);
  const bytes = driver.launchMeasure();
  const measurement = { measure: bytes.slice(0, 32), nonce: bytes.slice(32) };
  const packet = await secret?.(measurement);
  if (packet) driver.launchSecret(packet, packet.gpa);
  driver.launchFinish();
  return { measurement, pages, driver };
}

/** Writes all pages, then has them measured: runs of pages that follow each other, in one call. */
function load(vm: BackendVm, driver: KvmSevDriver, plan: LaunchPlan): number {
  let run = { gpa: 0, length: 0 };
  let pages = 0;
  const update = () => {
    if (run.length > 0) driver.launchUpdateData(run);
  };
  for (const { name, gpa, bytes } of launchPages(plan)) {
    const slot = vm.memory.slots.find(
      (candidate) => gpa >= candidate.gpa && gpa < candidate.gpa + candidate.size,
    );
    if (slot === undefined || !slot.encryptable) {
      throw new VmmError('invalid-config', `${name} does not lie in memory that can be private`, {
        remedy: 'give the VM more memory',
      });
    }
    vm.memory.write(gpa, bytes);
    pages++;
    const follows = run.length > 0 && gpa === run.gpa + run.length && gpa !== slot.gpa;
    if (follows) run.length += PAGE_SIZE;
    else {
      update();
      run = { gpa, length: PAGE_SIZE };
    }
  }
  update();
  return pages;
}
