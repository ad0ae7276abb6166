/**
 * A CPU backend that runs scripts: what the machine does with slices, exits, timers and input can
 * be said exactly, without any instruction set.
 */

import { definePlugin } from '../assembly/define-plugin.js';
import type {
  BackendProbe,
  BackendVm,
  BackendVmOptions,
  BootSource,
  CpuBackend,
  ExternalInterruptSource,
  InterruptPort,
  MemoryBacking,
  MemorySlot,
  Snapshot,
  SnapshotValue,
  VmPlugin,
} from '../interfaces/index.js';
import { resetState, VmmError } from '../interfaces/index.js';
import { slotMemory } from '../memory/slot-memory.js';
import { packPages, unpackPages } from '../memory/sparse-pages.js';
import type { FakeProgram } from './fake-program.js';
import { FakeVcpu } from './fake-vcpu.js';

export interface FakeBackendOptions {
  /** One for each CPU; missing ones do nothing. */
  readonly programs: readonly FakeProgram[];
  readonly name?: string;
  readonly capabilities?: readonly string[];
  /** Changes what `probe` says. */
  readonly probe?: Partial<BackendProbe>;
  /** Told when the VM is disposed. */
  readonly onDispose?: () => void;
}

/** The fake's VM, with what tests look at. */
export interface FakeVm extends BackendVm {
  readonly vcpus: readonly FakeVcpu[];
}

export interface FakeBackend extends CpuBackend {
  /** VMs made so far. */
  readonly vms: readonly FakeVm[];
}

const PAGE_SIZE = 4096;
const TYPE = 'fake-vm';

/** Frames given to slots one after the other; writes are noted by page. */
class FakeBacking implements MemoryBacking {
  readonly bytes: Uint8Array;
  private readonly places: { readonly slot: MemorySlot; readonly offset: number }[] = [];
  private used = 0;
  private readonly dirty = new Set<number>();

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  add(slot: MemorySlot): void {
    if (this.used + slot.size > this.bytes.length) {
      throw new VmmError('out-of-memory', `no memory is left for slot ${slot.name}`);
    }
    this.places.push({ slot, offset: this.used });
    this.used += slot.size;
  }

  locate(gpa: number): number {
    const place = this.places.find(({ slot }) => gpa >= slot.gpa && gpa < slot.gpa + slot.size);
    return place === undefined ? -1 : place.offset + (gpa - place.slot.gpa);
  }

  written(offset: number): void {
    const place = this.places.find(
      (each) => offset >= each.offset && offset < each.offset + each.slot.size,
    )!;
    this.dirty.add(Math.floor((offset - place.offset + place.slot.gpa) / PAGE_SIZE));
  }

  ciphertext(): null {
    return null;
  }

  storeCiphertext(): void {}

  convert(): void {
    throw new VmmError('unsupported', 'the fake backend has no private memory');
  }

  takeDirty(): Uint32Array {
    const pages = Uint32Array.from([...this.dirty].sort((a, b) => a - b));
    this.dirty.clear();
    return pages;
  }
}

class FakeInterrupts implements InterruptPort {
  readonly irqchip = 'external';
  source: ExternalInterruptSource | null = null;
  level = false;

  constructor(private readonly vcpus: () => readonly FakeVcpu[]) {}

  setGsi(): void {
    throw new VmmError('unsupported', 'the fake backend has no irqchip of its own');
  }

  sendMsi(address: number, data: number): void {
    this.vcpus()[(address >>> 12) & 0xff]?.interrupt(data & 0xff);
  }

  connectExternal(source: ExternalInterruptSource): void {
    this.source = source;
  }

  setExternal(level: boolean): void {
    this.level = level;
  }

  onEoi(): void {}
}

class ScriptedVm implements FakeVm {
  readonly vcpus: readonly FakeVcpu[];
  readonly memory;
  readonly interrupts: FakeInterrupts;
  private readonly backing: FakeBacking;
  private readonly counter = { instructions: 0 };

  constructor(
    options: BackendVmOptions,
    private readonly script: FakeBackendOptions,
  ) {
    this.backing = new FakeBacking(options.memorySize);
    const memory = slotMemory(this.backing);
    this.memory = memory;
    const interrupts = new FakeInterrupts(() => this.vcpus);
    this.interrupts = interrupts;
    this.vcpus = Array.from({ length: options.cpus }, (_, index) => {
      const program = script.programs[index] ?? { main: [] };
      return new FakeVcpu(index, program, {
        memory,
        counter: this.counter,
        external: () => interrupts.source?.acknowledge() ?? null,
        externalHigh: () => interrupts.level && interrupts.source !== null,
      });
    });
  }

  instructions(): number {
    return this.counter.instructions;
  }

  addSlot(slot: MemorySlot): void {
    this.memory.addSlot(slot);
    this.backing.add(slot);
  }

  removeSlot(id: number): void {
    this.memory.removeSlot(id);
  }

  reset(): void {
    for (const vcpu of this.vcpus) vcpu.reset();
  }

  statistics(): readonly (readonly [string, number])[] {
    return [['slices', this.vcpus.reduce((sum, vcpu) => sum + vcpu.runs, 0)]];
  }

  async dispose(): Promise<void> {
    this.script.onDispose?.();
  }

  snapshot(): Snapshot {
    return {
      type: TYPE,
      version: 1,
      state: {
        instructions: this.counter.instructions,
        external: this.interrupts.level,
        cpus: this.vcpus.map((vcpu) => vcpu.save()),
        memory: packPages(this.backing.bytes),
      },
    };
  }

  restore({ type, version, state }: Snapshot): void {
    if (type !== TYPE || version !== 1) {
      throw new VmmError('snapshot-mismatch', `not the state of a fake VM: ${type}`);
    }
    const saved = state as unknown as {
      instructions: number;
      external: boolean;
      cpus: SnapshotValue[];
      memory: unknown;
    };
    unpackPages(saved.memory, this.backing.bytes);
    this.counter.instructions = saved.instructions;
    this.interrupts.level = saved.external;
    for (const [index, vcpu] of this.vcpus.entries()) vcpu.load(saved.cpus[index]!);
  }
}

/** A backend whose CPUs run `programs`. */
export function fakeBackend(options: FakeBackendOptions): FakeBackend {
  const name = options.name ?? 'fake';
  const vms: FakeVm[] = [];
  return {
    name,
    vms,
    async probe() {
      return {
        name,
        available: true,
        capabilities: options.capabilities ?? ['cpu.fake'],
        details: [],
        ...options.probe,
      };
    },
    async createVm(vmOptions) {
      const vm = new ScriptedVm(vmOptions, options);
      vms.push(vm);
      return vm;
    },
  };
}

/** A boot source that only starts processors: the first `cpus` of them. */
export function fakeBoot(cpus = 1): BootSource {
  const state = resetState();
  const vcpus = new Map(Array.from({ length: cpus }, (_, index) => [index, state] as const));
  return {
    name: 'fake',
    plan: () => ({ regions: [], vcpus, e820: [], entry: 'fake' }),
  };
}

/** Plugin: the backend, and a boot source that starts the first `cpus` CPUs; none for 0. */
export function fakeMachine(backend: FakeBackend, cpus = 1): VmPlugin {
  return definePlugin({
    name: 'fake-machine',
    version: '1.0.0',
    api: 1,
    provides: ['cpu'],
    setup(context) {
      context.setBackend(backend);
      if (cpus > 0) context.setBootSource(fakeBoot(cpus));
    },
  });
}
