/** The mock driver over a virtio PCI function: it finds everything by the capability list. */
import { FakeClock } from '@cloister/core/testing';
import type { ControllerOptions } from '../device/controller.js';
import { FeatureSet } from '../device/features.js';
import type { VirtioModel } from '../device/model.js';
import { COMMAND, COMMAND_MASTER, COMMAND_MEMORY } from '../pci/config-space.js';
import { CAP_MSIX } from '../pci/msix.js';
import { COMMON, pciDevice, type VirtioPciFunction } from '../transport/pci.js';
import type { DriverQueue } from './driver-queue.js';
import { FakeRam } from './fake-ram.js';
import type { MockRig, RigPorts } from './mmio-driver.js';
import { type DriverTransport, MockDriver } from './mock-driver.js';

const CAP_VENDOR = 0x09;
/** Message address of vector 0; each vector's data is its number. */
export const MSI_ADDRESS = 0xfee0_0000;

/** A structure that a capability points to, in BAR 0. */
interface Structure {
  readonly offset: number;
  readonly length: number;
  /** notify_off_multiplier. */
  readonly extra: number;
}

export class PciTransport implements DriverTransport {
  private readonly structures = new Map<number, Structure>();
  private readonly msix: { readonly control: number; readonly table: number };

  /** `messages` is where the device's MSIs go: data of each. */
  constructor(
    readonly device: VirtioPciFunction,
    private readonly messages: number[],
  ) {
    let msix = { control: 0, table: 0 };
    for (let at = device.readConfig(0x34, 1); at !== 0; at = device.readConfig(at + 1, 1)) {
      const id = device.readConfig(at, 1);
      if (id === CAP_MSIX) msix = { control: at + 2, table: device.readConfig(at + 4, 4) & ~7 };
      if (id !== CAP_VENDOR) continue;
      this.structures.set(device.readConfig(at + 3, 1), {
        offset: device.readConfig(at + 8, 4),
        length: device.readConfig(at + 12, 4),
        extra: device.readConfig(at + 2, 1) > 16 ? device.readConfig(at + 16, 4) : 0,
      });
    }
    this.msix = msix;
    device.writeConfig(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
  }

  private at(type: number): Structure {
    const found = this.structures.get(type);
    if (found === undefined) throw new Error(`there is no structure of type ${type}`);
    return found;
  }

  read(field: number, size: number): number {
    return this.device.readMemory(this.at(1).offset + field, size);
  }

  write(field: number, size: number, value: number): void {
    this.device.writeMemory(this.at(1).offset + field, size, value >>> 0);
  }

  status(): number {
    return this.read(COMMON.device_status, 1);
  }

  setStatus(value: number): void {
    this.write(COMMON.device_status, 1, value);
  }

  deviceFeatures(): FeatureSet {
    const words = [0, 1].map((index) => {
      this.write(COMMON.device_feature_select, 4, index);
      return this.read(COMMON.device_feature, 4);
    });
    return new FeatureSet(words[0]!, words[1]!);
  }

  setDriverFeatures(features: FeatureSet): void {
    for (const index of [0, 1]) {
      this.write(COMMON.driver_feature_select, 4, index);
      this.write(COMMON.driver_feature, 4, features.word(index));
    }
  }

  queueMax(index: number): number {
    this.write(COMMON.queue_select, 2, index);
    return this.read(COMMON.queue_size, 2);
  }

  setUpQueue(index: number, queue: Pick<DriverQueue, 'size' | 'desc' | 'driver' | 'device'>): void {
    this.setUpVectors();
    this.write(COMMON.queue_select, 2, index);
    this.write(COMMON.queue_size, 2, queue.size);
    this.write(COMMON.queue_msix_vector, 2, index + 1);
    const areas = [
      [COMMON.queue_desc, queue.desc],
      [COMMON.queue_driver, queue.driver],
      [COMMON.queue_device, queue.device],
    ] as const;
    for (const [field, gpa] of areas) {
      this.write(field, 4, gpa % 2 ** 32);
      this.write(field + 4, 4, Math.floor(gpa / 2 ** 32));
    }
    this.write(COMMON.queue_enable, 2, 1);
  }

  private setUpVectors(): void {
    const { control, table } = this.msix;
    const vectors = (this.device.readConfig(control, 2) & 0x7ff) + 1;
    for (let vector = 0; vector < vectors; vector++) {
      const words = [MSI_ADDRESS, 0, vector, 0];
      words.forEach((word, index) => {
        this.device.writeMemory(table + 16 * vector + 4 * index, 4, word);
      });
    }
    this.device.writeConfig(control, 2, 0x8000);
    this.device.writeConfig(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER);
    this.write(COMMON.config_msix_vector, 2, 0);
  }

  queueEnabled(index: number): boolean {
    this.write(COMMON.queue_select, 2, index);
    return this.read(COMMON.queue_enable, 2) === 1;
  }

  notify(index: number): void {
    const { offset, length, extra } = this.at(2);
    this.write(COMMON.queue_select, 2, index);
    const at = this.read(COMMON.queue_notify_off, 2) * extra;
    // A driver has no address of a queue that is not there.
    if (index * extra < length) this.device.writeMemory(offset + at, 2, index);
  }

  readConfig(offset: number, size: number): number {
    return this.device.readMemory(this.at(4).offset + offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.device.writeMemory(this.at(4).offset + offset, size, value);
  }

  generation(): number {
    return this.read(COMMON.config_generation, 1);
  }

  takeInterrupts(): { used: boolean; config: boolean } {
    const taken = this.messages.splice(0);
    return { used: taken.some((data) => data > 0), config: taken.includes(0) };
  }
}

/** A model as a PCI function, with a driver that was not started. */
export function pciRig<State>(
  model: VirtioModel<State>,
  options: ControllerOptions = {},
  ports: RigPorts = {},
): MockRig {
  const { ram = new FakeRam(), clock = new FakeClock() } = ports;
  const messages: number[] = [];
  const failures: string[] = [];
  const device = pciDevice(
    model,
    options,
  )({
    dma: ram,
    clock,
    sendMsi: (address, data) => {
      if (address === MSI_ADDRESS) messages.push(data);
    },
    failed: (reason) => void failures.push(reason),
  });
  device.config.placeMemory(0xe000_0000, device.memorySize);
  device.config.seal();
  const driver = new MockDriver(new PciTransport(device, messages), ram);
  const irq = {
    get level() {
      return messages.length > 0;
    },
  };
  return { driver, device, ram, clock, irq, failures };
}
