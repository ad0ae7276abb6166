// One build or install at a time, however many commands are started at once. The lock is a
// directory (mkdir is atomic) holding the owner's process id; a dead owner's lock is taken over.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const WAIT_MS = 250;
const WAIT_MS_MAX = 300_000;

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

export async function withLock(path, work) {
  acquire(path);
  try {
    return await work();
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

function acquire(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (let waited = 0; ; waited += WAIT_MS) {
    try {
      mkdirSync(path);
      writeFileSync(join(path, 'pid'), String(process.pid));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (ownerIsDead(path)) rmSync(path, { recursive: true, force: true });
    else if (waited >= WAIT_MS_MAX) throw new Error(`still locked, remove it if stale: ${path}`);
    else sleep(WAIT_MS);
  }
}

function ownerIsDead(path) {
  try {
    process.kill(Number(readFileSync(join(path, 'pid'), 'utf8')), 0);
    return false;
  } catch (error) {
    // ESRCH: no such process. ENOENT: the owner is between mkdir and writing its id; wait.
    return error.code === 'ESRCH';
  }
}
