/**
 * What a TAP's thread is given, and the word that it shares with the TAP: 0 while the TAP is read
 * or left alone, one of these otherwise.
 */
export interface TapWaiter {
  /** File descriptors: the TAP, and an event that ends the wait. */
  readonly tap: number;
  readonly end: number;
  readonly state: SharedArrayBuffer;
}

/** The thread waits for a frame. */
export const TAP_ARMED = 1;
/** The thread ends. */
export const TAP_GONE = 2;
