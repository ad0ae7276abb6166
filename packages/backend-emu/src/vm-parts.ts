/**
 * What a VM of emulated processors is made of: one WebAssembly memory that begins with the vCPU
 * records, then the op cache, tables of frames, and RAM; and the vCPUs over it.
 */
import {
  type Clock,
  type CpuExtension,
  type Random,
  type VmExitKind,
  VmmError,
} from '@cloister/core';
import type { CpuSelection } from '@cloister/core/cpu';
import type { ApicBus } from './apic/bus.js';
import * as L from './cpu/layout.js';
import { Processor, type SystemFunction } from './cpu/processor.js';
import type { Decoded } from './decode/decoded.js';
import { ExtensionSet } from './extension/extension-set.js';
import { interceptedFunctions } from './extension/intercepts.js';
import { coreModule } from './interp/core-cache.js';
import { Interpreter } from './interp/interpreter.js';
import { OpCache } from './interp/op-cache.js';
import { hostMilliseconds } from './jit/host-stopwatch.js';
import type { JitMode } from './jit/mode.js';
import { Translator } from './jit/translator.js';
import { type Reach, reachIn } from './mmu/fast-walk.js';
import { frameTableBytes, LOW_PAGES } from './mmu/frame-tables.js';
import { PhysicalMemory } from './mmu/physical.js';
import { systemMemory } from './mmu/system-memory.js';
import { type ServicesShared, VcpuServices } from './msr/vcpu-services.js';
import type { KvmClockGroup } from './paravirt/kvm-clock.js';
import { EmulatedVcpu } from './vcpu.js';

const WASM_PAGE = 65536;
const FIRST_CPU = 0x1000;
/** A WebAssembly memory ends at 4 GiB. */
const LARGEST = 65536 * WASM_PAGE;

export interface VmPartsOptions {
  readonly cpu: CpuSelection;
  readonly cpus: number;
  /** Bytes of RAM. */
  readonly memorySize: number;
  /** Bytes of the op cache, a multiple of 4096. */
  readonly opCacheSize: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly bus: ApicBus;
  readonly kvmClocks: KvmClockGroup;
  readonly extensions: readonly CpuExtension[];
  readonly intercept: ReadonlySet<VmExitKind>;
  /** Guest memory by physical address. */
  readonly memory: ServicesShared['memory'];
  /** Instructions executed by the VM. */
  readonly instructions: () => number;
  /** Told of each instruction that is decoded. */
  readonly onDecoded?: (decoded: Decoded) => void;
  readonly jit: JitMode;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function allocate(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / WASM_PAGE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch (cause) {
    throw new VmmError('out-of-memory', `cannot allocate ${bytes} bytes for the guest`, {
      remedy: 'give the VM less memory',
      cause,
    });
  }
}

export class VmParts {
  readonly physical: PhysicalMemory;
  readonly opCache: OpCache;
  readonly vcpus: readonly EmulatedVcpu[];
  readonly translator: Translator | undefined;
  private readonly wasmMemory: WebAssembly.Memory;
  private readonly reach: Reach;
  readonly extensions: ExtensionSet;
  /** System functions by number. */
  private readonly functions: readonly SystemFunction[];

  constructor(private readonly options: VmPartsOptions) {
    const { cpu, cpus, opCacheSize, onDecoded } = options;
    const cpuBytes = roundUp(FIRST_CPU + cpus * L.CPU_STRIDE, WASM_PAGE);
    const pagesOf = (extension: CpuExtension) => extension.systemPages?.(cpus) ?? 0;
    const extra = options.extensions.reduce((sum, each) => sum + pagesOf(each), 0);
    const size = roundUp(options.memorySize, 4096) + extra * 4096;
    const tables = cpuBytes + opCacheSize;
    this.extensions = new ExtensionSet(options.extensions);
    const verdicts = this.extensions.verdictsLast;
    const ramBase = tables + frameTableBytes(LOW_PAGES, size / 4096, verdicts);
    const most = LARGEST - tables - frameTableBytes(LOW_PAGES, LARGEST / 4096, verdicts);
    if (size > most) {
      throw new VmmError('invalid-config', `the guest cannot have ${size} bytes of memory`, {
        remedy: `the emulated processor provides at most ${Math.floor(most / (1 << 20))}M`,
        path: 'memory',
      });
    }
    this.wasmMemory = allocate(ramBase + size);
    const { buffer } = this.wasmMemory;
    this.physical = new PhysicalMemory({ buffer, ramBase, size, tables, verdicts });
    this.reach = reachIn(this.wasmMemory, verdicts);
    this.functions = interceptedFunctions(this.extensions.intercepts);
    this.physical.keys.cipher = this.extensions.cipher;
    for (const extension of options.extensions) {
      extension.attach?.(systemMemory(this.physical, pagesOf(extension)));
    }
    const { module, handlers } = coreModule(options.jit !== 'off');
    if (options.jit !== 'off') {
      this.translator = new Translator({
        mode: options.jit,
        memory: this.wasmMemory,
        handlers,
        now: hostMilliseconds,
      });
    }
    const { translator } = this;
    this.opCache = new OpCache({
      physical: this.physical,
      handlers,
      decoder: this.extensions.decoder((feature) => cpu.has(feature)),
      base: cpuBytes,
      size: opCacheSize,
      ...(onDecoded === undefined ? {} : { onDecoded }),
      ...(translator === undefined ? {} : { translator }),
      onReset: () => this.flush(),
    });
    this.vcpus = Array.from({ length: cpus }, (_, index) => this.makeVcpu(index, module));
    translator?.connect(
      this.opCache,
      this.vcpus.map(({ interpreter }) => interpreter),
    );
  }

  /** Drops every translation. */
  flush(): void {
    for (const { processor } of this.vcpus) processor.mmu.tlb.flushAll();
  }

  private makeVcpu(index: number, module: WebAssembly.Module): EmulatedVcpu {
    const { options, wasmMemory: memory, physical, opCache, extensions } = this;
    const { cpu, random, intercept, instructions } = options;
    const processor = new Processor({
      index,
      buffer: memory.buffer,
      cpuBase: FIRST_CPU + index * L.CPU_STRIDE,
      physical,
      cpu,
      physicalBits: cpu.model.physicalBits - extensions.bitReduction,
      tableBitsHi: extensions.tableBitsHi,
      random,
      intercept,
      instructions,
    });
    const services = new VcpuServices(options, {
      index,
      view: processor.record.view,
      cpu: processor,
      vcpu: processor.extension,
    });
    processor.connect(services);
    processor.extension.connect(extensions);
    if (extensions.policy !== null)
      processor.mmu.setFillPolicy(extensions.policy, processor.extension);
    const interpreter = new Interpreter({
      memory,
      module,
      record: processor.record,
      mmu: processor.mmu,
      access: processor.memory,
      opCache,
      clock: options.clock,
      reach: this.reach,
      callSystem: (number) => processor.callSystem(this.functions[number]),
      ...(this.translator === undefined ? {} : { sampler: this.translator }),
    });
    return new EmulatedVcpu(processor, interpreter);
  }
}
