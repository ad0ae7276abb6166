/**
 * The measured launch of a SEV guest, as hypervisors carry it out: LAUNCH_START, ACTIVATE,
 * LAUNCH_UPDATE_DATA of what the boot source lays out, LAUNCH_MEASURE, LAUNCH_SECRET,
 * LAUNCH_FINISH.
 *
 * Source: SEV API 55766, chapter 6 and appendix A; OpenBSD vmd(8) and Linux KVM for the order. What
 * is measured is what `measurePlan` of `@cloister/sev/measure` measures, page by page.
 */
import { type BackendVm, type LaunchPlan, VmmError } from '@cloister/core';
import { SIZE } from '../abi/commands.js';
import { planPages } from '../measure/plan.js';
import type { EmulatedPlatform } from './emulated-platform.js';

const PAGE_SIZE = 4096;

/** What a guest's owner hands over: its certificate, and keys that only the platform can unwrap. */
export interface OwnerSession {
  /** The owner's certificate of its Diffie-Hellman key (GODH), 0x824 bytes. */
  readonly certificate: Uint8Array;
  /** 128 bytes, as `sessionData` of `@cloister/sev/measure` makes them. */
  readonly session: Uint8Array;
}

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

export interface LaunchOptions {
  readonly policy: number;
  readonly asid: number;
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
    platform.start();
    const guest = new SevGuest(platform, start(platform, options));
    try {
      platform.run('ACTIVATE', { handle: guest.handle, asid: options.asid });
      guest.#load(vm, plan);
      guest.measurement = guest.#measure();
      const secret = await options.secret?.(guest.measurement);
      if (secret) guest.#inject(vm, secret);
      platform.run('LAUNCH_FINISH', { handle: guest.handle });
      return guest;
    } catch (error) {
      guest.end();
      throw error;
    }
  }

  /** The guest's key goes: DEACTIVATE, DF_FLUSH, DECOMMISSION. It must not run any more. */
  end(): void {
    const { platform, handle } = this;
    if (platform.run('GUEST_STATUS', { handle }).asid !== 0) platform.run('DEACTIVATE', { handle });
    platform.processor.wbinvd();
    platform.command('DF_FLUSH', 0);
    platform.run('DECOMMISSION', { handle });
  }

  #load(vm: BackendVm, plan: LaunchPlan): void {
    let run = { spa: 0, length: 0 };
    const update = () => {
      const { spa: paddr, length } = run;
      if (length > 0)
        this.platform.run('LAUNCH_UPDATE_DATA', { handle: this.handle, paddr, length });
    };
    for (const { name, gpa, bytes, type } of planPages(plan.regions)) {
      if (type !== 'normal' && type !== 'zero') {
        throw new VmmError('unsupported', `${name} is a ${type} page, which SEV doesn’t have`);
      }
      const spa = this.#place(vm, name, gpa);
      vm.memory.write(gpa, bytes ?? new Uint8Array(PAGE_SIZE));
      this.pages++;
      if (run.length > 0 && spa === run.spa + run.length) run.length += PAGE_SIZE;
      else {
        update();
        run = { spa, length: PAGE_SIZE };
      }
    }
    update();
  }

  #measure(): LaunchMeasurement {
    const { platform, handle } = this;
    return platform.withBlocks([SIZE.MEASURE], ([at]) => {
      platform.run('LAUNCH_MEASURE', { handle, measure_paddr: at!, measure_len: SIZE.MEASURE });
      const bytes = platform.view(at!, SIZE.MEASURE);
      return { measure: bytes.slice(0, 32), nonce: bytes.slice(32) };
    });
  }

  #inject(vm: BackendVm, { header, ciphertext, gpa }: LaunchSecret): void {
    const { platform, handle } = this;
    const inPage = gpa % PAGE_SIZE;
    if (inPage + ciphertext.length > PAGE_SIZE) {
      throw new VmmError('invalid-argument', 'the secret does not lie in one page', {
        remedy: 'choose another address, or make it smaller',
      });
    }
    const spa = this.#place(vm, 'the secret', gpa - inPage) + inPage;
    platform.withBlocks([header.length, ciphertext.length], (at) => {
      platform.view(at[0]!, header.length).set(header);
      platform.view(at[1]!, ciphertext.length).set(ciphertext);
      platform.run('LAUNCH_SECRET', {
        handle,
        hdr_paddr: at[0]!,
        hdr_len: header.length,
        guest_paddr: spa,
        guest_len: ciphertext.length,
        trans_paddr: at[1]!,
        trans_len: ciphertext.length,
      });
    });
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

function start(platform: EmulatedPlatform, { policy, owner }: LaunchOptions): number {
  if (owner === undefined) return platform.run('LAUNCH_START', { policy }).handle;
  const { certificate, session } = owner;
  return platform.withBlocks([certificate.length, session.length], (at) => {
    platform.view(at[0]!, certificate.length).set(certificate);
    platform.view(at[1]!, session.length).set(session);
    return platform.run('LAUNCH_START', {
      policy,
      dh_cert_paddr: at[0]!,
      dh_cert_len: certificate.length,
      session_paddr: at[1]!,
      session_len: session.length,
    }).handle;
  });
}
