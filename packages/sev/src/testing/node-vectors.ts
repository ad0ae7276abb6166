/**
 * Test vectors that are not in this repository: found through $CLOISTER_VECTORS, or beside the
 * checkout in `shared/vectors`. Used by tests only.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const beside = fileURLToPath(new URL('../../../../../shared/vectors', import.meta.url));
export const vectorFolder = process.env['CLOISTER_VECTORS'] ?? beside;

/** Why the vectors are not run, or undefined. */
export function vectorsAbsent(set: string): string | undefined {
  if (existsSync(join(vectorFolder, set))) return undefined;
  return `no vectors: neither $CLOISTER_VECTORS nor ../shared/vectors has ${set}`;
}

export function vectorBytes(path: string): Uint8Array {
  return readFileSync(join(vectorFolder, path));
}

export function vectorJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(vectorFolder, path), 'utf8')) as T;
}
