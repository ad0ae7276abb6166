/**
 * The server of a shared directory, as the device sees it.
 */
import type { SnapshotValue } from '@cloister/core';

export interface ShareServer {
  /**
   * Answers a FUSE request of at least a header, in at most `room` bytes; empty for a request that
   * has no reply. Never rejects.
   */
  answer(request: Uint8Array, room: number): Promise<Uint8Array>;
  /** The guest starts over: forgets its nodes and closes its handles. */
  reset(): void;
  /** What the guest knows of the share, as plain data; no request is under way. */
  save(): SnapshotValue;
  /** Takes over what was saved; what is damaged counts as nothing known. Never throws. */
  load(saved: SnapshotValue): void;
  close(): void | Promise<void>;
}

/** A share that nobody asks: for a replay, where the recording has all answers. */
export const NO_SHARE: ShareServer = {
  answer: () => Promise.resolve(new Uint8Array(0)),
  reset() {},
  save: () => null,
  load() {},
  close() {},
};
