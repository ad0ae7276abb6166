/** The mock driver over virtio-mmio registers. */
import type { Device } from '@cloister/core';
import { FakeClock, FakeLine } from '@cloister/core/testing';
import { FeatureSet } from '../device/features.js';
import type { VirtioModel } from '../device/model.js';
import {
  INTERRUPT_CONFIG_CHANGE,
  INTERRUPT_USED_BUFFER,
  MMIO,
  type MmioOptions,
  mmioDevice,
} from '../transport/mmio.js';
import type { DriverQueue } from './driver-queue.js';
import { FakeRam } from './fake-ram.js';
import { type DriverTransport, MockDriver } from './mock-driver.js';

export class MmioTransport implements DriverTransport {
  constructor(readonly device: Device) {}

  read(offset: number): number {
    return this.device.read(0, offset, 4);
  }

  write(offset: number, value: number): void {
    this.device.write(0, offset, 4, value >>> 0);
  }

  status(): number {
    return this.read(MMIO.Status);
  }

  setStatus(value: number): void {
    this.write(MMIO.Status, value);
  }

  deviceFeatures(): FeatureSet {
    const words = [0, 1].map((index) => {
      this.write(MMIO.DeviceFeaturesSel, index);
      return this.read(MMIO.DeviceFeatures);
    });
    return new FeatureSet(words[0]!, words[1]!);
  }

  setDriverFeatures(features: FeatureSet): void {
    for (const index of [0, 1]) {
      this.write(MMIO.DriverFeaturesSel, index);
      this.write(MMIO.DriverFeatures, features.word(index));
    }
  }

  queueMax(index: number): number {
    this.write(MMIO.QueueSel, index);
    return this.read(MMIO.QueueNumMax);
  }

  setUpQueue(index: number, queue: Pick<DriverQueue, 'size' | 'desc' | 'driver' | 'device'>): void {
    this.write(MMIO.QueueSel, index);
    this.write(MMIO.QueueNum, queue.size);
    const areas = [
      [MMIO.QueueDescLow, queue.desc],
      [MMIO.QueueDriverLow, queue.driver],
      [MMIO.QueueDeviceLow, queue.device],
    ] as const;
    for (const [register, gpa] of areas) {
      this.write(register, gpa % 2 ** 32);
      this.write(register + 4, Math.floor(gpa / 2 ** 32));
    }
    this.write(MMIO.QueueReady, 1);
  }

  queueEnabled(index: number): boolean {
    this.write(MMIO.QueueSel, index);
    return this.read(MMIO.QueueReady) === 1;
  }

  notify(index: number): void {
    this.write(MMIO.QueueNotify, index);
  }

  readConfig(offset: number, size: number): number {
    return this.device.read(0, MMIO.Config + offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    this.device.write(0, MMIO.Config + offset, size, value);
  }

  generation(): number {
    return this.read(MMIO.ConfigGeneration);
  }

  takeInterrupts(): { used: boolean; config: boolean } {
    const status = this.read(MMIO.InterruptStatus);
    this.write(MMIO.InterruptACK, status);
    return {
      used: (status & INTERRUPT_USED_BUFFER) !== 0,
      config: (status & INTERRUPT_CONFIG_CHANGE) !== 0,
    };
  }
}

/** A driver with its device, and the device's ports. */
export interface MockRig {
  readonly driver: MockDriver;
  readonly device: Device;
  readonly ram: FakeRam;
  readonly clock: FakeClock;
  /** High while the device has notified something that was not taken. */
  readonly irq: { readonly level: boolean };
  /** Why the device asked for a reset, each time. */
  readonly failures: readonly string[];
}

export interface RigPorts {
  readonly ram?: FakeRam;
  readonly clock?: FakeClock;
}

/** A model behind virtio-mmio registers, with a driver that was not started. */
export function mmioRig<State>(
  model: VirtioModel<State>,
  options: Partial<MmioOptions> = {},
  ports: RigPorts = {},
): MockRig {
  const { ram = new FakeRam(), clock = new FakeClock() } = ports;
  const irq = new FakeLine();
  const failures: string[] = [];
  const device = mmioDevice(model, { base: 0xd0000000, ...options })({
    dma: ram,
    clock,
    irq,
    failed: (reason) => void failures.push(reason),
  });
  const driver = new MockDriver(new MmioTransport(device), ram);
  return { driver, device, ram, clock, irq, failures };
}
