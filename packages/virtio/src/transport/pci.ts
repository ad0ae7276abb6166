/**
 * virtio over PCI, the modern interface: a function with one memory BAR that holds the common
 * configuration, notifications, ISR, the device's configuration, and the MSI-X table.
 *
 * Source: virtio 1.2, 4.1.2 (ids), 4.1.4 (capabilities and structures), 4.1.5 (initialization,
 * notifications). A field takes accesses of its own width (64-bit ones: halves) at its own offset;
 * others read as 0 and write nothing.
 *
 * Known inaccuracies: no INTx (ISR is kept, no line follows it), no queue reset, no notification
 * data, no shared memory.
 */
import type { Clock, Device, DmaView, Snapshot } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { Controller, type ControllerOptions, type SavedController } from '../device/controller.js';
import type { VirtioModel } from '../device/model.js';
import type { QueueArea } from '../device/queue-slot.js';
import { ConfigSpace, configField } from '../pci/config-space.js';
import { Msix, NO_VECTOR, type SavedMsix } from '../pci/msix.js';
import type { PciFunction } from '../pci/pci-host.js';

/** Offsets in the common configuration structure (4.1.4.3). */
export const COMMON = {
  device_feature_select: 0x00,
  device_feature: 0x04,
  driver_feature_select: 0x08,
  driver_feature: 0x0c,
  config_msix_vector: 0x10,
  num_queues: 0x12,
  device_status: 0x14,
  config_generation: 0x15,
  queue_select: 0x16,
  queue_size: 0x18,
  queue_msix_vector: 0x1a,
  queue_enable: 0x1c,
  queue_notify_off: 0x1e,
  queue_desc: 0x20,
  queue_driver: 0x28,
  queue_device: 0x30,
} as const;

const WIDTHS: Readonly<Record<number, number>> = {
  [COMMON.device_feature_select]: 4,
  [COMMON.device_feature]: 4,
  [COMMON.driver_feature_select]: 4,
  [COMMON.driver_feature]: 4,
  [COMMON.config_msix_vector]: 2,
  [COMMON.num_queues]: 2,
  [COMMON.device_status]: 1,
  [COMMON.config_generation]: 1,
  [COMMON.queue_select]: 2,
  [COMMON.queue_size]: 2,
  [COMMON.queue_msix_vector]: 2,
  [COMMON.queue_enable]: 2,
  [COMMON.queue_notify_off]: 2,
};

const AREAS: readonly QueueArea[] = ['desc', 'driver', 'device'];

/** The parts of BAR 0. */
export const BAR = {
  common: 0x0000,
  isr: 0x1000,
  config: 0x2000,
  notify: 0x3000,
  msixTable: 0x4000,
  msixPending: 0x6000,
  size: 0x8000,
} as const;
const COMMON_LENGTH = 0x38;
const PART_LENGTH = 0x1000;
export const NOTIFY_MULTIPLIER = 4;

const VENDOR = 0x1af4;
/** PCI device id of a modern device: this and the virtio device id (4.1.2.1). */
const DEVICE_BASE = 0x1040;

const CAP_VENDOR = 0x09;
const CFG_TYPE = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const;

const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

export interface PciPorts {
  readonly dma: DmaView;
  readonly clock: Clock;
  sendMsi(address: number, data: number): void;
  failed?(reason: string): void;
}

interface State {
  config: Uint8Array;
  msix: SavedMsix;
  isr: number;
  configVector: number;
  queueVectors: number[];
  controller: SavedController;
}

/** A virtio function: a device without regions of its own, which the bridge reaches. */
export interface VirtioPciFunction extends Device, PciFunction {}

class VirtioPci implements VirtioPciFunction {
  readonly name: string;
  readonly regions = [];
  readonly memorySize = BAR.size;
  readonly config: ConfigSpace;
  private readonly controller: Controller;
  private readonly msix: Msix;
  private readonly format: state.StateFormat<State>;
  private readonly queueVectors: number[];
  private readonly window: number;
  private configVector = NO_VECTOR;
  private isr = 0;

  constructor(
    private readonly model: VirtioModel<never>,
    options: ControllerOptions,
    ports: PciPorts,
  ) {
    this.name = model.name;
    this.config = new ConfigSpace({
      vendor: VENDOR,
      device: DEVICE_BASE + model.deviceId,
      revision: 1,
      classCode: model.pciClass,
      subsystemVendor: VENDOR,
      subsystem: 0x0040 + model.deviceId,
    });
    this.controller = new Controller(
      model,
      {
        dma: ports.dma,
        clock: ports.clock,
        usedBuffers: (queue) => this.interrupt(ISR_QUEUE, this.queueVectors[queue]!),
        configChanged: () => this.interrupt(ISR_CONFIG, this.configVector),
        mayAccess: () => this.config.isMaster,
        failed: (reason) => ports.failed?.(reason),
      },
      options,
    );
    const queues = model.queueSizes.length;
    this.queueVectors = Array.from({ length: queues }, () => NO_VECTOR);
    this.addStructure(CFG_TYPE.common, BAR.common, COMMON_LENGTH);
    this.addStructure(CFG_TYPE.isr, BAR.isr, 1);
    this.addStructure(CFG_TYPE.device, BAR.config, PART_LENGTH);
    this.addStructure(CFG_TYPE.notify, BAR.notify, NOTIFY_MULTIPLIER * queues, NOTIFY_MULTIPLIER);
    this.window = this.addStructure(CFG_TYPE.pci, 0, 0, 0);
    // bar, offset and length of the window are the driver's to choose (4.1.4.9).
    this.config.allow(this.window + 4, 1, 0xff);
    this.config.allow(this.window + 8, 4, 0xffffffff);
    this.config.allow(this.window + 12, 4, 0xffffffff);
    const { msixTable, msixPending } = BAR;
    const send = (address: number, data: number) => ports.sendMsi(address, data);
    this.msix = new Msix(this.config, queues + 1, msixTable, msixPending, send);
    this.config.seal();
    this.format = {
      type: `virtio-pci-${model.deviceId}`,
      version: 1,
      field: state.record<State>({
        config: configField,
        msix: this.msix.field,
        isr: state.u8,
        configVector: state.u16,
        queueVectors: state.list(state.u16, queues),
        controller: this.controller.savedField,
      }),
    };
  }

  /** struct virtio_pci_cap, with one more word where `extra` is given (4.1.4). */
  private addStructure(type: number, offset: number, length: number, extra?: number): number {
    const body = new Uint8Array(extra === undefined ? 14 : 18);
    const view = new DataView(body.buffer);
    view.setUint8(0, body.length + 2);
    view.setUint8(1, type);
    view.setUint32(6, offset, true);
    view.setUint32(10, length, true);
    if (extra !== undefined) view.setUint32(14, extra, true);
    return this.config.addCapability(CAP_VENDOR, body);
  }

  private interrupt(cause: number, vector: number): void {
    if (this.msix.enabled) this.msix.fire(vector);
    else this.isr |= cause;
  }

  // --- Configuration space

  readConfig(offset: number, size: number): number {
    const data = this.window + 16;
    if (offset < data || offset >= data + 4) return this.config.read(offset, size);
    const at = this.windowAt(size);
    return at < 0 || offset !== data ? 0 : this.readMemory(at, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    const data = this.window + 16;
    if (offset === data) {
      const at = this.windowAt(size);
      if (at >= 0) this.writeMemory(at, size, value);
      return;
    }
    const { isMaster } = this.config;
    this.config.write(offset, size, value);
    this.msix.update();
    if (this.config.isMaster && !isMaster) this.controller.resume();
  }

  /** Where pci_cfg_data leads (4.1.4.9.1), -1 where it leads nowhere. */
  private windowAt(size: number): number {
    const { view } = this.config;
    const bar = view.getUint8(this.window + 4);
    const offset = view.getUint32(this.window + 8, true);
    const length = view.getUint32(this.window + 12, true);
    const good = bar === 0 && length === size && offset % size === 0 && offset + size <= BAR.size;
    return good ? offset : -1;
  }

  // --- BAR 0

  readMemory(offset: number, size: number): number {
    if (offset < COMMON_LENGTH) return this.readCommon(offset, size) >>> 0;
    if (offset === BAR.isr) {
      const { isr } = this;
      this.isr = 0;
      return isr;
    }
    if (offset >= BAR.config && offset < BAR.config + PART_LENGTH) {
      return this.controller.readConfig(offset - BAR.config, size);
    }
    return this.msix.read(offset, size) ?? 0;
  }

  writeMemory(offset: number, size: number, value: number): void {
    if (offset < COMMON_LENGTH) this.writeCommon(offset, size, value);
    else if (offset >= BAR.config && offset < BAR.config + PART_LENGTH) {
      this.controller.writeConfig(offset - BAR.config, size, value);
    } else if (offset >= BAR.notify && offset < BAR.notify + PART_LENGTH) {
      this.controller.notify(Math.floor((offset - BAR.notify) / NOTIFY_MULTIPLIER));
    } else this.msix.write(offset, size, value);
  }

  private readCommon(offset: number, size: number): number {
    const { controller } = this;
    const { selected } = controller;
    if (offset >= COMMON.queue_desc) {
      const [area, half] = areaOf(offset);
      return size === 4 && offset % 4 === 0 ? (selected?.address(area, half) ?? 0) : 0;
    }
    if (WIDTHS[offset] !== size) return 0;
    switch (offset) {
      case COMMON.device_feature_select:
        return controller.deviceFeatureSelect;
      case COMMON.device_feature:
        return controller.deviceFeatures();
      case COMMON.driver_feature_select:
        return controller.driverFeatureSelect;
      case COMMON.driver_feature:
        return controller.driverFeatures();
      case COMMON.config_msix_vector:
        return this.configVector;
      case COMMON.num_queues:
        return controller.queueCount;
      case COMMON.device_status:
        return controller.status;
      case COMMON.config_generation:
        return controller.generation & 0xff;
      case COMMON.queue_select:
        return controller.queueSelect & 0xffff;
      case COMMON.queue_size:
        return selected?.size ?? 0;
      case COMMON.queue_msix_vector:
        return this.queueVectors[controller.queueSelect] ?? NO_VECTOR;
      case COMMON.queue_enable:
        return selected?.enabled === true ? 1 : 0;
      default:
        return selected === undefined ? 0 : controller.queueSelect; // queue_notify_off
    }
  }

  private writeCommon(offset: number, size: number, value: number): void {
    const { controller } = this;
    const { selected, queueSelect } = controller;
    if (offset >= COMMON.queue_desc) {
      const [area, half] = areaOf(offset);
      if (size === 4 && offset % 4 === 0) selected?.setAddress(area, half, value);
      return;
    }
    if (WIDTHS[offset] !== size) return;
    switch (offset) {
      case COMMON.device_feature_select:
        controller.deviceFeatureSelect = value;
        return;
      case COMMON.driver_feature_select:
        controller.driverFeatureSelect = value;
        return;
      case COMMON.driver_feature:
        controller.writeDriverFeatures(value);
        return;
      case COMMON.config_msix_vector:
        this.configVector = this.vector(value);
        return;
      case COMMON.device_status:
        controller.writeStatus(value);
        if (controller.status === 0) this.forgetInterrupts();
        return;
      case COMMON.queue_select:
        controller.queueSelect = value;
        return;
      case COMMON.queue_size:
        selected?.setSize(value);
        return;
      case COMMON.queue_msix_vector:
        if (selected !== undefined) this.queueVectors[queueSelect] = this.vector(value);
        return;
      case COMMON.queue_enable:
        // 4.1.4.3.2: a driver never writes 0.
        if (value === 1) controller.enableSelected();
        return;
      default: // read-only
    }
  }

  /** A vector that does not exist reads back as NO_VECTOR (4.1.5.1.2.1). */
  private vector(value: number): number {
    return value < this.msix.vectors ? value : NO_VECTOR;
  }

  private forgetInterrupts(): void {
    this.isr = 0;
    this.configVector = NO_VECTOR;
    this.queueVectors.fill(NO_VECTOR);
  }

  // --- Device

  read(): number {
    return 0;
  }

  write(): void {}

  async drain(): Promise<void> {
    await this.model.drain?.();
  }

  reset(): void {
    this.controller.powerOn();
    this.config.reset();
    this.msix.reset();
    this.forgetInterrupts();
  }

  snapshot(): Snapshot {
    return state.saveState(this.format, {
      config: this.config.save(),
      msix: this.msix.save(),
      isr: this.isr,
      configVector: this.configVector,
      queueVectors: [...this.queueVectors],
      controller: this.controller.save(),
    });
  }

  restore(snapshot: Snapshot): void {
    const saved = state.loadState(this.format, snapshot);
    this.config.load(saved.config);
    this.msix.load(saved.msix);
    this.isr = saved.isr;
    this.configVector = saved.configVector;
    saved.queueVectors.forEach((vector, index) => {
      this.queueVectors[index] = vector;
    });
    this.controller.load(saved.controller);
  }

  async dispose(): Promise<void> {
    await this.controller.dispose();
  }
}

function areaOf(offset: number): readonly [QueueArea, 0 | 1] {
  const at = offset - COMMON.queue_desc;
  return [AREAS[at >> 3]!, (at & 4) === 0 ? 0 : 1];
}

/** A virtio device as a PCI function. */
export function pciDevice<State>(
  model: VirtioModel<State>,
  options: ControllerOptions = {},
): (ports: PciPorts) => VirtioPciFunction {
  return (ports) => new VirtioPci(model as unknown as VirtioModel<never>, options, ports);
}
