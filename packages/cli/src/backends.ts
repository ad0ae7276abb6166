/**
 * The backends that the command knows, by name. A package that is not installed is no error until
 * its backend is asked for.
 */
import { type CpuBackend, VmmError, type VmPlugin } from '@cloister/core';
import type { TapDevice } from '@cloister/virtio';
import { isMissingModule } from './module-loader.js';
import type { BackendChoice } from './probe.js';
import type { BackendName, JitMode } from './run-options.js';

/** Which processor the guest gets. */
export interface CpuChoice {
  /** `MODEL[,+feature,-feature]`, see `@cloister/core/cpu`. */
  readonly cpu?: string;
  /** Translation; of the emulated processor alone. */
  readonly jit?: JitMode;
}

/** What a backend's package exports to the command. */
interface KvmPackage {
  kvm(options?: CpuChoice): VmPlugin;
  kvmBackend(): CpuBackend;
  openTap(name: string): TapDevice;
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
  if (choice.jit !== undefined) {
    throw new VmmError('invalid-config', `backend ${name} translates nothing`, {
      remedy: 'leave --jit out, or use --backend emu',
      path: 'jit',
    });
  }
  return (await kvmPackage('backend kvm', 'use --backend emu')).kvm(choice);
}

/** A TAP of the host's, by the calls to Linux that the KVM package has. */
export async function openTap(name: string): Promise<TapDevice> {
  return (await kvmPackage(`TAP ${name}`, 'use --net passt')).openTap(name);
}

async function kvmPackage(what: string, remedy: string): Promise<KvmPackage> {
  try {
    return await loadKvm();
  } catch (cause) {
    if (!isMissingModule(cause, KVM_MODULE)) throw cause;
    const message = `${what}: the ${KVM_MODULE} package is not installed`;
    throw new VmmError('unavailable', message, { remedy, cause });
  }
}

/** The plugin that runs what KVM cannot on the emulated processor. */
export async function assistPlugin(): Promise<VmPlugin> {
  return (await import('@cloister/backend-emu')).assist();
}
