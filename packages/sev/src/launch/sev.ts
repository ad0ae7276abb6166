/**
 * Plugin: AMD SEV. The guest's memory is encrypted under a key of its own, its launch is measured.
 *
 * On the emulated processor SEV is emulated with it; on KVM it is the host's, where it has it.
 */
import { definePlugin, VmmError, type VmPlugin } from '@cloister/core';
import { POLICY } from '../abi/policy.js';
import { EmulatedSev } from './emulated-sev.js';
import { MigrationControl } from './migration-control.js';
import type { SevOptions } from './sev-options.js';

const VERSION = '0.1.0';

/** Plugin: protect the VM with SEV. */
export function sev(options: SevOptions = {}): VmPlugin {
  if (options.policy !== undefined) checkPolicy(options.policy);
  return definePlugin({
    name: 'sev',
    version: VERSION,
    api: 1,
    provides: ['protection.sev'],
    setup(context) {
      const migration = new MigrationControl();
      const protection = new EmulatedSev(options, migration);
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
    wrong('not 32 bits', 'give a policy such as 0x23');
  }
  if ((policy & POLICY.ES) !== 0) {
    wrong('it requires SEV-ES, which this protection is not', 'leave bit 2 out');
  }
}
