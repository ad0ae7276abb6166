// The direction of imports, as a table. A package may import what its row lists, its own files and
// what its package.json declares; folders with a row of their own are stricter. A broken rule is
// printed with file and line. Tests may import more (`dev` adds what only they may use).
//
//   node tools/check-imports.mjs
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { filesUnder, readJson, root } from './lib/workspace.mjs';

/** core <- virtio, sev, backend-emu, backend-kvm <- cli, examples. */
export const PACKAGE_RULES = {
  'packages/core': [],
  'packages/backend-emu': ['@cloister/core'],
  'packages/backend-kvm': ['@cloister/core'],
  'packages/sev': ['@cloister/core'],
  'packages/virtio': ['@cloister/core'],
  'packages/cli': [
    '@cloister/core',
    '@cloister/backend-emu',
    '@cloister/backend-kvm',
    '@cloister/sev',
    '@cloister/virtio',
  ],
};

/** Inside a package: what a folder may import of its own package (`*` any), and from outside. */
export const FOLDER_RULES = [
  {
    folder: 'packages/core/src/interfaces',
    inside: ['interfaces'],
    outside: ['rxjs'],
    why: 'interfaces depend on nothing; an Observable may appear in a type',
  },
  {
    folder: 'packages/backend-emu/src/isa',
    not: ['interp', 'jit'],
    why: 'a description never knows who emits it',
  },
  {
    folder: 'packages/backend-emu/src/wasm',
    inside: ['wasm'],
    why: 'the byte emitter knows WebAssembly and nothing of processors',
  },
];

/** Packages that may use Node's own modules; the others run in a browser. */
export const NODE_PACKAGES = ['packages/cli', 'packages/backend-kvm'];

/** In the others, files that only the `node` export condition or a `node` entry leads to. */
const NODE_FILE =
  /^packages\/(sev\/src\/[^/]+\/node-[a-z0-9-]+|virtio\/src\/node\/(?:share\/)?[a-z0-9-]+)\.ts$/;

const IMPORT =
  /(?:^|[\s;])(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?\s*'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm;

const isTest = (path) => /\.test\.[cm]?[jt]s$/.test(path);
const posix = (path) => path.split(sep).join('/');

/** Import specifiers of a source text with their line. */
export function importsOf(text) {
  const code = text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' '))
    .replace(/^[ \t]*\/\/.*$/gm, '');
  return [...code.matchAll(IMPORT)].map((match) => {
    const skipped = match[0].length - match[0].trimStart().length;
    return {
      specifier: match[1] ?? match[2],
      line: code.slice(0, match.index + skipped).split('\n').length,
    };
  });
}

const packageOf = (specifier) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** What is wrong with one import of one file, or undefined. `file` is relative to the root. */
export function problemWith(file, { specifier }, manifest) {
  const pkg = Object.keys(PACKAGE_RULES).find((name) => file.startsWith(`${name}/`));
  if (pkg === undefined) return problemInExample(file, specifier);
  if (specifier.startsWith('.')) return problemInside(file, pkg, specifier);
  if (isTest(file)) return undefined;
  if (specifier.startsWith('node:')) {
    return NODE_PACKAGES.includes(pkg) || NODE_FILE.test(file)
      ? undefined
      : `${pkg} must run in a browser`;
  }
  const name = packageOf(specifier);
  if (name.startsWith('@cloister/') && !PACKAGE_RULES[pkg].includes(name)) {
    return `${pkg} may not depend on ${name}`;
  }
  const declared = { ...manifest.dependencies, ...manifest.peerDependencies };
  if (!(name in declared)) return `${name} is not a dependency in ${pkg}/package.json`;
  const rule = FOLDER_RULES.find(({ folder }) => file.startsWith(`${folder}/`));
  const outside = rule?.outside ?? (rule?.inside ? [] : undefined);
  return outside && !outside.includes(name) ? rule.why : undefined;
}

function problemInside(file, pkg, specifier) {
  if (!/\.(js|mjs|json)$/.test(specifier)) return 'a relative import names its file, with .js';
  const target = posix(relative(root, resolve(root, dirname(file), specifier)));
  if (!target.startsWith(`${pkg}/`)) return 'other packages are imported by name';
  const rule = FOLDER_RULES.find(({ folder }) => file.startsWith(`${folder}/`));
  if (rule === undefined || isTest(file)) return undefined;
  const folder = target.slice(`${pkg}/src/`.length).split('/')[0];
  if (rule.inside && !rule.inside.includes(folder)) return rule.why;
  return rule.not?.includes(folder) ? rule.why : undefined;
}

/** Examples are what users write: published entry points only, never a path into packages/. */
function problemInExample(file, specifier) {
  const target = posix(relative(root, resolve(root, dirname(file), specifier)));
  const reachesIn = specifier.startsWith('.') && target.startsWith('packages/');
  if (reachesIn || /^@cloister\/[^/]+\/(src|dist)\//.test(specifier)) {
    return 'examples import published entry points only';
  }
  return undefined;
}

export function checkImports() {
  const problems = [];
  const folders = [...Object.keys(PACKAGE_RULES).map((name) => `${name}/src`), 'examples'];
  for (const folder of folders) {
    const manifestPath = join(root, folder, '..', 'package.json');
    const manifest = existsSync(manifestPath) ? readJson(manifestPath) : {};
    for (const path of filesUnder(join(root, folder))) {
      const file = posix(relative(root, path));
      if (!/\.[cm]?[jt]s$/.test(file) || /\/(node_modules|dist)\//.test(file)) continue;
      for (const found of importsOf(readFileSync(path, 'utf8'))) {
        const problem = problemWith(file, found, manifest);
        if (problem) problems.push(`${file}:${found.line} '${found.specifier}': ${problem}`);
      }
    }
  }
  return problems;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const problems = checkImports();
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
