/**
 * A lock on an open file, so that two VMs do not write one disk.
 *
 * It is flock(2) of the kernel's, taken by the program flock (util-linux, busybox) on a descriptor
 * that it inherits: the lock is the open file's, so it lasts as long as this process has the file
 * open, however the process ends. There is no lock file, and nothing stale to remove. It holds
 * between processes of one kernel that take such locks, containers included.
 *
 * Known inaccuracies: where there is no such program, or the file system has no such locks, there
 * is no lock.
 */
import { spawnSync } from 'node:child_process';
import { VmmError } from '@cloister/core';

/** What flock answers where somebody else has the lock. */
const TAKEN = 1;

/**
 * Takes a lock: `shared` with other readers, or alone. `VmmError('invalid-file')` when another has
 * the file.
 */
export function lockFile(path: string, fd: number, kind: 'shared' | 'exclusive'): void {
  const options = ['-n', kind === 'shared' ? '-s' : '-x', '3'];
  const { status } = spawnSync('flock', options, { stdio: ['ignore', 'ignore', 'ignore', fd] });
  if (status !== TAKEN) return;
  const use = kind === 'shared' ? 'is being written to' : 'is in use';
  throw new VmmError('invalid-file', `disk ${path} ${use} by another VM`, {
    remedy: 'end that one, or give this one a copy, or an overlay over a disk that nobody writes',
  });
}
