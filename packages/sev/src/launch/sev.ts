/**
 * Plugin: AMD SEV. The guest's memory is encrypted under a key of its own, its launch is measured.
 *
 * On an emulated processor, whose secure processor is emulated as well: protection of strength
 * `emulated`, since this process holds the keys.
 */
import {
  type BootMachine,
  definePlugin,
  type MemoryEncryption,
  VmmError,
  type VmPlugin,
} from '@cloister/core';
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '@cloister/core/cpu';
import { POLICY } from '../abi/policy.js';
import { toHex } from '../bytes.js';
import { SevProcessor } from '../silicon/sev-processor.js';
import { EmulatedPlatform, type PlatformOptions } from './emulated-platform.js';
import { type LaunchOptions, SevGuest } from './sev-launch.js';

export interface SevOptions extends Pick<LaunchOptions, 'owner' | 'secret'> {
  /** The guest's policy (SEV API 55766, chapter 3); `DEFAULT_SEV_POLICY` unless given. */
  readonly policy?: number;
  /** The emulated platform, or what it is made of; a fresh one unless given. */
  readonly platform?: EmulatedPlatform | PlatformOptions;
}

/** No debugging, no key sharing, and neither leaves but for other SEV platforms. */
export const DEFAULT_SEV_POLICY = POLICY.NODBG | POLICY.NOKS | POLICY.SEV;

const VERSION = '0.1.0';
/** Every CPU model has its C-bit there. */
const { cBit: C_BIT } = CPU_MODELS.get(DEFAULT_CPU_MODEL)!;

/** Plugin: protect the VM with SEV. */
export function sev(options: SevOptions = {}): VmPlugin {
  const { policy = DEFAULT_SEV_POLICY } = options;
  checkPolicy(policy);
  return definePlugin({
    name: 'sev',
    version: VERSION,
    api: 1,
    requires: ['cpu.extensions'],
    provides: ['protection.sev'],
    setup(context) {
      const protection = new EmulatedSev(options, policy);
      context.setMemoryEncryption(protection);
      context.onDispose(() => protection.dispose());
    },
  });
}

function checkPolicy(policy: number): void {
  const wrong = (message: string, remedy: string): never => {
    throw new VmmError('invalid-argument', `policy ${policy}: ${message}`, { remedy });
  };
  if (!Number.isInteger(policy) || policy < 0 || policy > 0xffffffff) {
    wrong('not 32 bits', 'give a policy such as 0x23');
  }
  if ((policy & POLICY.ES) !== 0) {
    wrong('it requires SEV-ES, which this protection is not', 'leave bit 2 out');
  }
}

class EmulatedSev implements MemoryEncryption {
  readonly name = 'sev';
  readonly protection: BootMachine['protection'] = 'sev';
  readonly strength = 'emulated';
  readonly requires = ['cpu.extensions'];
  readonly extensions: readonly [SevProcessor];
  readonly cBit = C_BIT;
  readonly #platform: EmulatedPlatform;
  readonly #asid: number;
  #guest: SevGuest | null = null;

  constructor(
    private readonly options: SevOptions,
    private readonly policy: number,
  ) {
    const { platform } = options;
    this.#platform =
      platform instanceof EmulatedPlatform ? platform : new EmulatedPlatform(platform);
    const { asids, controller } = this.#platform;
    this.#asid = asids.minNoEs;
    this.extensions = [
      new SevProcessor(controller, {
        cBit: C_BIT,
        asids: asids.max,
        firstPlainAsid: asids.minNoEs,
        asid: () => this.#asid,
      }),
    ];
  }

  async launch(...[vm, plan]: Parameters<MemoryEncryption['launch']>): Promise<void> {
    const { owner, secret } = this.options;
    this.#guest = await SevGuest.launch(this.#platform, vm, plan, {
      policy: this.policy,
      asid: this.#asid,
      ...(owner !== undefined && { owner }),
      ...(secret !== undefined && { secret }),
    });
  }

  ready(): boolean {
    return this.#platform.psp.processor.mayRun(this.#asid);
  }

  get measurement(): Uint8Array | null {
    return this.#guest?.measurement?.measure ?? null;
  }

  summary(): readonly (readonly [string, string])[] {
    const lines: [string, string][] = [
      ['protection by', 'emulation: this process holds the keys'],
      ['policy', `0x${this.policy.toString(16)}`],
    ];
    const { measurement, pages } = this.#guest ?? {};
    if (measurement) {
      lines.push(['launch measure', `${toHex(measurement.measure)} (${pages} pages)`]);
      lines.push(['launch nonce', toHex(measurement.nonce)]);
    }
    return lines;
  }

  dispose(): void {
    this.#guest?.end();
    this.#guest = null;
  }
}
