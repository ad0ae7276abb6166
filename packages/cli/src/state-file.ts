/**
 * Saved VMs, `--save` and `--restore`, in files. The format is core's.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import {
  decodeSnapshot,
  encodeSnapshot,
  isVmmError,
  type Snapshot,
  VmmError,
} from '@cloister/core';
import { fileError } from './error-report.js';
import { writePrivately } from './private-file.js';

/** A guest's memory is nobody else's business. */
const MODE = 0o600;

/**
 * Refuses a `path` that cannot be written: to be asked before a guest leaves that nobody can have
 * back.
 */
export function requireWritableState(path: string): void {
  const temporary = temporaryOf(path);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw fileError('saved state', path, new Error('it is a folder'));
  }
  try {
    // Not what is there under this name, which a link may lead to.
    rmSync(temporary, { force: true });
    closeSync(openSync(temporary, 'wx', MODE));
  } catch (error) {
    throw fileError('saved state', path, error);
  }
  rmSync(temporary, { force: true });
}

const temporaryOf = (path: string) => `${path}.tmp`;

/** Returns when all of a file is on the disk. */
export type Flush = (file: number) => void;

/**
 * Writes a saved VM to `path`, which is replaced only when all of it is on the disk: a guest may
 * leave afterwards.
 */
export async function writeState(
  path: string,
  snapshot: Snapshot,
  flush: Flush = fsyncSync,
): Promise<void> {
  const bytes = await encodeSnapshot(snapshot);
  try {
    writePrivately(path, (file) => {
      writeFileSync(file, bytes);
      flush(file);
    });
  } catch (error) {
    const { code, message } = fileError('saved state', path, error);
    const left = existsSync(path)
      ? 'what was saved there before is still there'
      : 'nothing is there';
    throw new VmmError(code, `${message}; ${left}`, { cause: error });
  }
  flushFolder(dirname(path), flush);
}

/**
 * Has the new name of a file on the disk, too. Where that can't be asked for (a folder that may
 * not be read, a file system without it) the file is there nevertheless: no guest may stay for it.
 */
function flushFolder(path: string, flush: Flush): void {
  try {
    const folder = openSync(path, 'r');
    try {
      flush(folder);
    } finally {
      closeSync(folder);
    }
  } catch {
    // As said.
  }
}

/** A saved VM, and what a VM must be to take it. */
export interface SavedVm {
  readonly snapshot: Snapshot;
  readonly memory: number;
  readonly cpus: number;
  /** What selects its processor; absent in files of backends without a choice. */
  readonly cpu?: string;
}

/** Reads what `writeState` wrote. `VmmError('invalid-file')` for anything else. */
export async function readState(path: string): Promise<SavedVm> {
  const snapshot = await readSnapshot(path);
  const state = snapshot.state as { readonly configuration?: unknown } | null;
  const { memory, cpus, cpu } = (state?.configuration ?? {}) as Partial<SavedVm>;
  if (typeof memory === 'number' && typeof cpus === 'number') {
    return { snapshot, memory, cpus, ...(typeof cpu === 'string' && cpu !== 'any' && { cpu }) };
  }
  throw new VmmError('invalid-file', `saved state ${JSON.stringify(path)}: no VM is in it`);
}

async function readSnapshot(path: string): Promise<Snapshot> {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw fileError('saved state', path, error);
  }
  try {
    return await decodeSnapshot(bytes);
  } catch (error) {
    if (!isVmmError(error)) throw error;
    const { code, message, remedy } = error;
    throw new VmmError(code, `saved state ${JSON.stringify(path)}: ${message}`, {
      ...(remedy === undefined ? {} : { remedy }),
      cause: error,
    });
  }
}
