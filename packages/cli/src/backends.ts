/**
 * The backends that the command knows, by name. A package that is not installed is no error until
 * its backend is asked for.
 */
import { type CpuBackend, VmmError, type VmPlugin } from '@cloister/core';
import { isMissingModule } from './module-loader.js';
import type { BackendChoice } from './probe.js';
import type { BackendName } from './run-options.js';

/** Which processor the guest gets: `MODEL[,+feature,-feature]`, see `@cloister/core/cpu`. */
export interface CpuChoice {
  readonly cpu?: string;
}

/** What a backend's package exports to the command. */
interface KvmPackage {
  kvm(options?: CpuChoice): VmPlugin;
  kvmBackend(): CpuBackend;
}

const KVM_MODULE = '@cloister/backend-kvm';

const loadKvm = async (): Promise<KvmPackage> => (await import(KVM_MODULE)) as KvmPackage;

export const BACKEND_CHOICES: readonly BackendChoice[] = [
  {
    name: 'emu',
    module: '@cloister/backend-emu',
    load: async () => (await import('@cloister/backend-emu')).emulatedBackend(),
  },
  { name: 'kvm', module: KVM_MODULE, load: async () => (await loadKvm()).kvmBackend() },
];

/** The plugin that brings the backend. */
export async function backendPlugin(name: BackendName, choice: CpuChoice = {}): Promise<VmPlugin> {
  if (name === 'emu') return (await import('@cloister/backend-emu')).emulated(choice);
  try {
    return (await loadKvm()).kvm(choice);
  } catch (cause) {
    if (!isMissingModule(cause, KVM_MODULE)) throw cause;
    throw new VmmError('unavailable', `backend kvm: the ${KVM_MODULE} package is not installed`, {
      remedy: 'use --backend emu',
      cause,
    });
  }
}

/** The plugin that runs what KVM cannot on the emulated processor. */
export async function assistPlugin(): Promise<VmPlugin> {
  return (await import('@cloister/backend-emu')).assist();
}
