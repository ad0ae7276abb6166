/**
 * Plugin: AMD SEV-ES. As SEV, and the registers of the guest's CPUs are hidden from the host as
 * well: they are part of what is measured, and nobody but the guest reads or changes them.
 *
 * On the emulated processor. Known inaccuracy: such a guest cannot be saved or migrated.
 */
import { definePlugin, VmmError, type VmPlugin } from '@cloister/core';
import { POLICY } from '../abi/policy.js';
import type { SevHostName } from '../hypervisor/profile.js';
import { EmulatedSevEs } from './emulated-sev-es.js';
import { DEFAULT_SEV_POLICY, type SevOptions } from './sev-options.js';

export interface SevEsOptions extends Omit<SevOptions, 'sendTo'> {
  /** Whose hypervisor: Linux' KVM (the default), which every guest knows, or OpenBSD's vmm(4). */
  readonly host?: SevHostName;
  /** Highest version of the GHCB protocol that it speaks; 2, as Linux from 6.11, if absent. */
  readonly ghcbVersion?: 1 | 2;
}

/** As SEV's, for guests that must have SEV-ES. */
export const DEFAULT_SEV_ES_POLICY = DEFAULT_SEV_POLICY | POLICY.ES;

const VERSION = '0.1.0';

/** Plugin: protect the VM with SEV-ES. */
export function sevEs(options: SevEsOptions = {}): VmPlugin {
  const { policy = DEFAULT_SEV_ES_POLICY } = options;
  checkPolicy(policy);
  return definePlugin({
    name: 'sev-es',
    version: VERSION,
    api: 1,
    requires: ['cpu.extensions'],
    provides: ['protection.sev-es'],
    setup(context) {
      const protection = new EmulatedSevEs({ ...options, policy }, context);
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
    wrong('not 32 bits', 'give a policy such as 0x27');
  }
  if ((policy & POLICY.ES) === 0) {
    wrong('it does not require SEV-ES', 'set bit 2, or protect the VM with sev()');
  }
}
