/**
 * Plugins: the unit from which a VMM is assembled.
 *
 * `definePlugin({name, version, api: 1, requires, provides, setup})`. Capabilities are words such
 * as `cpu.emulated`, `irqchip.pic`, `console.serial`; before anything starts, every required word
 * must be provided by some plugin, the backend, or core.
 */
import type { CpuBackend, InterruptPort, Vcpu } from './backend.js';
import type { Clock, Random } from './clock.js';
import type { CpuExtension } from './cpu-extension.js';
import type { Device, IrqLine, MachineControl } from './device.js';
import type { Doorbells } from './doorbells.js';
import type { VmEvents, WorldSwitchSink } from './events.js';
import type { VmExitKind } from './exit.js';
import type { ExitHandler } from './exit-handler.js';
import type { InputPort } from './input-port.js';
import type { InstructionAssist } from './instruction-assist.js';
import type { BootSource } from './launch-plan.js';
import type { DmaView, GuestMemory } from './memory.js';
import type { MemoryEncryption } from './memory-encryption.js';

/** A rule for an ACPI namespace object or MADT entry that a device wants. */
export interface AcpiDeviceNode {
  /** Four-character name in `\_SB_`, e.g. `VR00`. */
  readonly name: string;
  /** _HID, e.g. `LNRO0005` or an EISA id such as `PNP0501`. */
  readonly hid: string;
  readonly uid: number;
  readonly mmio?: { readonly base: number; readonly length: number };
  readonly io?: { readonly base: number; readonly length: number };
  /** GSI; level-triggered and active-high unless `edge`. */
  readonly gsi?: number;
  readonly edge?: boolean;
  /** Further descriptors of _CRS, made by `amlResources` of `@cloister/core/acpi`. */
  readonly resources?: readonly Uint8Array[];
}

/** Memory besides RAM, e.g. a ROM. */
export interface MemoryRegion {
  /** Shown in errors and summaries. */
  readonly name: string;
  /** A multiple of 4096, as is `size`. */
  readonly gpa: number;
  readonly size: number;
  /** A guest write then leaves the guest as an MMIO write; the host may still write. */
  readonly readOnly: boolean;
  /** Whether its pages may be private; true unless given. */
  readonly encryptable?: boolean;
  /**
   * Contents from its start on, loaded before the first instruction and again at each reset. Under
   * a protection those of an encryptable region are launched, whole, before the boot source's.
   */
  readonly bytes?: Uint8Array;
}

/** What a plugin may use while it sets itself up. Valid until the VM is disposed. */
export interface PluginContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly input: InputPort;
  readonly events: VmEvents;
  /** Takes the world switches of an extension that the plugin adds. */
  readonly switches: WorldSwitchSink;
  readonly control: MachineControl;
  /** Bytes of RAM and number of CPUs of the VM under assembly. */
  readonly ramSize: number;
  readonly cpus: number;
  /** Guest memory; usable from `onStart` on, an error before. */
  readonly memory: GuestMemory;
  /** What a DMA-capable device sees; usable from `onStart` on. */
  readonly dma: DmaView;
  /** The backend's interrupt port; usable from `onStart` on. */
  readonly interrupts: InterruptPort;
  readonly vcpus: readonly Vcpu[];
  /**
   * Doorbells of the backend; usable from `onStart` on. Undefined where an exit serves as well, or
   * where some exit handler is to see the guest's accesses.
   */
  readonly doorbells: Doorbells | undefined;
  /** Adds a device and claims its regions; overlap is a `VmmError('plugin-conflict')`. */
  addDevice(device: Device): void;
  /** Adds memory; overlap with RAM or other memory is a `VmmError('plugin-conflict')`. */
  addMemory(region: MemoryRegion): void;
  addExitHandler<Kind extends VmExitKind>(handler: ExitHandler<Kind>): void;
  /** A line of the interrupt controllers; GSIs 0-15 are also the ISA IRQs. */
  irq(gsi: number): IrqLine;
  /**
   * Tells `VmEvents.console` that the guest wrote `byte` to the console `source` (the device's
   * name). Observation only: it cannot stall; costs nothing unobserved. Bytes are gathered into
   * chunks.
   */
  consoleOutput(source: string, byte: number): void;
  /** Reports what the guest did wrong, as a `guest-fault` event under the plugin's name. */
  guestFault(message: string): void;
  /** Describes a device to ACPI's DSDT. */
  addAcpiNode(node: AcpiDeviceNode): void;
  /** At most one of each per VM; a second is a `VmmError('plugin-conflict')`. */
  setBackend(backend: CpuBackend): void;
  setBootSource(source: BootSource): void;
  setMemoryEncryption(encryption: MemoryEncryption): void;
  setInstructionAssist(assist: InstructionAssist): void;
  addCpuExtension(extension: CpuExtension): void;
  /** Lines for the end of a run, `[name, value]`; called when a summary is made. */
  addSummary(lines: () => readonly (readonly [string, string])[]): void;
  /** Makes `value` available to other plugins under a token; see `get`. */
  provide<T>(token: ServiceToken<T>, value: T): void;
  /** A service of another plugin, set up earlier; `VmmError('missing-capability')` if absent. */
  get<T>(token: ServiceToken<T>): T;
  /** Runs after the backend's VM exists and before the first instruction, in plugin order. */
  onStart(hook: () => void | Promise<void>): void;
  /** Runs when the machine resets, after devices were reset. */
  onReset(hook: () => void): void;
  /** Runs at the end, in reverse order of registration. All errors are collected. */
  onDispose(hook: () => void | Promise<void>): void;
}

/** An injection token with the type of what it stands for. */
export interface ServiceToken<T> {
  readonly key: symbol;
  /** Never set; carries the type. */
  readonly type?: T;
}

export interface VmPlugin {
  readonly name: string;
  /** Version of the plugin itself. */
  readonly version: string;
  /** Version of this interface that it was written for. */
  readonly api: 1;
  readonly requires: readonly string[];
  readonly provides: readonly string[];
  /** Called once per VM, in the order of `use`. Must not start anything: that is `onStart`'s. */
  setup(context: PluginContext): void;
}
