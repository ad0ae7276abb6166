// Builds the packages: JavaScript by tsup (one bundle per entry, shared chunks, source maps),
// declarations by tsc. Entries are what package.json `exports` names, plus src/*worker.ts and
// src/reflection.ts.
// A package is built only when its inputs changed; a failed build leaves the last one in place.
//
//   node tools/build.mjs [--no-types] [--force]
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { NODE_PACKAGES } from './check-imports.mjs';
import { coreImagePlugin } from './core-image.mjs';
import { withLock } from './lib/lock.mjs';
import { cacheDir, filesUnder, fingerprint, packages, root } from './lib/workspace.mjs';

const isTest = (path) => /\.test\.[cm]?[jt]s$/.test(path);
const isDeclaration = (path) => path.endsWith('.d.ts');

/** Entry name to source file: {"testing/index": "./src/testing/index.ts"}. */
function entries({ dir, manifest }) {
  const table = {};
  for (const target of Object.values(manifest.exports)) {
    if (typeof target !== 'object') continue;
    // The entry for everybody, and the one that a `node` condition may name.
    for (const path of [target.import, target.node?.import ?? target.import]) {
      const name = path.replace(/^\.\/dist\//, '').replace(/\.js$/, '');
      table[name] = `./src/${name}.ts`;
    }
  }
  for (const file of existsSync(join(dir, 'src')) ? readdirSync(join(dir, 'src')) : []) {
    if (/(worker|^reflection)\.ts$/.test(file)) table[file.replace(/\.ts$/, '')] = `./src/${file}`;
  }
  return table;
}

function inputs(pkg) {
  return [
    ...filesUnder(join(pkg.dir, 'src')).filter((path) => !isTest(path)),
    join(pkg.dir, 'package.json'),
    join(pkg.dir, 'tsconfig.build.json'),
    join(root, 'tsconfig.base.json'),
    join(root, 'tools', 'build.mjs'),
    join(root, 'tools', 'core-image.mjs'),
  ];
}

const stampPath = (pkg, part) =>
  join(cacheDir, `${pkg.manifest.name.replace('/', '-')}.${part}.stamp`);

/** What a part of a package was last built from, or '' when its output is not there. */
function lastBuild(pkg, part) {
  const extension = part === 'js' ? 'js' : 'd.ts';
  const outputs = Object.keys(entries(pkg)).map((name) =>
    join(pkg.dir, 'dist', `${name}.${extension}`),
  );
  const stamp = stampPath(pkg, part);
  if (!existsSync(stamp) || !outputs.every((path) => existsSync(path))) return '';
  return readFileSync(stamp, 'utf8');
}

/** The builds that are due. Declarations also depend on those of the packages before. */
export function staleParts({ types = true } = {}) {
  const due = [];
  let upstream = '';
  for (const pkg of packages()) {
    const own = fingerprint(inputs(pkg));
    upstream += own;
    if (lastBuild(pkg, 'js') !== own) due.push({ pkg, part: 'js', from: own });
    if (types && lastBuild(pkg, 'types') !== upstream) {
      due.push({ pkg, part: 'types', from: upstream });
    }
  }
  return due;
}

/** Replaces the part of dist that `matches` by what was built in `from`. */
function install(from, dist, matches) {
  const built = filesUnder(from).map((path) => relative(from, path));
  for (const path of built) {
    mkdirSync(dirname(join(dist, path)), { recursive: true });
    copyFileSync(join(from, path), join(dist, path));
  }
  const current = new Set(built);
  for (const path of filesUnder(dist).map((file) => relative(dist, file))) {
    if (matches(path) && !current.has(path)) rmSync(join(dist, path));
  }
  rmSync(from, { recursive: true, force: true });
}

const needsNode = (pkg) => NODE_PACKAGES.includes(`packages/${basename(pkg.dir)}`);

async function buildJs(pkg) {
  const missing = Object.values(entries(pkg)).filter((path) => !existsSync(join(pkg.dir, path)));
  if (missing.length > 0) {
    throw new Error(`${pkg.manifest.name}: package.json exports need ${missing.join(', ')}`);
  }
  const { build } = await import('tsup');
  process.chdir(pkg.dir);
  await build({
    config: false,
    entry: entries(pkg),
    outDir: '.build',
    format: 'esm',
    target: 'es2022',
    // Neutral: a package that must run in a browser fails to build when it imports node:.
    platform: needsNode(pkg) ? 'node' : 'neutral',
    splitting: true,
    sourcemap: true,
    clean: true,
    dts: false,
    silent: true,
    tsconfig: 'tsconfig.build.json',
    skipNodeModulesBundle: true,
    esbuildPlugins: [coreImagePlugin],
    // esbuild remembers the folder that was current when it was loaded.
    esbuildOptions: (options) => void Object.assign(options, { absWorkingDir: pkg.dir }),
  });
  process.chdir(root);
  install(join(pkg.dir, '.build'), join(pkg.dir, 'dist'), (path) => !isDeclaration(path));
}

function buildTypes(pkg) {
  rmSync(join(pkg.dir, '.build'), { recursive: true, force: true });
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--pretty', 'false'], {
    cwd: pkg.dir,
    stdio: ['ignore', 2, 2],
  });
  install(join(pkg.dir, '.build'), join(pkg.dir, 'dist'), isDeclaration);
}

export async function buildStale({ types = true } = {}) {
  if (staleParts({ types }).length === 0) return;
  await withLock(join(cacheDir, 'build.lock'), async () => {
    for (const { pkg, part, from } of staleParts({ types })) {
      process.stderr.write(`building ${pkg.manifest.name} (${part})\n`);
      if (part === 'js') await buildJs(pkg);
      else buildTypes(pkg);
      mkdirSync(cacheDir, { recursive: true });
      writeFileSync(stampPath(pkg, part), from);
    }
  });
}

async function main(args) {
  if (args.includes('--force')) {
    for (const pkg of packages()) {
      for (const part of ['js', 'types']) rmSync(stampPath(pkg, part), { force: true });
    }
  }
  try {
    await buildStale({ types: !args.includes('--no-types') });
  } catch (error) {
    process.stderr.write(`build: ${error.message}\n`);
    process.exitCode = 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  await main(process.argv.slice(2));
