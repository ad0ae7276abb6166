/**
 * What plugins have put together: the parts of one VM before and after its backend exists.
 */
import type { EventHub } from '../events/event-hub.js';
import type { MachineInput } from '../input/machine-input.js';
import type {
  AcpiDeviceNode,
  BackendProbe,
  BackendVm,
  BootSource,
  CpuBackend,
  CpuExtension,
  Device,
  DmaView,
  InstructionAssist,
  IrqLines,
  MemoryEncryption,
  Snapshot,
} from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { ControlRequests } from '../machine/control.js';
import { dmaView } from '../memory/slot-memory.js';
import type { Router } from '../routing/exit-router.js';
import type { MachineClock } from '../time/machine-clock.js';
import type { SeededRandom } from '../time/random.js';
import { seededRandom } from '../time/random.js';
import type { Lifecycle } from './lifecycle.js';
import { MemoryRegions } from './memory-regions.js';
import type { ResolvedOptions } from './options.js';
import type { VmContainer } from './vm-container.js';

/** A hook and whose it is. */
export interface Hook<Result> {
  readonly plugin: string;
  readonly run: () => Result;
}

export interface AssemblyParts {
  readonly options: ResolvedOptions;
  readonly container: VmContainer;
  readonly lifecycle: Lifecycle;
  readonly clock: MachineClock;
  readonly input: MachineInput;
  readonly events: EventHub;
  readonly router: Router;
  readonly control: ControlRequests;
  readonly lines: IrqLines;
}

/** Things of which a VM has at most one. */
interface Singles {
  backend: CpuBackend;
  'boot source': BootSource;
  'memory encryption': MemoryEncryption;
  'instruction assist': InstructionAssist;
}

export class Assembly {
  readonly devices: Device[] = [];
  readonly extensions: CpuExtension[] = [];
  readonly acpiNodes: AcpiDeviceNode[] = [];
  readonly startHooks: Hook<void | Promise<void>>[] = [];
  readonly resetHooks: Hook<void>[] = [];
  readonly summaries: Hook<readonly (readonly [string, string])[]>[] = [];
  readonly dma: DmaView;
  readonly memory: MemoryRegions;
  private readonly singles: Partial<Singles> = {};
  private readonly owners = new Map<keyof Singles, string>();
  private vm: BackendVm | null = null;
  private readonly randoms = new Map<string, SeededRandom>();
  private savedRandoms: ReadonlyMap<string, Snapshot> = new Map();
  /** The seed in use; a restored VM takes over the saved one's. */
  seed: bigint;

  constructor(readonly parts: AssemblyParts) {
    this.seed = parts.options.seed;
    this.memory = new MemoryRegions(parts.options.memory);
    const isKeyed = () => this.extensions.some(({ cipher }) => cipher !== undefined);
    const restricted = () => this.single('memory encryption') !== null || isKeyed();
    this.dma = dmaView(() => this.backendVm.memory, restricted);
  }

  /** The backend's VM; an error as long as it does not exist. */
  get backendVm(): BackendVm {
    if (this.vm === null) {
      throw new VmmError('invalid-state', 'the VM has no backend yet', {
        remedy: 'use memory, interrupts and vcpus from onStart on',
      });
    }
    return this.vm;
  }

  setBackendVm(vm: BackendVm): void {
    this.vm = vm;
  }

  single<Name extends keyof Singles>(name: Name): Singles[Name] | null {
    return this.singles[name] ?? null;
  }

  setSingle<Name extends keyof Singles>(name: Name, value: Singles[Name], plugin: string): void {
    const other = this.owners.get(name);
    if (other !== undefined) {
      throw new VmmError('plugin-conflict', `${other} and ${plugin} both set the ${name}`, {
        plugin,
        remedy: 'use only one of them',
      });
    }
    this.owners.set(name, plugin);
    this.singles[name] = value;
  }

  /** The protection as this backend has it. */
  settleEncryption(probe: BackendProbe): void {
    const encryption = this.single('memory encryption');
    if (encryption?.on !== undefined) this.singles['memory encryption'] = encryption.on(probe);
  }

  addDevice(device: Device, plugin: string): void {
    if (this.devices.some(({ name }) => name === device.name)) {
      throw new VmmError('plugin-conflict', `there are two devices named ${device.name}`, {
        plugin,
        remedy: 'give one of them another name',
      });
    }
    this.parts.router.addDevice(device, plugin);
    this.devices.push(device);
    this.parts.lifecycle.onDispose(() => device.dispose?.());
  }

  /** The generator of one consumer, the same one each time. */
  random(name: string): SeededRandom {
    let random = this.randoms.get(name);
    if (random === undefined) {
      random = seededRandom(this.seed, name);
      const saved = this.savedRandoms.get(name);
      if (saved !== undefined) random.restore(saved);
      this.randoms.set(name, random);
    }
    return random;
  }

  /**
   * Takes over another VM's seed and generators. One that the other VM never used is as the seed
   * makes it; one that is asked for later is as it was saved.
   */
  restoreRandoms(seed: bigint, saved: ReadonlyMap<string, Snapshot>): void {
    this.seed = seed;
    this.savedRandoms = saved;
    for (const [name, random] of this.randoms) {
      random.restore(saved.get(name) ?? seededRandom(seed, name).snapshot());
    }
  }

  /** Generators to save: also those of a restored VM that nobody has asked for yet. */
  saveRandoms(): ReadonlyMap<string, Snapshot> {
    const states = new Map(this.savedRandoms);
    for (const [name, random] of this.randoms) states.set(name, random.snapshot());
    return states;
  }
}
