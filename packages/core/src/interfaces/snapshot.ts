/**
 * Versioned plain records: how every stateful part saves and restores itself.
 *
 * A record holds JSON values and `Uint8Array`s only. `type` names the part, `version` its layout;
 * a part refuses a version that it does not know with `VmmError('snapshot-mismatch')`.
 */
export type SnapshotValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly SnapshotValue[]
  | { readonly [key: string]: SnapshotValue | undefined };

export interface Snapshot<State extends SnapshotValue = SnapshotValue> {
  /** What part this is, e.g. `serial-16550a`. */
  readonly type: string;
  /** Layout version of `state`, from 1. */
  readonly version: number;
  readonly state: State;
}

/** A part of a VM that can be saved and restored. */
export interface Snapshotable {
  /** The whole state, as data that no later run changes. Has no side effect. */
  snapshot(): Snapshot;
  /**
   * Replaces the whole state and re-raises what the state implies (interrupt lines, timers).
   * Throws `VmmError('snapshot-mismatch')` on a wrong type, version or shape, changing nothing.
   */
  restore(snapshot: Snapshot): void;
}
