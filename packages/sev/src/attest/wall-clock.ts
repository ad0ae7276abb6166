/**
 * The host's clock: the port behind "now" where a caller names no time.
 */
export const wallClock = (): Date => new Date();

/** Resolves after so many milliseconds of the host's time. */
export const wallWait = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
