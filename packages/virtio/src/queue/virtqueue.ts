/**
 * A virtqueue as its device sees it, whatever the ring's format.
 *
 * Everything in guest memory is hostile. A ring that breaks a rule is reported once to `fault`;
 * the queue gives no more chains until it is opened again.
 */
import type { DmaView } from '@cloister/core';
import { state } from '@cloister/core/devices';
import type { Chain, Segment } from './chain.js';

/** A chain that is given back, and how many bytes of its writable part were written. */
export interface UsedChain {
  readonly chain: Chain;
  readonly written: number;
}

export interface Virtqueue {
  /**
   * Takes the next chain that the driver made available; null when there is none, or when too many
   * were taken (or too much was spent) since the queue was asked for: then the device is notified
   * again a moment later.
   */
  pop(): Chain | null;
  /** Counts the work that a chain was, as so many reads of the ring, towards the bound of `pop`. */
  spend(reads: number): void;
  /** Fills `target` from the driver's part of `chain`; false when that is too short. */
  read(chain: Chain, offset: number, target: Uint8Array): boolean;
  /** Writes to the device's part of `chain`; false when that is too short. */
  write(chain: Chain, offset: number, source: Uint8Array): boolean;
  /**
   * Lends the bytes of segments of a chain themselves to `fn`, as `DmaView.withSpans`;
   * false, without a call, where that is not possible.
   */
  lend(
    segments: readonly Segment[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean;
  /** Gives `chain` back; the first `written` bytes of its writable part were written. */
  push(chain: Chain, written: number): void;
  /** Gives several chains back in such a way that the driver sees all of them or none. */
  pushTogether(used: readonly UsedChain[]): void;
  /** Notifies the driver of what was pushed, if it wants that. Once for a batch is enough. */
  signal(): void;
}

/** A queue that can be told to go on. */
export interface OpenQueue extends Virtqueue {
  /** Lets `pop` take chains again, up to the bound. */
  refill(): void;
}

/** Where a queue lies: numbers are guest-physical, -1 for an address that cannot be. */
export interface QueueLayout {
  readonly size: number;
  /** Descriptor table (split), descriptor ring (packed). */
  readonly desc: number;
  /** Available ring (split), driver event suppression (packed). */
  readonly driver: number;
  /** Used ring (split), device event suppression (packed). */
  readonly device: number;
}

/** How far a ring is. Split: 16-bit indices; packed: offset with the wrap counter in bit 15. */
export interface QueuePosition {
  avail: number;
  used: number;
  /** Ring entries used since the driver was last considered for a notification. */
  unsignalled: number;
}

export const positionField: state.Field<QueuePosition> = state.record<QueuePosition>({
  avail: state.u16,
  used: state.u16,
  unsignalled: state.u16,
});

export interface QueuePorts {
  readonly dma: DmaView;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  /** Chains may be left: their device has to be notified again. */
  exhausted(): void;
  /** Sends the driver a used buffer notification. */
  interrupt(): void;
  /** The ring is broken; `reason` is for people. */
  fault(reason: string): void;
}

/** A ring format: where it starts and how it is opened. */
export interface RingFormat {
  readonly start: QueuePosition;
  /** What is wrong with a layout, or null. */
  check(layout: QueueLayout, dma: DmaView): string | null;
  open(layout: QueueLayout, position: QueuePosition, ports: QueuePorts): OpenQueue;
}

/** A queue that is not enabled: nothing is in it and nothing is told. */
export const CLOSED_QUEUE: OpenQueue = {
  pop: () => null,
  spend() {},
  read: () => false,
  write: () => false,
  lend: () => false,
  push() {},
  pushTogether() {},
  signal() {},
  refill() {},
};

/** Whether the step from `old` to `now` passes `event` (2.7.7.1, all modulo 2^16). */
export function passesEvent(event: number, now: number, old: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
}
