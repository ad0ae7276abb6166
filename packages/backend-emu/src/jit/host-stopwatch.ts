/** The host's time for the summary, in milliseconds: nothing that a guest sees depends on it. */
export const hostMilliseconds = (): number => performance.now();
