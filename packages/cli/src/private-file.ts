/**
 * Files that nobody but the user may read, from their first byte on: one that is there, with what
 * mode ever, is replaced and not written to.
 */
import { closeSync, openSync, renameSync, rmSync } from 'node:fs';

const SECRET = 0o600;

/** Calls `write` with a new file that becomes `path` at its end; if it throws, nothing is left. */
export function writePrivately(path: string, write: (file: number) => void): void {
  const temporary = `${path}.tmp`;
  rmSync(temporary, { force: true });
  const file = openSync(temporary, 'wx', SECRET);
  try {
    try {
      write(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
