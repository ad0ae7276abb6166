// What the tools stand on: when an installation is due, the order of the packages, the lock.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { installDifference } from './installed.mjs';
import { withLock } from './lock.mjs';
import { fingerprint, packages } from './workspace.mjs';

const temporary = mkdtempSync(join(tmpdir(), 'cloister-lib-'));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

describe('an installation is due', () => {
  const wanted = {
    '': { version: '0.0.0' },
    'packages/core': { version: '0.1.0' },
    'node_modules/@cloister/core': { link: true },
    'node_modules/rxjs': { version: '7.8.2' },
    'node_modules/fsevents': { version: '2.3.3', optional: true },
    'packages/core/node_modules/rxjs': { version: '6.0.0' },
  };
  const { '': _root, 'node_modules/fsevents': _platform, ...complete } = wanted;
  const without = (path: string) =>
    Object.fromEntries(Object.entries(complete).filter(([name]) => name !== path));

  test('not when all is there but other platforms', () => {
    expect(installDifference(wanted, complete)).toBeUndefined();
  });

  test.each([
    'node_modules/rxjs',
    'packages/core/node_modules/rxjs',
    'node_modules/@cloister/core',
  ])('when %s is missing', (path) =>
    expect(installDifference(wanted, without(path))).toContain(path),
  );

  test('when a version differs', () => {
    const other = { ...complete, 'node_modules/rxjs': { version: '7.8.1' } };
    expect(installDifference(wanted, other)).toContain('7.8.1');
  });
});

test('packages come after those they depend on', () => {
  const seen = new Set<string>();
  const names: string[] = packages().map(({ manifest }) => manifest.name);
  for (const { manifest } of packages()) {
    const needed = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
    const early = needed.filter((name) => names.includes(name) && !seen.has(name));
    expect(early).toEqual([]);
    seen.add(manifest.name);
  }
});

test('a fingerprint changes with a file', () => {
  const path = join(temporary, 'file');
  writeFileSync(path, 'a');
  const before = fingerprint([path]);
  expect(fingerprint([path])).toBe(before);
  writeFileSync(path, 'ab');
  expect(fingerprint([path])).not.toBe(before);
});

describe('the lock', () => {
  const path = join(temporary, 'lock');

  test('is held during the work and given back after a failure', async () => {
    let held = false;
    const failing = withLock(path, () => {
      held = existsSync(path);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect([held, existsSync(path)]).toEqual([true, false]);
  });

  test('is taken from an owner that is gone', async () => {
    mkdirSync(path);
    // No process has this id: the largest that Linux gives out is 2^22.
    writeFileSync(join(path, 'pid'), String(2 ** 22 + 1));
    await expect(withLock(path, () => 'done')).resolves.toBe('done');
  });
});
