/**
 * How this package's Workers are started. Their entries lie beside the bundle, or in it as seen
 * from the source. Of the process' flags they get those that matter to them: some that fit a main
 * program, such as `--input-type`, make a Worker fail.
 */
import { existsSync } from 'node:fs';

export function workerUrl(name: string): URL {
  const urls = ['./', '../dist/'].map((place) => new URL(`${place}${name}.js`, import.meta.url));
  return urls.find((url) => existsSync(url)) ?? urls[0]!;
}

const KEPT = ['--no-addons', '--no-warnings'];

export function workerFlags(): string[] {
  return process.execArgv.filter((flag) => KEPT.includes(flag));
}
