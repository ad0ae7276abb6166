/**
 * What a thread that runs VMs and the one that waits for it (`event-watch.ts`) share.
 */
export const WATCH_WORD = {
  STATE: 0,
  /** Not 0: something was readable. */
  RUNG: 1,
} as const;

export const WATCH = { OFF: 0, ARMED: 1, END: 2 } as const;

export interface WatchWorkerData {
  readonly words: SharedArrayBuffer;
  /** Readable when anything that is waited for is. */
  readonly epoll: number;
  /** Who is interrupted. */
  readonly pid: number;
  readonly tid: number;
}
