// The workspace as the tools see it: where it is, which packages it has and in what order they
// are built. Plain JavaScript on Node's own modules: setup.mjs runs it before npm ci has.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const cacheDir = join(root, 'node_modules', '.cache', 'cloister');

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Every file under `dir`, sorted, as absolute paths; nothing when there is no such folder. */
export function filesUnder(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** Packages under packages/, those that others depend on first. */
export function packages() {
  const found = readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name))
    .filter((dir) => existsSync(join(dir, 'package.json')))
    .map((dir) => ({ dir, manifest: readJson(join(dir, 'package.json')) }));
  const byName = new Map(found.map((pkg) => [pkg.manifest.name, pkg]));
  const ordered = new Set();
  const visit = (pkg, trail) => {
    if (ordered.has(pkg)) return;
    const { name } = pkg.manifest;
    if (trail.includes(name)) throw new Error(`packages depend in a circle: ${trail} ${name}`);
    for (const needed of localDependencies(pkg.manifest, byName)) {
      visit(byName.get(needed), [...trail, name]);
    }
    ordered.add(pkg);
  };
  for (const pkg of found) visit(pkg, []);
  return [...ordered];
}

function localDependencies(manifest, byName) {
  const all = { ...manifest.dependencies, ...manifest.peerDependencies };
  return Object.keys(all).filter((name) => byName.has(name));
}

/** A cheap fingerprint: a changed, added, removed or touched file changes it. */
export function fingerprint(paths) {
  return paths
    .map((path) => {
      const { size, mtimeMs } = statSync(path);
      return `${relative(root, path)} ${size} ${mtimeMs}`;
    })
    .join('\n');
}
