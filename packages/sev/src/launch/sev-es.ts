/**
 * Plugin: AMD SEV-ES. As SEV, and the registers of the guest's CPUs are hidden from the host as
 * well: they are part of what is measured, and nobody but the guest reads or changes them.
 *
 * On the emulated processor.
 */
import { definePlugin, VmmError, type VmPlugin } from '@cloister/core';
import { POLICY } from '../abi/policy.js';
import type { SevHostName } from '../hypervisor/profile.js';
import { EmulatedSevEs } from './emulated-sev-es.js';
import { MigrationControl } from './migration-control.js';
import type { SevOptions } from './sev-options.js';

export interface SevEsOptions extends SevOptions {
  /** Whose hypervisor: Linux' KVM (the default), which every guest knows, or OpenBSD's vmm(4). */
  readonly host?: SevHostName;
  /** Highest version of the GHCB protocol that it speaks; 2, as Linux from 6.11, if absent. */
  readonly ghcbVersion?: 1 | 2;
}

const VERSION = '0.1.0';

/** Plugin: protect the VM with SEV-ES. */
export function sevEs(options: SevEsOptions = {}): VmPlugin {
  if (options.policy !== undefined) checkPolicy(options.policy);
  return definePlugin({
    name: 'sev-es',
    version: VERSION,
    api: 1,
    requires: ['cpu.extensions'],
    provides: ['protection.sev-es'],
    setup(context) {
      const migration = new MigrationControl();
      const protection = new EmulatedSevEs(options, migration, context);
      context.setMemoryEncryption(protection);
      context.addExitHandler(migration.handler(() => context.memory));
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
