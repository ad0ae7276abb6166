/**
 * SEV on the emulated processor, whose secure processor is emulated as well: protection of strength
 * `emulated`, since this process holds the keys.
 */
import {
  type BackendProbe,
  type BackendVm,
  type BootMachine,
  type MemoryEncryption,
  type SavedGuest,
  type SaveOptions,
  type Snapshot,
  VmmError,
} from '@cloister/core';
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '@cloister/core/cpu';
import { POLICY } from '../abi/policy.js';
import { SevProcessor } from '../silicon/sev-processor.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { decodeStream, encodeStream, receiverOf } from './guest-stream.js';
import { KvmSev } from './kvm-sev.js';
import type { MigrationControl } from './migration-control.js';
import { SevGuest } from './sev-launch.js';
import { DEFAULT_SEV_POLICY, type SevOptions } from './sev-options.js';
import { launchLines } from './summary-lines.js';

/** Every CPU model has its C-bit there. */
const { cBit: C_BIT } = CPU_MODELS.get(DEFAULT_CPU_MODEL)!;

export class EmulatedSev implements MemoryEncryption {
  readonly name = 'sev';
  readonly protection: BootMachine['protection'] = 'sev';
  readonly strength = 'emulated';
  readonly requires = ['cpu.extensions'];
  readonly extensions: readonly [SevProcessor, MigrationControl];
  readonly cBit = C_BIT;
  readonly #platform: EmulatedPlatform;
  readonly #asid: number;
  #guest: SevGuest | null = null;

  constructor(
    private readonly options: SevOptions,
    private readonly migration: MigrationControl,
  ) {
    const { platform } = options;
    this.#platform =
      platform instanceof EmulatedPlatform ? platform : new EmulatedPlatform(platform);
    const { asids, controller } = this.#platform;
    this.#asid = asids.minNoEs;
    const processor = new SevProcessor(controller, {
      cBit: C_BIT,
      asids: asids.max,
      firstPlainAsid: asids.minNoEs,
      asid: () => this.#asid,
    });
    this.extensions = [processor, migration];
  }

  /** A processor that exists has its own. */
  on(probe: BackendProbe): MemoryEncryption {
    return probe.capabilities.includes('cpu.native') ? new KvmSev(this.options, probe) : this;
  }

  async launch(...[vm, plan]: Parameters<MemoryEncryption['launch']>): Promise<void> {
    const { owner, secret, policy = DEFAULT_SEV_POLICY } = this.options;
    this.#guest = await SevGuest.launch(this.#platform, vm, plan, {
      policy,
      asid: this.#asid,
      ...(owner !== undefined && { owner }),
      ...(secret !== undefined && { secret }),
    });
  }

  ready(): boolean {
    return this.#platform.psp.processor.mayRun(this.#asid);
  }

  save(vm: BackendVm, { leave = false }: SaveOptions): SavedGuest {
    const guest = this.#guest;
    if (guest === null || !this.ready()) {
      throw new VmmError('invalid-state', 'the guest has no running context to save', {
        remedy: 'save it while it may run, and once only with leave',
      });
    }
    this.#requireWilling(guest.policy);
    const { migration } = this;
    const isPrivate = (gpa: number) => !migration.shares(gpa);
    const to = this.options.sendTo?.() ?? receiverOf(this.#platform);
    const stream = guest.send(vm, { to, isPrivate, leave });
    const always = vm.memory.slots.filter(({ encryptable }) => !encryptable);
    return {
      record: encodeStream(stream, migration.reports()),
      saves: (gpa) =>
        migration.shares(gpa) ||
        always.some((slot) => gpa >= slot.gpa && gpa < slot.gpa + slot.size),
    };
  }

  /** Its policy lets it leave, and it has told what it shares. */
  #requireWilling(policy: number): void {
    if ((policy & POLICY.NOSEND) !== 0) {
      throw new VmmError('unsupported', "the guest's policy (NOSEND) keeps it on this platform", {
        remedy: 'launch it with a policy without bit 3, if its owner agrees',
      });
    }
    if (this.migration.ready) return;
    throw new VmmError('invalid-state', 'the guest has not said yet which pages it shares', {
      remedy: 'wait until its kernel has started; one without migration control is never saved',
    });
  }

  restore(vm: BackendVm, record: Snapshot): void {
    const { stream, more } = decodeStream(record);
    const { policy } = this.options;
    if (policy !== undefined && policy !== stream.policy) {
      throw new VmmError(
        'snapshot-mismatch',
        `the guest was launched with policy 0x${stream.policy.toString(16)}`,
        { path: 'policy', remedy: 'leave the policy out, or give that one' },
      );
    }
    this.migration.takeOver(more, vm.memory);
    const isPrivate = (gpa: number) => !this.migration.shares(gpa);
    const asid = this.#asid;
    this.#guest = SevGuest.receive(this.#platform, vm, stream, { asid, isPrivate });
  }

  get measurement(): Uint8Array | null {
    return this.#guest?.measurement?.measure ?? null;
  }

  summary(): readonly (readonly [string, string])[] {
    const policy = this.#guest?.policy ?? this.options.policy ?? DEFAULT_SEV_POLICY;
    const { measurement = null, pages = 0 } = this.#guest ?? {};
    return [
      ['protection by', 'emulation: this process holds the keys'],
      ...launchLines(policy, measurement, pages),
    ];
  }

  dispose(): void {
    this.#guest?.end();
    this.#guest = null;
  }
}
