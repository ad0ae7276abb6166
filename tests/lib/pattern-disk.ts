/**
 * A disk of half a MiB for guests to copy from its first half to its second.
 */
import { writeFileSync } from 'node:fs';

/** Writes it to `path`, which is returned: a pattern, then nothing. */
export function makePatternDisk(path: string): string {
  const bytes = Buffer.alloc(512 * 1024);
  for (let at = 0; at < bytes.length / 2; at++) bytes[at] = (at * 7 + (at >> 8)) & 0xff;
  writeFileSync(path, bytes);
  return path;
}
