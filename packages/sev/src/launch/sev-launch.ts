/**
 * The measured launch of a SEV guest, as hypervisors carry it out: LAUNCH_START, ACTIVATE,
 * LAUNCH_UPDATE_DATA of what the boot source lays out, LAUNCH_UPDATE_VMSA of the vCPUs of a
 * SEV-ES guest, LAUNCH_MEASURE, LAUNCH_SECRET, LAUNCH_FINISH.
 *
 * Source: SEV API 55766, chapter 6 and appendix A; OpenBSD vmd(8) and Linux KVM for the order. What
 * is measured is what `measurePlan` of `@cloister/sev/measure` measures, page by page.
 */
import { type BackendVm, type LaunchPlan, VmmError } from '@cloister/core';
import { POLICY } from '../abi/policy.js';
import type { OwnerSession } from '../psp/driver.js';
import type { EmulatedPlatform } from './emulated-platform.js';
import {
  type GuestStream,
  receivePackets,
  type SendOptions,
  sendGuest,
  settleGuest,
} from './guest-stream.js';
import { launchPages } from './launch-pages.js';

const PAGE_SIZE = 4096;

/** What a launch measured: what the owner checks before it sends a secret. */
export interface LaunchMeasurement {
  /** 32 bytes: HMAC under the owner's TIK. */
  readonly measure: Uint8Array;
  /** 16 bytes. */
  readonly nonce: Uint8Array;
}

/** A secret for the guest, as `secretPacket` of `@cloister/sev/measure` makes it. */
export interface LaunchSecret {
  /** Flags, IV, MAC: 52 bytes. */
  readonly header: Uint8Array;
  readonly ciphertext: Uint8Array;
  /** Guest-physical address, a multiple of 16; the secret does not cross a page. */
  readonly gpa: number;
}

/** The first state of a vCPU of a SEV-ES guest. */
export interface LaunchVmsa {
  /** System-physical address of its page. */
  readonly spa: number;
  /** 4096 bytes. */
  readonly bytes: Uint8Array;
}

export interface LaunchOptions {
  readonly policy: number;
  readonly asid: number;
  /** In the order in which they are measured, after all pages; SEV-ES only. */
  readonly vmsas?: readonly LaunchVmsa[];
  readonly owner?: OwnerSession;
  /** Called with the measurement; what it returns goes into the guest. */
  readonly secret?: (
    launch: LaunchMeasurement,
  ) => LaunchSecret | null | Promise<LaunchSecret | null>;
}

/** A guest that the secure processor knows. */
export class SevGuest {
  measurement: LaunchMeasurement | null = null;
  /** Pages that were measured. */
  pages = 0;
  #ended = false;

  private constructor(
    private readonly platform: EmulatedPlatform,
    private readonly handle: number,
  ) {}

  /** Launches the guest of `plan`; it may run afterwards. */
  static async launch(
    platform: EmulatedPlatform,
    vm: BackendVm,
    plan: LaunchPlan,
    options: LaunchOptions,
  ): Promise<SevGuest> {
    const { policy, owner, asid, vmsas = [] } = options;
    const { driver } = platform;
    platform.start((policy & POLICY.ES) !== 0);
    const handle = driver.launchStart({ policy, ...(owner !== undefined && { owner }) });
    const guest = new SevGuest(platform, handle);
    try {
      driver.activate(handle, asid);
      guest.#load(vm, plan);
      for (const vmsa of vmsas) guest.#loadVmsa(vmsa);
      guest.measurement = guest.#measure();
      const secret = await options.secret?.(guest.measurement);
      if (secret) guest.#inject(vm, secret);
      driver.launchFinish(handle);
      return guest;
    } catch (error) {
      guest.#giveUp();
      throw error;
    }
  }

  /** Takes over a guest that another platform, or this one before, has sent; it may run then. */
  static receive(
    platform: EmulatedPlatform,
    vm: BackendVm,
    stream: GuestStream,
    options: Pick<SendOptions, 'isPrivate' | 'vmsas'> & { readonly asid: number },
  ): SevGuest {
    const { driver } = platform;
    platform.start((stream.policy & POLICY.ES) !== 0);
    const handle = driver.receiveStart(stream);
    const guest = new SevGuest(platform, handle);
    try {
      driver.activate(handle, options.asid);
      receivePackets(platform, handle, vm, stream, options);
      return guest;
    } catch (error) {
      guest.#giveUp();
      throw error;
    }
  }

  /** Sends it. `settle` must follow. */
  send(vm: BackendVm, options: SendOptions): GuestStream {
    return sendGuest(this.platform, this.handle, vm, options);
  }

  /** The end of sending: it leaves, or goes on here; neither where it has ended meanwhile. */
  settle(leaves: boolean): void {
    if (this.#ended) return;
    settleGuest(this.platform.driver, this.handle, leaves);
  }

  get policy(): number {
    return this.platform.driver.guestStatus(this.handle).policy;
  }

  /** As `end`, after an error, which is what there is to tell. */
  #giveUp(): void {
    try {
      this.end();
    } catch {
      // A secure processor that refuses this too has nothing to add.
    }
  }

  /** The guest's key goes: DEACTIVATE, DF_FLUSH, DECOMMISSION. It must not run any more. */
  end(): void {
    this.#ended = true;
    const { handle } = this;
    const { driver } = this.platform;
    if (driver.guestStatus(handle).asid !== 0) driver.deactivate(handle);
    driver.dfFlush();
    driver.decommission(handle);
  }

  #load(vm: BackendVm, plan: LaunchPlan): void {
    let run = { spa: 0, length: 0 };
    const update = () => {
      const { spa, length } = run;
      if (length > 0) this.platform.driver.launchUpdateData(this.handle, spa, length);
    };
    for (const { name, gpa, bytes } of launchPages(plan)) {
      const spa = this.#place(vm, name, gpa);
      vm.memory.write(gpa, bytes);
      this.pages++;
      if (run.length > 0 && spa === run.spa + run.length) run.length += PAGE_SIZE;
      else {
        update();
        run = { spa, length: PAGE_SIZE };
      }
    }
    update();
  }

  #loadVmsa({ spa, bytes }: LaunchVmsa): void {
    const { controller, driver } = this.platform;
    controller.write(spa, bytes, 0);
    driver.launchUpdateVmsa(this.handle, spa);
    this.pages++;
  }

  #measure(): LaunchMeasurement {
    const bytes = this.platform.driver.launchMeasure(this.handle);
    return { measure: bytes.slice(0, 32), nonce: bytes.slice(32) };
  }

  #inject(vm: BackendVm, { header, ciphertext, gpa }: LaunchSecret): void {
    const inPage = gpa % PAGE_SIZE;
    if (inPage + ciphertext.length > PAGE_SIZE) {
      throw new VmmError('invalid-argument', 'the secret does not lie in one page', {
        remedy: 'choose another address, or make it smaller',
      });
    }
    const spa = this.#place(vm, 'the secret', gpa - inPage) + inPage;
    this.platform.driver.launchSecret(this.handle, { header, ciphertext }, spa);
  }

  /** Where the page of `gpa` lies in system memory. */
  #place(vm: BackendVm, name: string, gpa: number): number {
    const spa = this.platform.controller.memory.locate(gpa);
    if (spa >= 0 && vm.memory.covers(gpa, PAGE_SIZE)) return spa;
    throw new VmmError(
      'invalid-config',
      `${name} (at 0x${gpa.toString(16)}) is not backed by guest memory`,
      { remedy: 'give the VM more memory' },
    );
  }
}
