/** The host's time, for files that a guest sets to "now". */

/** Seconds since 1970. */
export function hostSeconds(): number {
  return Date.now() / 1000;
}
