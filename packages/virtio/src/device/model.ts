/**
 * What a virtio device type is, apart from its transport: the interface that authors implement.
 *
 * A model is told of the driver's doings and acts through a `VirtioPort`. It may hold chains while
 * host work is under way. No sequence of calls and no content of guest memory makes it throw, hang
 * or allocate without bound.
 * Source: virtio 1.2, 2 (basic facilities) and 3 (initialization).
 */
import type { state } from '@cloister/core/devices';
import type { Virtqueue } from '../queue/virtqueue.js';
import type { FeatureSet } from './features.js';

/** What a model may do to its driver. Valid from `connect` on. */
export interface VirtioPort {
  /** Whether the driver has the device going: between DRIVER_OK and a failure or reset. */
  readonly running: boolean;
  /** Whether driver and device agreed on a feature. */
  has(feature: number): boolean;
  /**
   * A queue, for the event under way: ask anew each time, and keep none. One that is not enabled is
   * empty.
   */
  queue(index: number): Virtqueue;
  /** The device configuration changed: notifies a running driver (2.5, 4.2.2.1). */
  configChanged(): void;
  /** The device cannot go on until the driver resets it (2.1.1); `reason` is for people. */
  needsReset(reason: string): void;
}

export interface VirtioModel<State = unknown> {
  /** Unique in a VM, e.g. `blk0`. */
  readonly name: string;
  /** Device ID (5), e.g. 2 for a block device. */
  readonly deviceId: number;
  /** Class, subclass and interface for PCI (PCI Code and ID Assignment 1.11), 24 bits. */
  readonly pciClass: number;
  /** Feature bits of the device type that are offered; 0 to 23 and 50 to 63. */
  readonly features: readonly number[];
  /** Maximum sizes of the queues, powers of 2. */
  readonly queueSizes: readonly number[];
  /** Device configuration space, little-endian; the model may change it. */
  readonly config: Uint8Array;
  /** Called once, before anything else. */
  connect(port: VirtioPort): void;
  /** Whether a subset of the offered features makes sense; all do unless given. */
  accepts?(features: FeatureSet): boolean;
  /** The driver wrote the low `size` (1, 2 or 4) bytes of `value` to the configuration. */
  writeConfig?(offset: number, size: number, value: number): void;
  /** DRIVER_OK: the queues are there. */
  activate?(): void;
  /** The driver says that a queue has something. Only between `activate` and `reset`. */
  notify(queue: number): void;
  /** Forgets every chain; queues are closed already. Also the power-on state. */
  reset(): void;
  /** How the state is saved, beside what transport and queues save. */
  readonly state: state.Field<State>;
  save(): State;
  /** Takes over a saved state; host work that was under way begins again. Never throws. */
  load(saved: State): void;
  /** As `Device.drain`. */
  drain?(): Promise<void>;
  dispose?(): void | Promise<void>;
}

/** A model whose state is nobody's business but its own. */
export type AnyModel = VirtioModel<never>;
