/**
 * Doorbells: places that a guest writes to only to say that there is something to do. A backend
 * whose CPUs execute at the same time need not stop the one that rings: it goes on at once, and the
 * device is told soon after.
 *
 * Such a write is no exit: streams and handlers of exits do not see it.
 */

export interface DoorbellPlace {
  readonly space: 'io' | 'mmio';
  readonly address: number;
  /** Bytes of the write: 1, 2, 4 or 8. */
  readonly length: number;
  /** Only writes of this value; others are exits. */
  readonly value: bigint;
}

export interface Doorbell {
  /** The guest's writes are exits again. */
  close(): void;
}

export interface Doorbells {
  /**
   * Calls `rung` for one or several writes to `place`, in the VM's thread, as a timer is: between
   * two instructions of the first CPU. Before the machine pauses, all that rang was told.
   * `VmmError` where the place has one already or the backend can take no more.
   */
  watch(place: DoorbellPlace, rung: () => void): Doorbell;
}
