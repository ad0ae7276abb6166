/**
 * A minimal PCI host bridge: one bus, configuration by ports 0xcf8 and 0xcfc, one memory window.
 *
 * Source: PCI Local Bus 3.0, 3.2.2.3.2 (configuration mechanism #1). BARs are placed at power-on,
 * as firmware would, and switched on.
 *
 * Known inaccuracies: no ECAM, no I/O space of functions, no INTx: functions interrupt by MSI-X.
 */
import type { Device, DeviceRegion, IoExit, Snapshot } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { ConfigSpace, configField } from './config-space.js';

export const CONFIG_ADDRESS = 0xcf8;
export const CONFIG_DATA = 0xcfc;
export const WINDOW_BASE = 0xe000_0000;
export const WINDOW_LENGTH = 0x1000_0000;
/** Devices of a bus. */
const DEVICES = 32;

/** A function as the bridge reaches it. Its BAR 0 has `memorySize` bytes. */
export interface PciFunction {
  readonly config: ConfigSpace;
  readonly memorySize: number;
  readConfig(offset: number, size: number): number;
  writeConfig(offset: number, size: number, value: number): void;
  readMemory(offset: number, size: number): number;
  writeMemory(offset: number, size: number, value: number): void;
}

interface State {
  address: number;
  config: Uint8Array;
}

const FORMAT: state.StateFormat<State> = {
  type: 'pci-host',
  version: 1,
  field: state.record<State>({ address: state.u32, config: configField }),
};

export class PciHost implements Device {
  readonly name = 'pci-host';
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: CONFIG_DATA, length: 4, name: 'pci-config-data' },
    { space: 'mmio', base: WINDOW_BASE, length: WINDOW_LENGTH, name: 'pci-memory' },
  ];
  /** Functions by device number; 0 is the bridge itself, function 0 of each is the only one. */
  private readonly functions: PciFunction[] = [];
  private address = 0;
  private placed = WINDOW_BASE;

  constructor() {
    // "QEMU PCIe Host bridge" of Red Hat's: no driver of a guest looks for more than its class.
    const config = new ConfigSpace({
      vendor: 0x1b36,
      device: 0x0008,
      revision: 0,
      classCode: 0x060000,
    });
    config.seal();
    this.functions.push({
      config,
      memorySize: 0,
      readConfig: (offset, size) => config.read(offset, size),
      writeConfig: (offset, size, value) => config.write(offset, size, value),
      readMemory: () => 0,
      writeMemory() {},
    });
  }

  /** Puts a function into the next slot and places its BAR; false when the bus is full. */
  add(device: PciFunction): boolean {
    if (this.functions.length === DEVICES) return false;
    this.functions.push(device);
    device.config.placeMemory(this.placed, device.memorySize);
    device.config.seal();
    this.placed += device.memorySize;
    return true;
  }

  /** CONFIG_ADDRESS takes dwords only: other accesses to its ports are somebody else's. */
  accessAddress(exit: IoExit): boolean {
    if (exit.port !== CONFIG_ADDRESS || exit.size !== 4 || exit.count !== 1) return false;
    const view = new DataView(exit.data.buffer, exit.data.byteOffset, 4);
    if (exit.direction === 'in') view.setUint32(0, this.address, true);
    else this.address = (view.getUint32(0, true) & 0x80ff_fffc) >>> 0;
    return true;
  }

  /** The function that CONFIG_ADDRESS selects: bus 0, function 0. */
  private get selected(): PciFunction | undefined {
    const enabled = this.address >>> 31 === 1;
    if (!enabled || (this.address & 0x00ff_0700) !== 0) return undefined;
    return this.functions[(this.address >>> 11) & 31];
  }

  read(region: number, offset: number, size: number): number {
    const ones = 2 ** (8 * size) - 1;
    if (region === 0) {
      return this.selected?.readConfig((this.address & 0xfc) + offset, size) ?? ones;
    }
    const hit = this.atMemory(offset, size);
    return hit === null ? ones : hit.device.readMemory(hit.offset, size);
  }

  write(region: number, offset: number, size: number, value: number): void {
    if (region === 0) {
      this.selected?.writeConfig((this.address & 0xfc) + offset, size, value);
      return;
    }
    const hit = this.atMemory(offset, size);
    hit?.device.writeMemory(hit.offset, size, value);
  }

  /** The first function whose BAR covers a place in the window: a guest may move them about. */
  private atMemory(offset: number, size: number): { device: PciFunction; offset: number } | null {
    const gpa = WINDOW_BASE + offset;
    for (const device of this.functions) {
      const base = device.config.memory;
      if (device.memorySize === 0 || base < 0) continue;
      if (gpa >= base && gpa + size <= base + device.memorySize) {
        return { device, offset: gpa - base };
      }
    }
    return null;
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.address = 0;
    this.functions[0]!.config.reset();
  }

  snapshot(): Snapshot {
    const { address } = this;
    return state.saveState(FORMAT, { address, config: this.functions[0]!.config.save() });
  }

  restore(snapshot: Snapshot): void {
    const { address, config } = state.loadState(FORMAT, snapshot);
    this.address = (address & 0x80ff_fffc) >>> 0;
    this.functions[0]!.config.load(config);
  }
}
