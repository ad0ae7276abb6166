/**
 * Files that are replaced when the new one is whole: until then what was there stays as it is.
 */
import { closeSync, openSync, renameSync, rmSync } from 'node:fs';

export interface Replacement {
  /** The new file's descriptor. */
  readonly file: number;
  /** Ends the new file, which takes the place of the old one. */
  keep(): void;
  /** Ends the new file, of which nothing is left. Once it was kept this does nothing. */
  drop(): void;
}

/**
 * Begins a file of this mode that is to become `path`; until then it is `temporary`, in the same
 * folder. Whatever lies there, a link for instance, is replaced and not written to.
 */
export function replacement(path: string, mode: number, temporary = `${path}.tmp`): Replacement {
  rmSync(temporary, { force: true });
  const file = openSync(temporary, 'wx', mode);
  let isOpen = true;
  let isThere = true;
  const close = () => {
    if (isOpen) closeSync(file);
    isOpen = false;
  };
  return {
    file,
    keep() {
      close();
      renameSync(temporary, path);
      isThere = false;
    },
    drop() {
      close();
      if (isThere) rmSync(temporary, { force: true });
      isThere = false;
    },
  };
}
