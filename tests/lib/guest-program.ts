// Programs for guests, compiled from C when a test needs them: static, so that they run anywhere.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheDirectory, sha256 } from '../../tools/guest-image/index.mjs';

/** The path of the program whose source is `name` in this folder; why not, where it has none. */
export function guestProgram(name: string): { readonly path: string } | string {
  const source = fileURLToPath(new URL(name, import.meta.url));
  const folder = join(cacheDirectory(), 'tests');
  mkdirSync(folder, { recursive: true });
  const digest = sha256(readFileSync(source)).slice(0, 16);
  const path = join(folder, `${basename(name, '.c')}-${digest}`);
  const words = ['-Os', '-static', '-s', '-Wall', '-Werror', '-o', path, source];
  const { error, status, stderr } = spawnSync('gcc', words, { encoding: 'utf8' });
  if (error !== undefined) return 'there is no gcc';
  return status === 0 ? { path } : `gcc: ${stderr.trim().split('\n').at(-1)}`;
}
