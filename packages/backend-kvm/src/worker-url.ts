/**
 * Where the entries of this package's Workers lie: beside the bundle, or in it as seen from the
 * source.
 */
import { existsSync } from 'node:fs';

export function workerUrl(name: string): URL {
  const urls = ['./', '../dist/'].map((place) => new URL(`${place}${name}.js`, import.meta.url));
  return urls.find((url) => existsSync(url)) ?? urls[0]!;
}
