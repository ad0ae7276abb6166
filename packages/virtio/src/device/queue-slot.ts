/**
 * One queue of a device: the registers that describe it, and the open queue once it is enabled.
 *
 * Addresses are kept as the pairs of 32-bit words that drivers write.
 */
import type { DmaView } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { gpaOf } from '../queue/descriptor.js';
import {
  CLOSED_QUEUE,
  type OpenQueue,
  positionField,
  type QueueLayout,
  type QueuePorts,
  type QueuePosition,
  type RingFormat,
} from '../queue/virtqueue.js';

export type QueueArea = 'desc' | 'driver' | 'device';

interface QueueRegisters {
  size: number;
  desc: [number, number];
  driver: [number, number];
  device: [number, number];
  enabled: boolean;
}

/** A queue as it is saved. */
export interface SavedQueue extends QueueRegisters {
  position: QueuePosition;
}

const pair = state.list(state.u32, 2) as unknown as state.Field<[number, number]>;

export const savedQueueField: state.Field<SavedQueue> = state.record<SavedQueue>({
  size: state.u16,
  desc: pair,
  driver: pair,
  device: pair,
  enabled: state.bool,
  position: positionField,
});

export class QueueSlot {
  private r: QueueRegisters;
  private position: QueuePosition = { avail: 0, used: 0, unsignalled: 0 };
  queue: OpenQueue = CLOSED_QUEUE;

  constructor(readonly sizeMax: number) {
    this.r = this.powerOn();
  }

  get size(): number {
    return this.r.size;
  }

  get enabled(): boolean {
    return this.r.enabled;
  }

  address(area: QueueArea, half: 0 | 1): number {
    return this.r[area][half];
  }

  /** Registers of an enabled queue do not change (4.2.2.2, 4.1.4.3.2). */
  setSize(size: number): void {
    if (!this.r.enabled) this.r.size = size & 0xffff;
  }

  setAddress(area: QueueArea, half: 0 | 1, value: number): void {
    if (!this.r.enabled) this.r[area][half] = value >>> 0;
  }

  /** Opens the queue at its start; says what is wrong with its registers, or null. */
  enable(format: RingFormat, ports: QueuePorts): string | null {
    if (this.r.enabled) return null;
    const wrong = this.problem(format, ports.dma);
    if (wrong !== null) return wrong;
    this.r.enabled = true;
    this.open(format, { ...format.start }, ports);
    return null;
  }

  /** No chain is given out from here on. */
  close(): void {
    this.queue = CLOSED_QUEUE;
  }

  reset(): void {
    this.close();
    this.r = this.powerOn();
    this.position = { avail: 0, used: 0, unsignalled: 0 };
  }

  save(): SavedQueue {
    const { size, desc, driver, device, enabled } = this.r;
    return {
      size,
      desc: [...desc],
      driver: [...driver],
      device: [...device],
      enabled,
      position: { ...this.position },
    };
  }

  /** Takes over a saved queue; `ports` are null when the device is past opening queues. */
  load(saved: SavedQueue, format: RingFormat, ports: QueuePorts | null): void {
    const { position, ...registers } = saved;
    this.close();
    this.r = registers;
    this.position = position;
    if (registers.enabled && ports !== null) this.open(format, position, ports);
  }

  private open(format: RingFormat, position: QueuePosition, ports: QueuePorts): void {
    this.position = position;
    this.queue = format.open(this.layout, position, ports);
  }

  private problem(format: RingFormat, dma: DmaView): string | null {
    const { size, sizeMax } = this;
    if (size > sizeMax) return `a queue of ${size} is longer than ${sizeMax}`;
    return format.check(this.layout, dma);
  }

  private get layout(): QueueLayout {
    const { size, desc, driver, device } = this.r;
    return { size, desc: gpaOf(...desc), driver: gpaOf(...driver), device: gpaOf(...device) };
  }

  private powerOn(): QueueRegisters {
    return { size: this.sizeMax, desc: [0, 0], driver: [0, 0], device: [0, 0], enabled: false };
  }
}
