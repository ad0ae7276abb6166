/**
 * The part of a virtio device that is the same for every type and transport: status, feature
 * negotiation, queues, configuration space, failure.
 *
 * Source: virtio 1.2, 2.1 (status), 2.2 (features), 2.4 (reset), 2.5 (configuration space), 3.1.1
 * (initialization). Transports translate their registers to this; none of it knows which one.
 *
 * Known inaccuracies: no legacy interface (a driver without VERSION_1 is refused), no queue reset.
 */
import type { Clock, DmaView, Timer } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { packedRing } from '../queue/packed-queue.js';
import { splitRing } from '../queue/split-queue.js';
import {
  CLOSED_QUEUE,
  type QueuePorts,
  type RingFormat,
  type Virtqueue,
} from '../queue/virtqueue.js';
import * as F from './features.js';
import type { VirtioModel, VirtioPort } from './model.js';
import { QueueSlot, type SavedQueue, savedQueueField } from './queue-slot.js';

/** What a transport does for the device. */
export interface ControllerPorts {
  readonly dma: DmaView;
  readonly clock: Clock;
  /** Used buffer notification of a queue (2.3). */
  usedBuffers(queue: number): void;
  /** Configuration change notification (2.3). */
  configChanged(): void;
  /** Whether the device may reach memory; it may unless given. `resume` tells that it may again. */
  mayAccess?(): boolean;
  /** The device fails, because of its driver or by itself: said once until the next reset. */
  failed(reason: string): void;
}

export interface ControllerOptions {
  /** Offers RING_PACKED; true unless given. */
  readonly packed?: boolean;
  /**
   * Offers ACCESS_PLATFORM, by which a driver goes through the platform's DMA functions: a guest
   * with private memory then shares what the device is to see. Unless given, where the device's
   * view of memory is restricted; elsewhere it costs 130 instructions for each page.
   */
  readonly accessPlatform?: boolean;
}

/** Nanoseconds after which a queue that was too full for one event is looked at again. */
const AGAIN_AFTER = 1000;

const DRIVER_STATUS =
  F.STATUS_ACKNOWLEDGE |
  F.STATUS_DRIVER |
  F.STATUS_DRIVER_OK |
  F.STATUS_FEATURES_OK |
  F.STATUS_FAILED;

/** A controller as it is saved. */
export interface SavedController {
  status: number;
  generation: number;
  deviceFeatureSelect: number;
  driverFeatureSelect: number;
  driverFeatures: number[];
  queueSelect: number;
  queues: SavedQueue[];
  /** Queues that are to be looked at again. */
  again: number[];
  config: Uint8Array;
  model: unknown;
}

export class Controller implements VirtioPort {
  deviceFeatureSelect = 0;
  driverFeatureSelect = 0;
  queueSelect = 0;
  private accepted = F.FeatureSet.of([]);
  private statusBits = 0;
  private generationCount = 0;
  private readonly slots: readonly QueueSlot[];
  private readonly again = new Set<number>();
  private timer: Timer | null = null;
  private readonly field: state.Field<SavedController>;

  constructor(
    readonly model: VirtioModel<never>,
    private readonly ports: ControllerPorts,
    private readonly options: ControllerOptions = {},
  ) {
    this.slots = model.queueSizes.map((size) => new QueueSlot(size));
    this.field = state.record<SavedController>({
      status: state.u8,
      generation: state.u32,
      deviceFeatureSelect: state.u32,
      driverFeatureSelect: state.u32,
      driverFeatures: state.list(state.u32, 2),
      queueSelect: state.u32,
      queues: state.list(savedQueueField, this.slots.length),
      again: state.listUpTo(state.int(0, this.slots.length - 1), this.slots.length),
      config: state.bytes(model.config.length, true),
      model: model.state as state.Field<unknown>,
    });
    model.connect(this);
  }

  // --- What the model sees

  has(feature: number): boolean {
    return this.accepted.has(feature);
  }

  queue(index: number): Virtqueue {
    const queue = this.running ? (this.slots[index]?.queue ?? CLOSED_QUEUE) : CLOSED_QUEUE;
    queue.refill();
    return queue;
  }

  configChanged(): void {
    this.generationCount = (this.generationCount + 1) >>> 0;
    if (this.running) this.ports.configChanged();
  }

  needsReset(reason: string): void {
    if ((this.statusBits & F.STATUS_NEEDS_RESET) !== 0) return;
    const wasRunning = this.running;
    this.statusBits |= F.STATUS_NEEDS_RESET;
    for (const slot of this.slots) slot.close();
    this.ports.failed(reason);
    // 2.1.2: a driver that runs has to be told.
    if (wasRunning) this.ports.configChanged();
  }

  // --- What the transport sees

  /** Known once the VM is put together: by then it is protected or not. */
  get offered(): F.FeatureSet {
    const { packed = true, accessPlatform = this.ports.dma.restricted === true } = this.options;
    return F.FeatureSet.of([
      ...this.model.features,
      F.F_INDIRECT_DESC,
      F.F_EVENT_IDX,
      F.F_VERSION_1,
      ...(accessPlatform ? [F.F_ACCESS_PLATFORM] : []),
      ...(packed ? [F.F_RING_PACKED] : []),
    ]);
  }

  get status(): number {
    return this.statusBits;
  }

  /** Between DRIVER_OK and a failure or reset: only then are buffers used (2.1.2). */
  get running(): boolean {
    const mask = F.STATUS_DRIVER_OK | F.STATUS_NEEDS_RESET;
    return (this.statusBits & mask) === F.STATUS_DRIVER_OK && this.mayAccess;
  }

  private get mayAccess(): boolean {
    return this.ports.mayAccess?.() ?? true;
  }

  /** The device may reach memory again: looks at every queue. */
  resume(): void {
    for (const index of this.slots.keys()) this.notify(index);
  }

  /** Writing 0 resets; other writes set bits, which only a reset clears (2.1). */
  writeStatus(value: number): void {
    if ((value & 0xff) === 0) {
      this.reset();
      return;
    }
    const added = value & DRIVER_STATUS & ~this.statusBits;
    this.statusBits |= added & ~(F.STATUS_FEATURES_OK | F.STATUS_DRIVER_OK);
    // 2.2.2: the bit stays clear when the device does not agree.
    if ((added & F.STATUS_FEATURES_OK) !== 0 && this.agrees()) {
      this.statusBits |= F.STATUS_FEATURES_OK;
    }
    const settled = (this.statusBits & F.STATUS_FEATURES_OK) !== 0;
    if ((added & F.STATUS_DRIVER_OK) === 0 || !settled) return;
    this.statusBits |= F.STATUS_DRIVER_OK;
    if ((this.statusBits & F.STATUS_NEEDS_RESET) !== 0) return;
    this.model.activate?.();
    // What the driver made available before it was done is looked at now (3.1.1).
    this.resume();
  }

  private agrees(): boolean {
    const { accepted, offered, model } = this;
    if (!accepted.isSubsetOf(offered) || !accepted.has(F.F_VERSION_1)) return false;
    return model.accepts?.(accepted) ?? true;
  }

  deviceFeatures(): number {
    return this.offered.word(this.deviceFeatureSelect);
  }

  driverFeatures(): number {
    return this.accepted.word(this.driverFeatureSelect);
  }

  /** Features are settled by FEATURES_OK (3.1.1). */
  writeDriverFeatures(value: number): void {
    if ((this.statusBits & F.STATUS_FEATURES_OK) !== 0) return;
    this.accepted = this.accepted.withWord(this.driverFeatureSelect, value);
  }

  /** The queue that `queueSelect` names, if there is one. */
  get selected(): QueueSlot | undefined {
    return this.slots[this.queueSelect];
  }

  get queueCount(): number {
    return this.slots.length;
  }

  /** Enables the selected queue. Its rings are checked now, and again whenever they are used. */
  enableSelected(): void {
    const { selected, statusBits } = this;
    // 3.1.1: the ring's format is known once features are settled.
    const early = (statusBits & F.STATUS_FEATURES_OK) === 0;
    if (selected === undefined || early || (statusBits & F.STATUS_NEEDS_RESET) !== 0) return;
    const wrong = selected.enable(this.format, this.queuePorts(this.queueSelect));
    if (wrong !== null) this.needsReset(`queue ${this.queueSelect}: ${wrong}`);
  }

  /** Disables the selected queue; requests may be under way in one of a device that runs. */
  disableSelected(): void {
    const { selected } = this;
    if (this.running && selected?.enabled === true) {
      this.needsReset(`queue ${this.queueSelect} was disabled in a running device`);
    }
    selected?.reset();
  }

  notify(queue: number): void {
    if (this.running && this.slots[queue]?.enabled === true) this.model.notify(queue);
  }

  private notifyAgain(queue: number): void {
    const { clock } = this.ports;
    this.again.add(queue);
    this.timer ??= clock.at(clock.now() + AGAIN_AFTER, () => {
      const queues = [...this.again];
      this.stopAgain();
      for (const index of queues) this.notify(index);
    });
  }

  private stopAgain(): void {
    this.again.clear();
    this.timer?.cancel();
    this.timer = null;
  }

  get generation(): number {
    return this.generationCount;
  }

  /** Reads `size` bytes of the configuration; zeros beyond its end. */
  readConfig(offset: number, size: number): number {
    let value = 0;
    for (let at = size - 1; at >= 0; at--) {
      value = value * 256 + (this.model.config[offset + at] ?? 0);
    }
    return value;
  }

  writeConfig(offset: number, size: number, value: number): void {
    // 3.1.1: the driver may write once it knows the device; nothing is written outside.
    if (offset + size <= this.model.config.length) this.model.writeConfig?.(offset, size, value);
  }

  reset(): void {
    for (const slot of this.slots) slot.reset();
    this.statusBits = 0;
    this.accepted = F.FeatureSet.of([]);
    this.deviceFeatureSelect = 0;
    this.driverFeatureSelect = 0;
    this.queueSelect = 0;
    this.stopAgain();
    this.model.reset();
  }

  /** As `reset`, with everything back that a driver can never reset. */
  powerOn(): void {
    this.reset();
    this.generationCount = 0;
  }

  async dispose(): Promise<void> {
    this.stopAgain();
    await this.model.dispose?.();
  }

  // --- Saving

  get savedField(): state.Field<SavedController> {
    return this.field;
  }

  save(): SavedController {
    return {
      status: this.statusBits,
      generation: this.generationCount,
      deviceFeatureSelect: this.deviceFeatureSelect,
      driverFeatureSelect: this.driverFeatureSelect,
      driverFeatures: [this.accepted.word(0), this.accepted.word(1)],
      queueSelect: this.queueSelect,
      queues: this.slots.map((slot) => slot.save()),
      again: [...this.again],
      config: this.model.config.slice(),
      model: this.model.save(),
    };
  }

  load(saved: SavedController): void {
    const [low = 0, high = 0] = saved.driverFeatures;
    this.statusBits = saved.status;
    this.generationCount = saved.generation;
    this.deviceFeatureSelect = saved.deviceFeatureSelect;
    this.driverFeatureSelect = saved.driverFeatureSelect;
    this.queueSelect = saved.queueSelect;
    this.accepted = new F.FeatureSet(low, high);
    const dead = (this.statusBits & F.STATUS_NEEDS_RESET) !== 0;
    saved.queues.forEach((queue, index) => {
      this.slots[index]!.load(queue, this.format, dead ? null : this.queuePorts(index));
    });
    this.model.config.set(saved.config);
    this.stopAgain();
    for (const index of saved.again) this.notifyAgain(index);
    this.model.load(saved.model as never);
  }

  private get format(): RingFormat {
    return this.accepted.has(F.F_RING_PACKED) ? packedRing : splitRing;
  }

  private queuePorts(index: number): QueuePorts {
    return {
      dma: this.ports.dma,
      indirect: this.has(F.F_INDIRECT_DESC),
      eventIdx: this.has(F.F_EVENT_IDX),
      exhausted: () => this.notifyAgain(index),
      interrupt: () => this.ports.usedBuffers(index),
      fault: (reason) => this.needsReset(`queue ${index}: ${reason}`),
    };
  }
}
