// What a user downloads: the size of each package as npm packs it.
import { execFileSync } from 'node:child_process';
import { packages } from '../lib/workspace.mjs';

export const name = 'size';
export const description = 'KiB of each package, packed and unpacked';

export async function run(report) {
  for (const { dir, manifest } of packages()) {
    const args = ['pack', '--json', '--dry-run'];
    const shell = process.platform === 'win32';
    const stdio = ['ignore', 'pipe', 'ignore'];
    const output = execFileSync('npm', args, { cwd: dir, encoding: 'utf8', shell, stdio });
    // npm 12 keys the list by package name; earlier ones give an array.
    const [{ files, size, unpackedSize }] = Object.values(JSON.parse(output));
    report.row({
      package: manifest.name,
      files: files.length,
      'packed KiB': Math.round(size / 1024),
      'unpacked KiB': Math.round(unpackedSize / 1024),
    });
  }
}
