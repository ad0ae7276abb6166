/**
 * A virtio driver for tests: what a guest does to a device, step by step or in one go.
 *
 * It reaches the device through a `DriverTransport` only, so that the same test runs over every
 * transport. Memory is a `FakeRam`.
 *
 * ```ts
 * const { driver } = mmioRig(rngModel(random));
 * driver.start();
 * driver.submit(0, [], [16]);
 * driver.result(0).data; // 16 random bytes
 * ```
 */
import {
  F_EVENT_IDX,
  F_RING_PACKED,
  F_VERSION_1,
  FeatureSet,
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
} from '../device/features.js';
import {
  type DriverQueue,
  type DriverSegment,
  PackedDriverQueue,
  SplitDriverQueue,
} from './driver-queue.js';
import type { FakeRam } from './fake-ram.js';

/** The registers of a device, whatever its transport. */
export interface DriverTransport {
  status(): number;
  setStatus(value: number): void;
  deviceFeatures(): FeatureSet;
  setDriverFeatures(features: FeatureSet): void;
  /** Largest size of a queue, 0 where there is none. */
  queueMax(index: number): number;
  setUpQueue(index: number, queue: Pick<DriverQueue, 'size' | 'desc' | 'driver' | 'device'>): void;
  queueEnabled(index: number): boolean;
  notify(index: number): void;
  readConfig(offset: number, size: number): number;
  writeConfig(offset: number, size: number, value: number): void;
  generation(): number;
  /** Takes and acknowledges what the device notified since the last call. */
  takeInterrupts(): { readonly used: boolean; readonly config: boolean };
}

export interface StartOptions {
  /** Features to accept besides VERSION_1; all that are offered but RING_PACKED unless given. */
  readonly features?: readonly number[];
  /** Uses packed rings. */
  readonly packed?: boolean;
  /** Sizes of the queues; their maxima unless given. */
  readonly sizes?: readonly number[];
}

export interface Result {
  readonly id: number;
  readonly written: number;
  /** All bytes of the writable part. */
  readonly data: Uint8Array;
}

export class MockDriver {
  readonly queues: DriverQueue[] = [];
  private readonly buffers = new Map<string, readonly DriverSegment[]>();

  constructor(
    readonly transport: DriverTransport,
    readonly ram: FakeRam,
  ) {}

  /** Resets, negotiates and starts the device (3.1.1). */
  start(options: StartOptions = {}): void {
    this.negotiate(options);
    this.setUpQueues(options);
    this.setBit(STATUS_DRIVER_OK);
  }

  /** Steps 1 to 6: up to FEATURES_OK. Returns what was accepted. */
  negotiate(options: StartOptions = {}): FeatureSet {
    const { transport } = this;
    transport.setStatus(0);
    if (transport.status() !== 0) throw new Error('the device does not reset');
    this.setBit(STATUS_ACKNOWLEDGE);
    this.setBit(STATUS_DRIVER);
    const offered = transport.deviceFeatures();
    const all = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => offered.has(bit));
    const wanted = options.features ?? all.filter((bit) => bit !== F_RING_PACKED);
    const accepted = FeatureSet.of([
      ...wanted,
      F_VERSION_1,
      ...(options.packed === true ? [F_RING_PACKED] : []),
    ]);
    transport.setDriverFeatures(accepted);
    this.setBit(STATUS_FEATURES_OK);
    if ((transport.status() & STATUS_FEATURES_OK) === 0) {
      throw new Error('the device refuses the features');
    }
    this.accepted = accepted;
    return accepted;
  }

  private accepted = FeatureSet.of([]);

  /** Step 7: every queue of the device. */
  setUpQueues({ sizes = [] }: StartOptions = {}): void {
    this.queues.length = 0;
    this.buffers.clear();
    for (let index = 0; this.transport.queueMax(index) > 0; index++) {
      const size = sizes[index] ?? this.transport.queueMax(index);
      const queue = this.makeQueue(size);
      this.queues.push(queue);
      this.transport.setUpQueue(index, queue);
    }
  }

  /** A ring of the negotiated format in fresh memory. */
  makeQueue(size: number): DriverQueue {
    const Queue = this.accepted.has(F_RING_PACKED) ? PackedDriverQueue : SplitDriverQueue;
    return new Queue(this.ram, size, this.accepted.has(F_EVENT_IDX));
  }

  setBit(bit: number): void {
    this.transport.setStatus(this.transport.status() | bit);
  }

  /** Makes a buffer available without telling the device: data out, then room for data in. */
  add(
    queue: number,
    out: readonly Uint8Array[],
    room: readonly number[],
    options: { readonly indirect?: boolean } = {},
  ): number {
    const segments: DriverSegment[] = [
      ...out.map((data) => ({ gpa: this.ram.place(data), length: data.length, write: false })),
      ...room.map((length) => ({ gpa: this.ram.allocate(length), length, write: true })),
    ];
    const id = this.queues[queue]!.add(segments, options.indirect);
    this.buffers.set(`${queue}:${id}`, segments);
    return id;
  }

  /** As `add`, and notifies the device. */
  submit(
    queue: number,
    out: readonly Uint8Array[],
    room: readonly number[],
    options: { readonly indirect?: boolean } = {},
  ): number {
    const id = this.add(queue, out, room, options);
    this.transport.notify(queue);
    return id;
  }

  /** The next used buffer with its data, null when there is none. */
  take(queue: number): Result | null {
    const used = this.queues[queue]!.take();
    if (used === null) return null;
    const key = `${queue}:${used.id}`;
    const segments = this.buffers.get(key) ?? [];
    this.buffers.delete(key);
    const parts = segments.filter(({ write }) => write);
    const data = parts.flatMap(({ gpa, length }) => [...this.ram.at(gpa, length)]);
    return { ...used, data: Uint8Array.from(data) };
  }

  /** As `take`; an error when there is none. */
  result(queue: number): Result {
    const result = this.take(queue);
    if (result === null) throw new Error(`queue ${queue} has no used buffer`);
    return result;
  }
}
