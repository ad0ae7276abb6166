/**
 * A VM on the emulated processor: one WebAssembly memory with vCPU records, op cache and RAM.
 */
import {
  type BackendVm,
  type BackendVmOptions,
  type CpuExtension,
  dmaView,
  type MemorySlot,
  type PageRange,
  packPages,
  type SlotMemory,
  type Snapshot,
  type SnapshotValue,
  slotMemory,
  unpackPages,
  VmmError,
} from '@cloister/core';
import { CPU_MODELS, type CpuSelection, selectionText } from '@cloister/core/cpu';
import { ApicBus } from './apic/bus.js';
import type { Decoded } from './decode/decoded.js';
import type { OpCache } from './interp/op-cache.js';
import { JIT_DEFAULT, type JitMode } from './jit/mode.js';
import { jitStatistics } from './jit/statistics.js';
import { PAGE_SIZE, type PhysicalMemory } from './mmu/physical.js';
import { KvmClockGroup } from './paravirt/kvm-clock.js';
import type { EmulatedVcpu } from './vcpu.js';
import { VmParts } from './vm-parts.js';

/** When it is full, all that was translated goes with it: several times what a boot decodes. */
const OP_CACHE_SIZE = 64 << 20;
const TYPE = 'emulated-vm';

interface SavedVm {
  readonly cpu: string;
  readonly executed: readonly number[];
  readonly cpus: readonly Snapshot[];
  readonly memory: unknown;
  readonly remapped: readonly number[];
  readonly userModeAt: number | null;
  readonly extensions?: Readonly<Record<string, Snapshot>>;
}

/** What selects the CPU of a saved VM: model and features, as `#cpu` has them. */
function selects(cpu: unknown): string {
  const [name = '', ...features] = String(cpu).split(' ');
  const model = CPU_MODELS.get(name);
  return model === undefined ? name : selectionText(model, new Set(features));
}

function areCounts(list: unknown): list is readonly number[] {
  return Array.isArray(list) && list.every((each) => Number.isSafeInteger(each) && each >= 0);
}

/** What extensions save, by their names. */
function extensionStates(all: readonly CpuExtension[]): { readonly extensions?: SnapshotValue } {
  const having = all.filter((each) => each.snapshot !== undefined);
  if (having.length === 0) return {};
  const states = having.map((each) => [each.name, { ...each.snapshot!() }]);
  return { extensions: Object.fromEntries(states) as SnapshotValue };
}

function requireStates(all: readonly CpuExtension[], saved: SavedVm['extensions']): void {
  const absent = all.find(({ name }) => typeof saved?.[name] !== 'object' || saved[name] === null);
  if (absent === undefined) return;
  throw new VmmError('snapshot-mismatch', `the saved VM has no state of ${absent.name}`, {
    remedy: 'restore with the protection that it was saved with',
  });
}

export class EmulatedVm implements BackendVm {
  readonly memory: SlotMemory;
  readonly interrupts = new ApicBus();
  readonly vcpus: readonly EmulatedVcpu[];
  readonly #parts: VmParts;
  readonly #physical: PhysicalMemory;
  readonly #opCache: OpCache;
  /** Model and features: a guest must find the CPU again that it was saved on. */
  readonly #cpu: string;
  #userModeAt: number | null = null;

  constructor(
    options: BackendVmOptions,
    cpu: CpuSelection,
    onDecoded?: (decoded: Decoded) => void,
    jit: JitMode = JIT_DEFAULT,
  ) {
    this.#parts = new VmParts({
      cpu,
      jit,
      cpus: options.cpus,
      memorySize: options.memorySize,
      opCacheSize: OP_CACHE_SIZE,
      clock: options.clock,
      random: options.random,
      bus: this.interrupts,
      kvmClocks: new KvmClockGroup(),
      extensions: options.extensions,
      intercept: options.intercept,
      memory: dmaView(() => this.memory),
      instructions: () => this.instructions(),
      ...(onDecoded === undefined ? {} : { onDecoded }),
    });
    this.vcpus = this.#parts.vcpus;
    this.#physical = this.#parts.physical;
    this.#opCache = this.#parts.opCache;
    this.memory = slotMemory(this.#physical);
    this.#cpu = [cpu.model.name, ...[...cpu.features].sort()].join(' ');
    for (const { processor } of this.vcpus) {
      processor.onUserMode = () => {
        this.#userModeAt ??= options.clock.now();
      };
    }
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
      ['pages re-encoded', this.#physical.keys.switches],
      ...jitStatistics(this.#parts.translator, this.vcpus),
      ...undefinedOpcodes.map(([what, count]) => [`#UD ${what}`, count] as const),
    ];
  }

  snapshot(saves?: (gpa: number) => boolean): Snapshot {
    // What the TLBs hold is no state of the VM: the saved and the saving one go on alike.
    this.#parts.flush();
    return {
      type: TYPE,
      version: 1,
      state: {
        cpu: this.#cpu,
        executed: this.vcpus.map((vcpu) => vcpu.executed),
        cpus: this.vcpus.map(({ processor }) => ({ ...processor.snapshot() })),
        memory: this.#savedMemory(saves),
        remapped: this.#physical.remappedPages(),
        userModeAt: this.#userModeAt,
        ...extensionStates(this.#parts.extensions.all),
      },
    };
  }

  /** Memory as the host sees it, all of it or those pages. */
  #savedMemory(saves?: (gpa: number) => boolean) {
    const { keys, frames } = this.#physical;
    if (saves === undefined) return packPages(keys.raw());
    const chosen = new Uint8Array(frames);
    for (const { gpa, size } of this.memory.slots) {
      for (let at = gpa; at < gpa + size; at += PAGE_SIZE) {
        if (saves(at)) chosen[this.#physical.locate(at) / PAGE_SIZE] = 1;
      }
    }
    const ranges: PageRange[] = [];
    chosen.forEach((is, frame) => {
      if (is === 1) ranges.push([frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE]);
    });
    return packPages(keys.raw(chosen), ranges);
  }

  restore({ type, version, state }: Snapshot): void {
    const saved = (state ?? {}) as unknown as SavedVm;
    const { cpus, executed, remapped } = saved;
    const count = this.vcpus.length;
    const fits =
      type === TYPE &&
      version === 1 &&
      Array.isArray(cpus) &&
      cpus.length === count &&
      cpus.every((each) => typeof each === 'object' && each !== null) &&
      areCounts(executed) &&
      executed.length === count &&
      areCounts(remapped);
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
    const extensions = this.#parts.extensions.all.filter((each) => each.restore !== undefined);
    requireStates(extensions, saved.extensions);
    // A saved memory is what a host sees: private pages are ciphertext.
    unpackPages(saved.memory, this.#physical.bytes);
    this.#physical.keys.tags.fill(0);
    this.#physical.keys.blank.fill(0);
    this.#opCache.reset();
    this.#physical.restoreRemapped(saved.remapped);
    this.#userModeAt = saved.userModeAt;
    this.vcpus.forEach((vcpu, index) => {
      vcpu.processor.restore(saved.cpus[index]);
      vcpu.interpreter.executed = saved.executed[index];
    });
    for (const each of extensions) each.restore!(saved.extensions![each.name]!);
    this.#physical.flushAll();
  }

  async dispose(): Promise<void> {}
}
