/**
 * Files that nobody but the user may read, from their first byte on: one that is there, with what
 * mode ever, is replaced and not written to.
 */
import { replacement } from './replacement.js';

const SECRET = 0o600;

/** Calls `write` with a new file that becomes `path` at its end; if it throws, nothing is left. */
export function writePrivately(path: string, write: (file: number) => void): void {
  const begun = replacement(path, SECRET);
  try {
    write(begun.file);
    begun.keep();
  } finally {
    begun.drop();
  }
}
