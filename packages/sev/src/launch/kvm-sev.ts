/**
 * SEV of the host's processor, through KVM: protection of strength `hardware`. The kernel keeps the
 * guest's handle and ASID, and does not enter a guest that may not run.
 */
import {
  type BackendProbe,
  type BackendVm,
  type BootMachine,
  type LaunchPlan,
  type MemoryEncryption,
  VmmError,
} from '@cloister/core';
import { SEV_VM_TYPE } from '../psp/kvm-driver.js';
import { type KvmLaunch, launchOnKvm } from './kvm-launch.js';
import { DEFAULT_SEV_POLICY, type SevOptions } from './sev-options.js';
import { launchLines } from './summary-lines.js';

export class KvmSev implements MemoryEncryption {
  readonly name = 'sev';
  readonly protection: BootMachine['protection'] = 'sev';
  readonly strength = 'hardware';
  readonly requires = ['protection.sev'];
  readonly extensions = [];
  readonly cBit: number | null;
  #launch: KvmLaunch | null = null;
  #runs = false;

  /** `VmmError('invalid-argument')` for options that only an emulated platform has. */
  constructor(
    private readonly options: SevOptions,
    { cBit, name }: BackendProbe,
  ) {
    this.cBit = cBit ?? null;
    const { platform, sendTo } = options;
    if (platform === undefined && sendTo === undefined) return;
    const what = platform === undefined ? 'sendTo' : 'platform';
    throw new VmmError('invalid-argument', `${what} is of no use with backend ${name}`, {
      plugin: 'sev',
      path: what,
      remedy: 'leave it out: the platform is the host, or use the emulated processor',
    });
  }

  vmType(): number {
    return SEV_VM_TYPE.SEV;
  }

  async launch(vm: BackendVm, plan: LaunchPlan): Promise<void> {
    const { owner, secret, policy = DEFAULT_SEV_POLICY } = this.options;
    this.#launch = await launchOnKvm(vm, plan, {
      policy,
      ...(owner !== undefined && { owner }),
      ...(secret !== undefined && { secret }),
    });
    this.#runs = this.#launch.driver.guestStatus().state === 'RUNNING';
  }

  /** As the firmware said after the launch; it is too slow to be asked again and again. */
  ready(): boolean {
    return this.#runs;
  }

  get measurement(): Uint8Array | null {
    return this.#launch?.measurement.measure ?? null;
  }

  summary(): readonly (readonly [string, string])[] {
    const { policy = DEFAULT_SEV_POLICY } = this.options;
    const { measurement = null, pages = 0 } = this.#launch ?? {};
    return [
      ['protection by', "the host's secure processor"],
      ...launchLines(policy, measurement, pages),
    ];
  }
}
