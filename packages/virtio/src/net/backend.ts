/**
 * What is behind a network device: the interface that every backend implements, and the device's
 * end that it speaks to.
 *
 * Frames go both ways in batches (`frames.ts`). Both directions are bounded: a device has no more
 * than a window of bytes at its backend until that says that they went on, and a backend keeps to
 * itself what the device does not take.
 */

/** The device's end. Its calls may be made at any time between `open` and `close`. */
export interface NetPort {
  /**
   * Frames for the guest; the batch is given away, or lent until `release` is called with it
   * (never, if it is lost). False when too many wait already: the backend keeps it, or drops it,
   * and is told by `onRoom` when to go on.
   */
  receive(batch: Uint8Array, release?: (batch: Uint8Array) => void): boolean;
  onRoom(listener: () => void): void;
  /** So many bytes of batches that were sent are off the backend's hands. */
  sent(bytes: number): void;
  /** Whether there is a network; there is one unless this said otherwise. */
  setLink(up: boolean): void;
}

export interface NetBackend {
  /** For summaries, e.g. `passt`. */
  readonly kind: string;
  /** Largest payload of a frame in bytes; what the guest is told. */
  readonly mtu: number;
  /** Connects. Called once, before the first instruction, and not in a replay. */
  open(port: NetPort): void | Promise<void>;
  /** Takes frames of the guest, which are the backend's from now on; `sent` accounts for them. */
  send(batch: Uint8Array): void;
  /** Ends it; also when `open` failed or was never called. */
  close(): void | Promise<void>;
}

/** Sees every frame as the guest does, at virtual time `at` (ns); keeps none of its bytes. */
export interface FrameSink {
  frame(frame: Uint8Array, at: number): void;
  close(): void;
}
