/**
 * One case of the virtio kit: a device with its driver, and what the clauses check on them.
 */
import { FakeClock } from '@cloister/core/testing';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import type { VirtioModel } from '../device/model.js';
import { type DriverSegment, SplitDriverQueue } from './driver-queue.js';
import { FakeRam } from './fake-ram.js';
import { type MockRig, mmioRig } from './mmio-driver.js';
import type { MockDriver, Result, StartOptions } from './mock-driver.js';
import { pciRig } from './pci-driver.js';

/** A request that the device answers: what the driver gives, and the room for the answer. */
export interface SampleRequest {
  readonly queue: number;
  readonly out: readonly Uint8Array[];
  readonly room: readonly number[];
}

export interface VirtioKitPorts {
  readonly ram: FakeRam;
  readonly clock: FakeClock;
}

/** A device under test. */
export interface VirtioSubject {
  readonly name: string;
  /** `mmio` unless given. */
  readonly transport?: 'mmio' | 'pci';
  /** Makes a fresh model. */
  make(ports: VirtioKitPorts): VirtioModel<never>;
  /** A request that it answers whenever it is made. */
  request(): SampleRequest;
  /** Lets host work finish and virtual time pass; nothing unless given. */
  settle?(ports: VirtioKitPorts): Promise<void>;
}

const RAM_SIZE = 1 << 20;

function assert(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message());
}

export class KitCase {
  readonly rig: MockRig;
  readonly ram = new FakeRam(RAM_SIZE);
  private readonly clock = new FakeClock();

  constructor(
    private readonly subject: VirtioSubject,
    readonly seed = 1,
  ) {
    const { ram, clock } = this;
    const rig = subject.transport === 'pci' ? pciRig : mmioRig;
    this.rig = rig(subject.make({ ram, clock }), {}, { ram, clock });
  }

  get driver(): MockDriver {
    return this.rig.driver;
  }

  get request(): SampleRequest {
    return this.subject.request();
  }

  /** Index of the queue that takes the sample request. */
  get index(): number {
    return this.request.queue;
  }

  start(options: StartOptions = {}): void {
    this.driver.start(options);
  }

  get queue(): SplitDriverQueue {
    const queue = this.driver.queues[this.index];
    if (!(queue instanceof SplitDriverQueue)) throw new Error('not a split queue');
    return queue;
  }

  async settle(): Promise<void> {
    await this.subject.settle?.({ ram: this.ram, clock: this.clock });
  }

  /** Segments of the sample request in fresh memory. */
  segments(): DriverSegment[] {
    const { out, room } = this.request;
    return [
      ...out.map((data) => ({ gpa: this.ram.place(data), length: data.length, write: false })),
      ...room.map((length) => ({ gpa: this.ram.allocate(length), length, write: true })),
    ];
  }

  /** Notifies the device of what is in the queue, and waits. */
  async kick(): Promise<void> {
    this.driver.transport.notify(this.index);
    await this.settle();
  }

  /** Makes the sample request and expects its answer. */
  async ask(options: { readonly indirect?: boolean } = {}): Promise<Result> {
    const { queue, out, room } = this.request;
    const id = this.driver.submit(queue, out, room, options);
    await this.settle();
    const result = this.driver.take(queue);
    assert(result !== null, () => `the device did not answer: ${this.rig.failures.join()}`);
    this.equal(result.id, id, 'the id of the used buffer');
    return result;
  }

  /** The device asks for a reset, and uses nothing until it gets one; then it works again. */
  async failsAndRecovers(): Promise<void> {
    const { driver, rig } = this;
    await this.settle();
    const { transport } = driver;
    this.that((transport.status() & STATUS_NEEDS_RESET) !== 0, 'the device needs no reset');
    this.that(transport.takeInterrupts().config, 'the driver is not told of the failure');
    this.equal(rig.failures.length, 1, 'reports of the failure');
    this.equal(driver.queues[this.index]!.take(), null, 'used buffers of a broken queue');
    this.nothingOutside();
    this.start();
    await this.ask();
  }

  /** No access went beside guest memory. */
  nothingOutside(): void {
    this.equal(this.ram.refused.join(), '', 'accesses beside guest memory');
  }

  that(condition: boolean, otherwise: string): void {
    assert(condition, () => otherwise);
  }

  equal(found: unknown, wanted: unknown, what: string): void {
    assert(found === wanted, () => `${what}: ${String(found)} in place of ${String(wanted)}`);
  }
}
