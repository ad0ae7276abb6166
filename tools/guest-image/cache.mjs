// Where downloads and what is unpacked from them live: outside the repository, safe when several
// runs fill it at once. Everything is made under a temporary name and renamed when it is whole, so
// that whatever has its final name is complete; whoever comes second throws its copy away.

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** CLOISTER_CACHE, else `cloister` in the user's cache folder. */
export function cacheDirectory(env = process.env) {
  if (env.CLOISTER_CACHE) return env.CLOISTER_CACHE;
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cloister');
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Runs `work` with an empty folder that is gone afterwards. */
export async function withTemporaryFolder(parent, work) {
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, '.partial-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes a file so that readers see the old bytes or the new ones, never a part. */
export async function publishFile(path, bytes) {
  await withTemporaryFolder(dirname(path), (folder) => {
    const partial = join(folder, basename(path));
    writeFileSync(partial, bytes);
    renameSync(partial, path);
  });
  return path;
}

/** A folder that `fill(folder)` makes, unless it is there already. */
export async function publishFolder(path, fill) {
  if (existsSync(path)) return path;
  await withTemporaryFolder(dirname(path), async (folder) => {
    const partial = join(folder, basename(path));
    mkdirSync(partial);
    await fill(partial);
    try {
      renameSync(partial, path);
    } catch (error) {
      if (!existsSync(path)) throw error; // otherwise another run was first: its copy will do
    }
  });
  return path;
}

/** The JSON in a file of the cache; undefined when there is none or it can't be read. */
export function readRecord(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
