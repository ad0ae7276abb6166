/**
 * The one door for external input: console bytes, packets, disk completions, kicks.
 *
 * Every input is stamped with the instruction count at which the guest may first see it; a record
 * of stamps and data replays a run bit for bit. A source is fed by the host at any time and
 * delivered between two instructions, in the order of arrival over all sources.
 */
import type { Snapshotable } from './snapshot.js';

export interface InputSource {
  readonly name: string;
  /**
   * Queues `data`: a copy, unless it is `given` away and never written again, or `lent` and not
   * written until it was delivered (then the port keeps nothing of it). Returns false when
   * the source's bound (bytes queued, by default 65536) is reached: the caller keeps the data and
   * waits for `onRoom`. An empty source always takes one piece. During replay host data is dropped
   * and true returned.
   */
  push(data: Uint8Array, how?: 'given' | 'lent'): boolean;
  /** Called when a full source has room again. */
  onRoom(listener: () => void): void;
  /**
   * Tells whether this source may still bring input. With no live source the default clock is
   * instruction-counted and HLT jumps to the next timer.
   */
  setLive(live: boolean): void;
  /**
   * The device's own buffer is full (`true`): its data stays queued until `hold(false)`. Later
   * data of other sources overtakes it. Has no effect on what a replay delivers.
   */
  hold(on: boolean): void;
  /**
   * What this source is about to bring belongs to this very moment: until `stall(false)` no
   * instruction executes and counted time stands still; pausing and saving are possible. So host
   * work of unknown length ends at a known virtual time. Has no effect in a replay, which has the
   * data already.
   */
  stall(on: boolean): void;
}

export interface InputPort extends Snapshotable {
  /**
   * Registers a source; names are unique in a VM. `deliver` runs between two instructions, both
   * live and in replay; it must not depend on anything but its argument and the device's state.
   */
  source(name: string, deliver: (data: Uint8Array) => void, bound?: number): InputSource;
  /** Whether any source is live (false during replay). */
  readonly live: boolean;
  /** True in a replay: host data is dropped, so host work need not, and must not, be done. */
  readonly replaying: boolean;
  /** True while input is recorded: all that comes from outside has to be in what is pushed. */
  readonly recording: boolean;
}

/** One recorded input. */
export interface InputRecord {
  /** Instruction count of the VM before which it was delivered. */
  readonly at: number;
  /** Virtual time in nanoseconds at which it was delivered: a sleeping VM executes nothing. */
  readonly time: number;
  readonly source: string;
  readonly data: Uint8Array;
}
