/**
 * The emulated x86-64 processor as a backend and as a plugin.
 */
import {
  type BackendProbe,
  type BackendVm,
  type BackendVmOptions,
  type CpuBackend,
  definePlugin,
  type VmPlugin,
} from '@cloister/core';
import { CPU_MODELS, OPTIONAL_FEATURES, selectCpu, selectionText } from '@cloister/core/cpu';
import { EmulatedVm } from './emulated-vm.js';
import { tuneHost } from './host-tuning.js';
import { JIT_DEFAULT, type JitMode, jitMode } from './jit/mode.js';

export interface EmulatedOptions {
  /** CPU model and changes to it: `MODEL[,+feature,-feature]`. */
  readonly cpu?: string;
  /** Whether the whole process may be tuned, e.g. by V8 flags (`host-tuning.ts`); default true. */
  readonly tuneHost?: boolean;
  /** Translation of code: `off`, `on`, or `stress` (everything, at once); default `on`. */
  readonly jit?: JitMode;
}

const NAME = 'emu';
const VERSION = '0.1.0';
const CAPABILITIES = [
  'cpu',
  'cpu.emulated',
  'cpu.long-mode',
  'cpu.extensions',
  'clock.icount',
  'memory.remap',
  'irqchip.external',
];

/** The backend itself, for `probe` and for those who assemble without plugins. */
export function emulatedBackend(options: EmulatedOptions = {}): CpuBackend {
  const cpu = selectCpu(options.cpu);
  const jit = jitMode(options.jit ?? JIT_DEFAULT);
  return {
    name: NAME,
    cpu: selectionText(cpu.model, cpu.features),
    async probe(): Promise<BackendProbe> {
      return {
        name: NAME,
        available: true,
        capabilities: CAPABILITIES,
        details: [
          ['CPU model', selectionText(cpu.model, cpu.features)],
          ['CPU models', [...CPU_MODELS.keys()].join(' ')],
          ['features', [...cpu.features].join(' ')],
          ['optional features', [...OPTIONAL_FEATURES].join(' ')],
          ['hardware support', 'none needed'],
        ],
      };
    },
    async createVm(vm: BackendVmOptions): Promise<BackendVm> {
      const exits = vm.extensions.some(({ intercepts }) => intercepts !== undefined);
      if (options.tuneHost !== false) tuneHost(exits);
      return new EmulatedVm(vm, cpu, undefined, jit);
    },
  };
}

/** Plugin: run the guest on the emulated processor. */
export function emulated(options: EmulatedOptions = {}): VmPlugin {
  const backend = emulatedBackend(options);
  return definePlugin({
    name: 'backend-emu',
    version: VERSION,
    api: 1,
    requires: [],
    provides: CAPABILITIES,
    setup(context) {
      context.setBackend(backend);
    },
  });
}
