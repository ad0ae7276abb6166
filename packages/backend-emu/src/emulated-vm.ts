/**
 * A VM on the emulated processor: one WebAssembly memory with vCPU records, op cache and RAM.
 */
import {
  type BackendVm,
  type BackendVmOptions,
  dmaView,
  type MemorySlot,
  packPages,
  type SlotMemory,
  type Snapshot,
  slotMemory,
  unpackPages,
  VmmError,
} from '@cloister/core';
import { CPU_MODELS, type CpuSelection, selectionText } from '@cloister/core/cpu';
import { ApicBus } from './apic/bus.js';
import * as L from './cpu/layout.js';
import { Processor } from './cpu/processor.js';
import type { Decoded } from './decode/decoded.js';
import { Decoder } from './decode/decoder.js';
import { coreModule } from './interp/core-cache.js';
import { Interpreter } from './interp/interpreter.js';
import { OpCache } from './interp/op-cache.js';
import { PhysicalMemory } from './mmu/physical.js';
import { VcpuServices } from './msr/vcpu-services.js';
import { KvmClockGroup } from './paravirt/kvm-clock.js';
import { SYSTEM_FUNCTIONS } from './system-numbers.js';
import { EmulatedVcpu } from './vcpu.js';

const WASM_PAGE = 65536;
const FIRST_CPU = 0x1000;
const OP_CACHE_SIZE = 24 << 20;
/** A WebAssembly memory ends at 4 GiB. */
const LARGEST = 65536 * WASM_PAGE;
const TYPE = 'emulated-vm';

interface SavedVm {
  readonly cpu: string;
  readonly executed: readonly number[];
  readonly cpus: readonly Snapshot[];
  readonly memory: unknown;
  readonly remapped: readonly number[];
  readonly userModeAt: number | null;
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

/** What selects the CPU of a saved VM: model and features, as `#cpu` has them. */
function selects(cpu: unknown): string {
  const [name = '', ...features] = String(cpu).split(' ');
  const model = CPU_MODELS.get(name);
  return model === undefined ? name : selectionText(model, new Set(features));
}

export class EmulatedVm implements BackendVm {
  readonly memory: SlotMemory;
  readonly interrupts = new ApicBus();
  readonly vcpus: readonly EmulatedVcpu[];
  readonly #physical: PhysicalMemory;
  readonly #opCache: OpCache;
  readonly #clocks = new KvmClockGroup();
  /** Model and features: a guest must find the CPU again that it was saved on. */
  readonly #cpu: string;
  #userModeAt: number | null = null;

  constructor(
    options: BackendVmOptions,
    cpu: CpuSelection,
    onDecoded?: (decoded: Decoded) => void,
  ) {
    const cpuBytes = roundUp(FIRST_CPU + options.cpus * L.CPU_STRIDE, WASM_PAGE);
    const ramBase = cpuBytes + OP_CACHE_SIZE;
    const size = roundUp(options.memorySize, 4096);
    if (ramBase + size > LARGEST) {
      const most = Math.floor((LARGEST - ramBase) / (1 << 20));
      throw new VmmError('invalid-config', `the guest cannot have ${size} bytes of memory`, {
        remedy: `the emulated processor provides at most ${most}M`,
        path: 'memory',
      });
    }
    const memory = allocate(ramBase + size);
    this.#physical = new PhysicalMemory({ buffer: memory.buffer, ramBase, size });
    this.memory = slotMemory(this.#physical);
    const core = coreModule();
    this.#opCache = new OpCache({
      physical: this.#physical,
      handlers: core.handlers,
      decoder: new Decoder((feature) => cpu.has(feature)),
      base: cpuBytes,
      size: OP_CACHE_SIZE,
      ...(onDecoded === undefined ? {} : { onDecoded }),
      onReset: () => {
        for (const { processor } of this.vcpus) processor.mmu.tlb.flushAll();
      },
    });
    const shared = {
      cpu,
      cpus: options.cpus,
      clock: options.clock,
      memory: dmaView(() => this.memory),
      bus: this.interrupts,
      kvmClocks: this.#clocks,
      extensions: options.extensions,
    };
    this.#cpu = [cpu.model.name, ...[...cpu.features].sort()].join(' ');
    this.vcpus = Array.from({ length: options.cpus }, (_, index) => {
      const processor = new Processor({
        index,
        buffer: memory.buffer,
        cpuBase: FIRST_CPU + index * L.CPU_STRIDE,
        physical: this.#physical,
        cpu,
        physicalBits: cpu.model.physicalBits,
        random: options.random,
        intercept: options.intercept,
        instructions: () => this.instructions(),
      });
      const services = new VcpuServices(shared, {
        index,
        view: processor.record.view,
        cpu: processor,
        vcpu: processor,
      });
      processor.connect(services);
      processor.onUserMode = () => {
        this.#userModeAt ??= options.clock.now();
      };
      const interpreter = new Interpreter({
        memory,
        module: core.module,
        record: processor.record,
        mmu: processor.mmu,
        access: processor.memory,
        opCache: this.#opCache,
        callSystem: (number) => processor.callSystem(SYSTEM_FUNCTIONS[number]),
      });
      return new EmulatedVcpu(processor, interpreter);
    });
  }

  instructions(): number {
    let sum = 0;
    for (const vcpu of this.vcpus) sum += vcpu.executed;
    return sum;
  }

  userModeAt(): number | null {
    return this.#userModeAt;
  }

  addSlot(slot: MemorySlot): void {
    this.memory.addSlot(slot);
    this.#physical.addSlot(slot);
  }

  removeSlot(id: number): void {
    this.memory.removeSlot(id);
    this.#physical.removeSlot(id);
  }

  /** All system-physical memory; for an assist, over which another VM's is laid. */
  get systemMemory(): Uint8Array {
    return this.#physical.bytes;
  }

  /** As `addSlot`, with the slot's frames from byte `spa` of system memory on. */
  addSlotAt(slot: MemorySlot, spa: number): void {
    this.memory.addSlot(slot);
    this.#physical.addSlotAt(slot, spa);
  }

  /** As `removeSlot`, but leaves the memory's contents. */
  forgetSlot(id: number): void {
    this.memory.removeSlot(id);
    this.#physical.forgetSlot(id);
  }

  /** Drops all decoded code and translations: memory may have changed unseen. */
  forgetCode(): void {
    this.#opCache.reset();
  }

  remap(gpa: number, spa: number): void {
    this.#physical.remap(gpa, spa);
  }

  reset(): void {
    for (const { processor } of this.vcpus) processor.reset();
  }

  statistics(): readonly (readonly [string, number])[] {
    const { decoded, invalidated, resets } = this.#opCache;
    const undefinedOpcodes = this.vcpus.flatMap(({ processor }) =>
      processor.undefinedOpcodes.list(),
    );
    const fills = this.vcpus.reduce((sum, vcpu) => sum + vcpu.processor.mmu.tlb.fills, 0);
    return [
      ['instructions decoded', decoded],
      ['code blocks invalidated', invalidated],
      ['op cache resets', resets],
      ['TLB fills', fills],
      ...undefinedOpcodes.map(([what, count]) => [`#UD ${what}`, count] as const),
    ];
  }

  snapshot(): Snapshot {
    // What the TLBs hold is no state of the VM: the saved and the saving one go on alike.
    this.#flush();
    return {
      type: TYPE,
      version: 1,
      state: {
        cpu: this.#cpu,
        executed: this.vcpus.map((vcpu) => vcpu.executed),
        cpus: this.vcpus.map(({ processor }) => ({ ...processor.snapshot() })),
        memory: packPages(this.#physical.bytes),
        remapped: this.#physical.remappedPages(),
        userModeAt: this.#userModeAt,
      },
    };
  }

  restore({ type, version, state }: Snapshot): void {
    const saved = (state ?? {}) as unknown as SavedVm;
    const { cpus, executed } = saved;
    const count = this.vcpus.length;
    const fits =
      type === TYPE &&
      version === 1 &&
      cpus?.length === count &&
      executed?.length === count &&
      executed.every((each) => Number.isSafeInteger(each) && each >= 0);
    if (!fits) {
      throw new VmmError('snapshot-mismatch', `not the state of this emulated VM: ${type}`, {
        remedy: 'restore with the memory size and CPU count that it was saved with',
      });
    }
    if (saved.cpu !== this.#cpu) {
      throw new VmmError('snapshot-mismatch', `the VM was saved on CPU ${selects(saved.cpu)}`, {
        remedy: `this one is ${selects(this.#cpu)}: select the saved one (--cpu)`,
      });
    }
    unpackPages(saved.memory, this.#physical.bytes);
    this.#opCache.reset();
    this.#physical.restoreRemapped(saved.remapped);
    this.#userModeAt = saved.userModeAt;
    this.vcpus.forEach((vcpu, index) => {
      vcpu.processor.restore(saved.cpus[index]);
      vcpu.interpreter.executed = saved.executed[index];
    });
    this.#flush();
  }

  #flush(): void {
    for (const { processor } of this.vcpus) processor.mmu.tlb.flushAll();
  }

  async dispose(): Promise<void> {}
}
