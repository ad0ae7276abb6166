/**
 * virtio over MMIO, version 2: the registers in front of a device.
 *
 * Source: virtio 1.2, 4.2.2 (register layout), 4.2.3 (initialization, notifications). Registers are
 * 32 bits wide and aligned; other accesses read as 0 and write nothing. The configuration takes
 * accesses of 1, 2 and 4 bytes anywhere.
 *
 * Known inaccuracies: no shared memory regions, no queue reset.
 */
import type { Clock, Device, DeviceRegion, DmaView, IrqLine, Snapshot } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { Controller, type ControllerOptions, type SavedController } from '../device/controller.js';
import type { VirtioModel } from '../device/model.js';
import type { QueueArea } from '../device/queue-slot.js';

export const MMIO = {
  MagicValue: 0x000,
  Version: 0x004,
  DeviceID: 0x008,
  VendorID: 0x00c,
  DeviceFeatures: 0x010,
  DeviceFeaturesSel: 0x014,
  DriverFeatures: 0x020,
  DriverFeaturesSel: 0x024,
  QueueSel: 0x030,
  QueueNumMax: 0x034,
  QueueNum: 0x038,
  QueueReady: 0x044,
  QueueNotify: 0x050,
  InterruptStatus: 0x060,
  InterruptACK: 0x064,
  Status: 0x070,
  QueueDescLow: 0x080,
  QueueDescHigh: 0x084,
  QueueDriverLow: 0x090,
  QueueDriverHigh: 0x094,
  QueueDeviceLow: 0x0a0,
  QueueDeviceHigh: 0x0a4,
  SHMSel: 0x0ac,
  SHMLenLow: 0x0b0,
  SHMLenHigh: 0x0b4,
  SHMBaseLow: 0x0b8,
  SHMBaseHigh: 0x0bc,
  ConfigGeneration: 0x0fc,
  Config: 0x100,
} as const;

/** "virt", little-endian. */
export const MAGIC = 0x74726976;
/** "CLOI": nobody's PCI vendor; drivers only show it. */
export const VENDOR = 0x494f4c43;

export const INTERRUPT_USED_BUFFER = 1;
export const INTERRUPT_CONFIG_CHANGE = 2;

/** Bytes of a slot. */
export const MMIO_LENGTH = 0x1000;

const ADDRESSES: Readonly<Record<number, readonly [QueueArea, 0 | 1]>> = {
  [MMIO.QueueDescLow]: ['desc', 0],
  [MMIO.QueueDescHigh]: ['desc', 1],
  [MMIO.QueueDriverLow]: ['driver', 0],
  [MMIO.QueueDriverHigh]: ['driver', 1],
  [MMIO.QueueDeviceLow]: ['device', 0],
  [MMIO.QueueDeviceHigh]: ['device', 1],
};

export interface MmioPorts {
  readonly dma: DmaView;
  readonly clock: Clock;
  /** Level-triggered. */
  readonly irq: IrqLine;
  /** The device fails; `reason` is for people. */
  failed?(reason: string): void;
}

export interface MmioOptions extends ControllerOptions {
  /** Guest-physical address of the registers. */
  readonly base: number;
}

interface State {
  interruptStatus: number;
  controller: SavedController;
}

class MmioDevice implements Device {
  readonly name: string;
  readonly regions: readonly DeviceRegion[];
  private readonly controller: Controller;
  private readonly format: state.StateFormat<State>;
  private interruptStatus = 0;

  constructor(
    private readonly model: VirtioModel<never>,
    options: MmioOptions,
    private readonly ports: MmioPorts,
  ) {
    this.name = model.name;
    this.regions = [{ space: 'mmio', base: options.base, length: MMIO_LENGTH, name: model.name }];
    this.controller = new Controller(
      model,
      {
        dma: ports.dma,
        clock: ports.clock,
        usedBuffers: () => this.raise(INTERRUPT_USED_BUFFER),
        configChanged: () => this.raise(INTERRUPT_CONFIG_CHANGE),
        failed: (reason) => ports.failed?.(reason),
      },
      options,
    );
    this.format = {
      type: `virtio-mmio-${model.deviceId}`,
      version: 1,
      field: state.record<State>({
        interruptStatus: state.u8,
        controller: this.controller.savedField,
      }),
    };
  }

  read(_region: number, offset: number, size: number): number {
    if (offset >= MMIO.Config) return this.controller.readConfig(offset - MMIO.Config, size);
    return size === 4 && offset % 4 === 0 ? this.register(offset) >>> 0 : 0;
  }

  private register(offset: number): number {
    const { controller } = this;
    const { selected } = controller;
    switch (offset) {
      case MMIO.MagicValue:
        return MAGIC;
      case MMIO.Version:
        return 2;
      case MMIO.DeviceID:
        return this.model.deviceId;
      case MMIO.VendorID:
        return VENDOR;
      case MMIO.DeviceFeatures:
        return controller.deviceFeatures();
      case MMIO.QueueNumMax:
        return selected?.sizeMax ?? 0;
      case MMIO.QueueReady:
        return selected?.enabled === true ? 1 : 0;
      case MMIO.InterruptStatus:
        return this.interruptStatus;
      case MMIO.Status:
        return controller.status;
      case MMIO.SHMLenLow:
      case MMIO.SHMLenHigh:
      case MMIO.SHMBaseLow:
      case MMIO.SHMBaseHigh:
        return 0xffffffff; // there is no such region
      case MMIO.ConfigGeneration:
        return controller.generation;
      default:
        return 0;
    }
  }

  write(_region: number, offset: number, size: number, value: number): void {
    if (offset >= MMIO.Config) {
      this.controller.writeConfig(offset - MMIO.Config, size, value);
    } else if (size === 4 && offset % 4 === 0) {
      this.writeRegister(offset, value);
    }
  }

  private writeRegister(offset: number, value: number): void {
    const { controller } = this;
    switch (offset) {
      case MMIO.DeviceFeaturesSel:
        controller.deviceFeatureSelect = value;
        return;
      case MMIO.DriverFeatures:
        controller.writeDriverFeatures(value);
        return;
      case MMIO.DriverFeaturesSel:
        controller.driverFeatureSelect = value;
        return;
      case MMIO.QueueSel:
        controller.queueSelect = value;
        return;
      case MMIO.QueueNum:
        // More than 16 bits is more than any queue: kept as a size that cannot be enabled.
        controller.selected?.setSize(Math.min(value, 0xffff));
        return;
      case MMIO.QueueReady:
        if (value === 1) controller.enableSelected();
        else if (value === 0) controller.disableSelected();
        return;
      case MMIO.QueueNotify:
        controller.notify(value);
        return;
      case MMIO.InterruptACK:
        this.setInterruptStatus(this.interruptStatus & ~value);
        return;
      case MMIO.Status:
        controller.writeStatus(value);
        if (controller.status === 0) this.setInterruptStatus(0);
        return;
      default: {
        const address = ADDRESSES[offset];
        if (address !== undefined) controller.selected?.setAddress(...address, value);
      }
    }
  }

  private raise(cause: number): void {
    this.setInterruptStatus(this.interruptStatus | cause);
  }

  private setInterruptStatus(value: number): void {
    this.interruptStatus = value;
    this.ports.irq.set(value !== 0);
  }

  async drain(): Promise<void> {
    await this.model.drain?.();
  }

  reset(): void {
    this.controller.powerOn();
    this.setInterruptStatus(0);
  }

  snapshot(): Snapshot {
    const { interruptStatus, controller } = this;
    return state.saveState(this.format, { interruptStatus, controller: controller.save() });
  }

  restore(snapshot: Snapshot): void {
    const saved = state.loadState(this.format, snapshot);
    this.controller.load(saved.controller);
    this.setInterruptStatus(saved.interruptStatus);
  }

  async dispose(): Promise<void> {
    await this.controller.dispose();
  }
}

/** A virtio device behind MMIO registers. */
export function mmioDevice<State>(
  model: VirtioModel<State>,
  options: MmioOptions,
): (ports: MmioPorts) => Device {
  return (ports) => new MmioDevice(model as unknown as VirtioModel<never>, options, ports);
}
