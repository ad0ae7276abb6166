/**
 * SEV-ES on the emulated processor, whose secure processor is emulated as well: protection of
 * strength `emulated`, since this process holds the keys.
 */
import type {
  BackendVm,
  BootMachine,
  LaunchPlan,
  MemoryEncryption,
  PlanAdditions,
  PluginContext,
  SavedGuest,
  Snapshot,
} from '@cloister/core';
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '@cloister/core/cpu';
import { SevEsHypervisor } from '../hypervisor/sev-es-hypervisor.js';
import { exitName } from '../hypervisor/statistics.js';
import { planVmsas } from '../measure/plan.js';
import { SevEsProcessor } from '../silicon/sev-es-processor.js';
import { AP_JUMP_TABLE, apStart } from './ap-start.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { type GuestPlace, restoreGuest, saveGuest } from './guest-saving.js';
import type { MigrationControl } from './migration-control.js';
import type { SevEsOptions } from './sev-es.js';
import { SevGuest } from './sev-launch.js';
import { DEFAULT_SEV_ES_POLICY } from './sev-options.js';
import { launchLines } from './summary-lines.js';

/** Every CPU model has its C-bit there. */
const { cBit: C_BIT } = CPU_MODELS.get(DEFAULT_CPU_MODEL)!;

export class EmulatedSevEs implements MemoryEncryption {
  readonly name = 'sev-es';
  readonly protection: BootMachine['protection'] = 'sev-es';
  readonly strength = 'emulated';
  readonly requires = ['cpu.extensions'];
  readonly extensions: readonly [SevEsProcessor, MigrationControl];
  readonly cBit = C_BIT;
  readonly #platform: EmulatedPlatform;
  readonly #hypervisor: SevEsHypervisor;
  readonly #asid: number;
  #guest: SevGuest | null = null;

  constructor(
    private readonly options: SevEsOptions,
    private readonly migration: MigrationControl,
    private readonly vm: Pick<PluginContext, 'cpus' | 'memory' | 'switches'>,
  ) {
    const { platform, host = 'kvm', ghcbVersion = 2 } = options;
    this.#platform =
      platform instanceof EmulatedPlatform ? platform : new EmulatedPlatform(platform);
    const { psp, asids, controller } = this.#platform;
    this.#asid = psp.asids.take(true);
    const apJumpTable = vm.cpus > 1 ? AP_JUMP_TABLE : 0;
    const { switches } = vm;
    this.#hypervisor = new SevEsHypervisor({
      host,
      ghcbVersion,
      cBit: C_BIT,
      apJumpTable,
      switches,
    });
    this.extensions = [
      new SevEsProcessor(controller, {
        cBit: C_BIT,
        asids: asids.max,
        firstPlainAsid: asids.minNoEs,
        asid: () => this.#asid,
        hypervisor: this.#hypervisor,
        memory: () => vm.memory,
        switches,
      }),
      migration,
    ];
  }

  additions(cpus: number): PlanAdditions {
    return apStart(cpus);
  }

  async launch(vm: BackendVm, plan: LaunchPlan): Promise<void> {
    const { owner, secret, policy = DEFAULT_SEV_ES_POLICY } = this.options;
    const [processor] = this.extensions;
    const vmsas = planVmsas(plan, 0n).map(({ index, bytes }) => ({
      spa: processor.vmsaOf(index),
      bytes,
    }));
    this.#guest = await SevGuest.launch(this.#platform, vm, plan, {
      policy,
      asid: this.#asid,
      vmsas,
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
    const [processor] = this.extensions;
    const vmsas = Array.from({ length: this.vm.cpus }, (_, index) => processor.vmsaOf(index));
    return { platform: this.#platform, migration, asid: this.#asid, vmsas };
  }

  get measurement(): Uint8Array | null {
    return this.#guest?.measurement?.measure ?? null;
  }

  summary(): readonly (readonly [string, string])[] {
    const policy = this.#guest?.policy ?? this.options.policy ?? DEFAULT_SEV_ES_POLICY;
    const { measurement = null, pages = 0 } = this.#guest ?? {};
    const [{ exceptions }] = this.extensions;
    const counts = [...exceptions].map(([code, count]) => `${exitName(code)} ${count}`);
    return [
      ['protection by', 'emulation: this process holds the keys'],
      ...launchLines(policy, measurement, pages),
      ['#VC', counts.length === 0 ? 'none' : counts.join(', ')],
      ...this.#hypervisor.summary().map(titled),
    ];
  }

  dispose(): void {
    this.#guest?.end();
    this.#guest = null;
  }
}

/** `title: text`, as a row. */
function titled(line: string): readonly [string, string] {
  const at = line.indexOf(': ');
  return [line.slice(0, at), line.slice(at + 2)];
}
