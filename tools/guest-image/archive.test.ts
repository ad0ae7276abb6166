// Packages and .xz streams made by dpkg-deb and xz, whole and damaged.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { decompressXz, isXz, unpackDeb } from './archive.mjs';
import { branches, DEB, makeDeb, XZ_X86 } from './fixtures.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-archive-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('unpacks the wanted files of a package', async () => {
  const seen: string[] = [];
  const unpacked = await unpackDeb(DEB, folder, (path) => {
    seen.push(path);
    return path.startsWith('bin/');
  });
  expect(seen).toEqual(['bin/tool', 'usr/share/doc/text']);
  expect(unpacked).toEqual(['bin/tool']);
  expect(readFileSync(join(folder, 'bin/tool'), 'utf8')).toBe('a tool\n');
});

test('a path that leaves the destination is not unpacked', async () => {
  const deb = makeDeb({ '../outside': 'x', 'a/../../outside': 'x', inside: 'y' });
  expect(await unpackDeb(deb, join(folder, 'to'), () => true)).toEqual(['inside']);
});

test('a package whose archive breaks off is an error, not a shorter archive', async () => {
  const damaged = Buffer.from(DEB);
  damaged[damaged.length - 150]! ^= 1; // within the compressed data.tar
  await expect(unpackDeb(damaged, folder, () => true)).rejects.toThrow();
  const tar = makeDeb({ one: 'x'.repeat(600), two: 'y' });
  tar[tar.length - 2048]! ^= 1; // the header of the second file
  await expect(unpackDeb(tar, folder, () => true)).rejects.toThrow();
});

test('refuses what is no package', async () => {
  await expect(unpackDeb(makeDeb({}).subarray(0, 72), folder, () => true)).rejects.toThrow();
  await expect(unpackDeb(Buffer.from('text'), folder, () => true)).rejects.toThrow();
});

test('decompresses xz with the x86 filter, as kernels have it', async () => {
  const plain = branches();
  expect(isXz(XZ_X86)).toBe(true);
  expect((await decompressXz(XZ_X86, plain.length)).equals(plain)).toBe(true);
});

test('any one damaged byte of an xz stream is noticed', async () => {
  const plain = branches();
  await fc.assert(
    fc.asyncProperty(
      fc.nat(XZ_X86.length - 1),
      fc.integer({ min: 1, max: 255 }),
      async (at, by) => {
        const damaged = Buffer.from(XZ_X86);
        damaged[at]! ^= by;
        const output = await decompressXz(damaged, plain.length).catch(() => undefined);
        if (output !== undefined) expect(output.equals(plain)).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

test.each([0, 5, 12, 23, 40])('refuses an xz stream cut off after %i bytes', async (length) => {
  await expect(decompressXz(XZ_X86.subarray(0, length), 480)).rejects.toThrow();
});
