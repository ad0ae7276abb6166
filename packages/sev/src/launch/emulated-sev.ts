/**
 * SEV on the emulated processor, whose secure processor is emulated as well: protection of strength
 * `emulated`, since this process holds the keys.
 */
import type {
  BackendProbe,
  BackendVm,
  BootMachine,
  MemoryEncryption,
  SavedGuest,
  Snapshot,
} from '@cloister/core';
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '@cloister/core/cpu';
import { SevProcessor } from '../silicon/sev-processor.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { type GuestPlace, restoreGuest, saveGuest } from './guest-saving.js';
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

  save(vm: BackendVm): SavedGuest {
    return saveGuest(vm, this.#guest, this.#place, this.options.sendTo?.());
  }

  restore(vm: BackendVm, record: Snapshot): void {
    this.#guest = restoreGuest(vm, record, this.#place, this.options.policy);
  }

  get #place(): GuestPlace {
    const { migration } = this;
    return { platform: this.#platform, migration, asid: this.#asid, vmsas: [] };
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
