// Style as a test: what can be said about a source file by looking at its text. The limits are
// those of CONTRIBUTING.md. Looks at tracked files and at untracked ones that git does not ignore.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packages, readJson, root } from './lib/workspace.mjs';

const COLUMNS_MAX = 100;
const LINES_GOAL = 450;
const LINES_MAX = 600;

const SOURCE = new Set(['.ts', '.mts', '.js', '.mjs', '.c', '.S', '.s']);
const TEXT = new Set([...SOURCE, '.md', '.json', '.yml', '.yaml', '.sh', '.lds', '.ld', '']);

/** The ports: the only places where the host's time or chance may enter. */
const PORTS = [
  /^packages\/[^/]+\/src\/(?:.*\/)?(host|wall|system|node)-[a-z0-9-]+\.ts$/,
  /^packages\/cli\/src\//,
  /^tools\//,
  /^tests\//,
  /\.test\.ts$/,
];

const listed = execFileSync('git', ['ls-files', '-z', '-c', '-o', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)));

const files = listed
  .filter((path) => /^(packages|tools|examples|tests)\//.test(path))
  .filter((path) => TEXT.has(extname(path)) && basename(path) !== 'LICENSE')
  .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
  .filter(({ text }) => !text.includes('\0'));

const sources = files.filter(({ path }) => SOURCE.has(extname(path)));
/** All but this file, which has to spell what it forbids. */
const others = files.filter(({ path }) => path !== 'tools/tidy.test.ts');

/** "path:line text" of every line that the predicate finds wrong. */
function wrongLines(among: typeof files, isWrong: (line: string) => boolean) {
  return among.flatMap(({ path, text }) =>
    text
      .split('\n')
      .map((line, index) => ({ line, where: `${path}:${index + 1}` }))
      .filter(({ line }) => isWrong(line))
      .map(({ line, where }) => `${where} ${line.trim().slice(0, 80)}`),
  );
}

describe('every source file', () => {
  test(`has lines of at most ${COLUMNS_MAX} columns`, () => {
    // A link or an import specifier cannot be broken.
    const long = wrongLines(sources, (line) => {
      return line.length > COLUMNS_MAX && !/https?:\/\/|^(import|export) .* from '/.test(line);
    });
    expect(long).toEqual([]);
  });

  test(`has at most ${LINES_MAX} lines`, () => {
    const counted = sources.map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }));
    for (const { path, lines } of counted) {
      if (lines > LINES_GOAL) process.stderr.write(`tidy: ${path} has ${lines} lines\n`);
    }
    expect(counted.filter(({ lines }) => lines > LINES_MAX)).toEqual([]);
  });

  test('opens with a comment that says what it is', () => {
    const opens = /^(#!.*\n)?(\/\/|\/\*|#|;)/;
    expect(sources.filter(({ text }) => !opens.test(text)).map(({ path }) => path)).toEqual([]);
  });

  test('has a kebab-case name', () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*$/;
    const wrong = sources.filter(({ path }) => !kebab.test(basename(path)));
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });

  test('leaves nothing for later', () => {
    const banned = /\b(TODO|FIXME|XXX)\b/;
    expect(wrongLines(others, (line) => banned.test(line))).toEqual([]);
  });

  test('takes time and chance from ports only', () => {
    const ambient = /\b(Math\.random|Date\.now|performance\.now|new Date\(\))/;
    const outside = sources.filter(({ path }) => !PORTS.some((port) => port.test(path)));
    expect(wrongLines(outside, (line) => ambient.test(line) && !isComment(line))).toEqual([]);
  });

  test('names no path of one machine', () => {
    const local = /\/tmp\/|\/work\/|\/home\/[a-z]|\/Users\/[A-Z]/;
    expect(wrongLines(others, (line) => local.test(line))).toEqual([]);
  });
});

describe('every package', () => {
  for (const { dir, manifest } of packages()) {
    test(`${manifest.name} carries the licence and says what npm needs`, () => {
      const license = readFileSync(join(root, 'LICENSE'), 'utf8');
      expect(readFileSync(join(dir, 'LICENSE'), 'utf8')).toBe(license);
      expect(existsSync(join(dir, 'README.md'))).toBe(true);
      expect(manifest).toMatchObject({
        license: 'Apache-2.0',
        type: 'module',
        engines: { node: '>=20.19' },
        publishConfig: { access: 'public' },
      });
      expect(manifest.scripts?.install ?? manifest.scripts?.postinstall).toBeUndefined();
    });
  }

  test('the lock file knows the packages of every platform', () => {
    // npm drops platform packages that its registry cannot serve; npm ci then refuses the file.
    const lock: Record<string, { optionalDependencies?: object }> = readJson(
      join(root, 'package-lock.json'),
    ).packages;
    const wanted = Object.values(lock).flatMap((entry) =>
      Object.keys(entry.optionalDependencies ?? {}),
    );
    const missing = wanted.filter(
      (name) => !Object.keys(lock).some((path) => path.endsWith(`node_modules/${name}`)),
    );
    expect(missing).toEqual([]);
  });

  test('the lock file names no registry', () => {
    const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
    expect(lock).not.toMatch(/"resolved": "https?:/);
  });
});

function isComment(line: string): boolean {
  return /^\s*(\/\/|\*|\/\*)/.test(line);
}
