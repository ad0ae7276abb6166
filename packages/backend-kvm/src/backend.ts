/**
 * KVM as a backend and as a plugin.
 */
import {
  type BackendProbe,
  type BackendVmOptions,
  type CpuBackend,
  definePlugin,
  VmmError,
  type VmPlugin,
} from '@cloister/core';
import { selectCpu, selectionText } from '@cloister/core/cpu';
import { CAP, VM_TYPE } from './abi/constants.js';
import { type CpuChoice, cBitOf, missingFeatures } from './cpuid-policy.js';
import { KvmHost } from './host.js';
import type { KvmIrqchip } from './interrupts.js';
import { addonSys } from './sys/addon.js';
import type { Sys } from './sys/sys.js';
import { startVcpuWorker } from './vcpu-thread.js';
import { KvmVm } from './vm.js';

export interface KvmOptions {
  /**
   * `MODEL[,+feature,-feature]` as for the emulated processor, less what this host lacks, or
   * `host`: everything that the host's processor has.
   */
  readonly cpu?: string;
  /** Where the interrupt controllers live; see docs/kvm.md. Default `split`. */
  readonly irqchip?: KvmIrqchip;
  /** Logs written pages by rings of so many entries, a power of two, in place of the log. */
  readonly dirtyRing?: number;
  /**
   * Whether further vCPUs execute at the same time as the first, each in a Worker of its own; true
   * unless given. Otherwise all take turns in the thread of the VM, as always with `sys`.
   */
  readonly parallel?: boolean;
  /** Another way to the kernel than the bundled addon. */
  readonly sys?: Sys;
}

const NAME = 'kvm';
const VERSION = '0.1.0';
const IRQCHIPS: readonly KvmIrqchip[] = ['split', 'kernel', 'none'];

/** What every KVM of this interface can. */
const CAPABILITIES = ['cpu', 'cpu.native', 'cpu.long-mode'];

/** Capabilities by name, for `probe`: those that decide what this backend does. */
const SHOWN: readonly (readonly [string, number])[] = [
  ['split irqchip', CAP.SPLIT_IRQCHIP],
  ['irqfd', CAP.IRQFD],
  ['ioeventfd', CAP.IOEVENTFD],
  ['read-only memory', CAP.READONLY_MEM],
  ['user-space MSRs', CAP.X86_USER_SPACE_MSR],
  ['registers in the shared page', CAP.SYNC_REGS],
  ['dirty ring', CAP.DIRTY_LOG_RING],
  ['private memory files', CAP.GUEST_MEMFD],
  ['private and shared pages', CAP.MEMORY_ATTRIBUTES],
  ['emulation failures reported', CAP.EXIT_ON_EMULATION_FAILURE],
];

/** VM types beyond the plain one: the word that a plugin may require, and what it stands for. */
const TYPES: readonly (readonly [number, string, string])[] = [
  [VM_TYPE.SW_PROTECTED_VM, 'protection.software', 'software-protected'],
  [VM_TYPE.SEV_VM, 'protection.sev', 'SEV'],
  [VM_TYPE.SEV_ES_VM, 'protection.sev-es', 'SEV-ES'],
  [VM_TYPE.SNP_VM, 'protection.sev-snp', 'SEV-SNP'],
  [VM_TYPE.TDX_VM, 'protection.tdx', 'TDX'],
];

function capabilityWords(irqchip: KvmIrqchip, vmTypes: number): string[] {
  const chip = irqchip === 'kernel' ? 'irqchip.internal' : 'irqchip.external';
  const types = TYPES.filter(([type]) => (vmTypes & (1 << type)) !== 0).map(([, word]) => word);
  return [...CAPABILITIES, chip, ...types];
}

function details(host: KvmHost, cpu: CpuChoice): (readonly [string, string])[] {
  const has = (number: number) => host.capability(number) > 0;
  const missing = cpu === 'host' ? [] : missingFeatures(cpu, host.supportedCpuid());
  const types = TYPES.filter(([type]) => (host.vmTypes() & (1 << type)) !== 0);
  return [
    ['CPU model', cpu === 'host' ? "the host's" : cpu.model.name],
    ['features that this host lacks', missing.join(' ') || 'none'],
    ['vCPUs', String(host.capability(CAP.MAX_VCPUS) || host.capability(CAP.NR_VCPUS))],
    ['memory slots', String(host.capability(CAP.NR_MEMSLOTS))],
    ['protected VMs', types.map(([, , name]) => name).join(' ') || 'none'],
    ...SHOWN.map(([name, number]) => [name, has(number) ? 'yes' : 'no'] as const),
  ];
}

function chosenIrqchip(irqchip: KvmIrqchip = 'split'): KvmIrqchip {
  if (IRQCHIPS.includes(irqchip)) return irqchip;
  throw new VmmError('invalid-argument', `unknown irqchip "${irqchip}"`, {
    remedy: `one of ${IRQCHIPS.join(', ')}`,
  });
}

function requireSupported(options: BackendVmOptions, host: KvmHost, irqchip: KvmIrqchip): void {
  const refuse = (message: string, remedy: string): never => {
    throw new VmmError('unsupported', message, { remedy });
  };
  const { vmType = 0, extensions, intercept, cpus } = options;
  const name = TYPES.find(([type]) => type === vmType)?.[2] ?? `type ${vmType}`;
  if (((host.vmTypes() >>> vmType) & 1) === 0) {
    refuse(
      `this host's KVM makes no ${name} VMs`,
      'that needs a processor, firmware and kernel with that protection; see cloister probe',
    );
  }
  for (const extension of extensions) {
    refuse(
      `KVM takes no CPU extension (${extension.name})`,
      'use the emulated processor for emulated protections',
    );
  }
  if (intercept.has('cpuid')) {
    refuse('KVM answers CPUID itself', 'choose what it says by kvm({ cpu }), or use the emulator');
  }
  const most = host.capability(CAP.MAX_VCPUS) || 1;
  if (cpus > most) refuse(`${cpus} CPUs are too many`, `this host's KVM allows ${most}`);
  if (irqchip === 'none' && cpus > 1) {
    refuse('several CPUs need local APICs', "use kvm({ irqchip: 'split' })");
  }
}

/** The backend itself, for `probe` and for those who assemble without plugins. */
export function kvmBackend(options: KvmOptions = {}): CpuBackend {
  const cpu: CpuChoice = options.cpu === 'host' ? 'host' : selectCpu(options.cpu);
  const irqchip = chosenIrqchip(options.irqchip);
  const way = () => (options.sys === undefined ? addonSys() : { sys: options.sys });
  return {
    name: NAME,
    cpu: cpu === 'host' ? cpu : selectionText(cpu.model, cpu.features),
    async probe(): Promise<BackendProbe> {
      const nothing = { name: NAME, available: false, capabilities: [], details: [] };
      const loaded = way();
      if (!('sys' in loaded)) return { ...nothing, ...loaded };
      const host = KvmHost.open(loaded.sys);
      if (!(host instanceof KvmHost)) return { ...nothing, ...host };
      try {
        const cBit = cBitOf(host.supportedCpuid());
        return {
          name: NAME,
          available: true,
          ...(cBit !== undefined && { cBit }),
          capabilities: capabilityWords(irqchip, host.vmTypes()),
          details: details(host, cpu),
        };
      } finally {
        host.close();
      }
    },
    async createVm(vm: BackendVmOptions): Promise<KvmVm> {
      const loaded = way();
      if (!('sys' in loaded)) {
        const { reason, remedy } = loaded;
        throw new VmmError('unavailable', `backend kvm: ${reason}`, { remedy });
      }
      const host = KvmHost.require(loaded.sys);
      try {
        requireSupported(vm, host, irqchip);
        const { dirtyRing = 0, parallel = true, sys } = options;
        const startThread = parallel && sys === undefined ? startVcpuWorker : null;
        const made = new KvmVm(host, vm, { cpu, irqchip, dirtyRing, startThread });
        if (sys === undefined) await watched(made);
        return made;
      } finally {
        host.close();
      }
    },
  };
}

/** Other threads can only be told of the bundled way to the kernel. */
async function watched(vm: KvmVm): Promise<void> {
  try {
    await vm.watchEvents();
  } catch (error) {
    await vm.dispose();
    throw error;
  }
}

/** Plugin: run the guest on the host's processor, by KVM. */
export function kvm(options: KvmOptions = {}): VmPlugin {
  const backend = kvmBackend(options);
  return definePlugin({
    name: 'backend-kvm',
    version: VERSION,
    api: 1,
    requires: [],
    provides: capabilityWords(chosenIrqchip(options.irqchip), 0),
    setup(context) {
      context.setBackend(backend);
    },
  });
}
