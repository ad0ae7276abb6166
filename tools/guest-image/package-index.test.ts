// Debian's order of versions, and the fields taken from its indexes.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  compareVersions,
  kernelDependency,
  newest,
  parsePackages,
  parseParagraph,
  releaseChecksum,
} from './package-index.mjs';

/** Ascending, by Debian Policy 5.6.12 and by what dpkg --compare-versions says. */
const ASCENDING = [
  ...['0~~', '0~~a', '0~', '0', '0a', '0+', '1.0~rc1-1', '1.0-1', '1.0-1+deb12u1', '1.0-1.1'],
  ...['1.0-10', '1.0a-1', '1.0+b-1', '1.2', '1.10', '6.1.99-1', '6.1.176-1', '6.1.192-2', '1:0.1'],
];

test('versions are ordered as dpkg orders them', () => {
  for (let i = 0; i < ASCENDING.length; i++) {
    for (let j = 0; j < ASCENDING.length; j++) {
      const order = Math.sign(compareVersions(ASCENDING[i]!, ASCENDING[j]!));
      expect([ASCENDING[i], ASCENDING[j], order]).toEqual([
        ...[ASCENDING[i], ASCENDING[j], Math.sign(i - j)],
      ]);
    }
  }
});

test('any two versions have one order, whichever comes first', () => {
  const version = fc.stringMatching(/^([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z.+~]{1,4})?$/);
  fc.assert(
    fc.property(version, version, (a, b) => {
      expect(Math.sign(compareVersions(a, b))).toBe(-Math.sign(compareVersions(b, a)) + 0);
      expect(compareVersions(a, a)).toBe(0);
    }),
  );
});

const SHA = 'a'.repeat(64);
const paragraph = (name: string, version: string) =>
  `Package: ${name}\nVersion: ${version}\nDescription: two\n lines\nSize: 7\n` +
  `Depends: kmod, linux-image-6.1.0-56-amd64 (= 6.1.192-2)\nFilename: pool/x.deb\nSHA256: ${SHA}\n`;

test('finds the wanted packages in an index, the newest of several', () => {
  const text = ['apt', 'linux-image-amd64', 'linux-image-amd64']
    .map((name, index) => paragraph(name, `6.1.${9 + index}`))
    .join('\n');
  const entries = parsePackages(text, (name: string) => name === 'linux-image-amd64');
  expect(entries.map(({ version }) => version)).toEqual(['6.1.10', '6.1.11']);
  expect(newest(entries)).toMatchObject({ version: '6.1.11', size: 7, sha256: SHA });
  expect(kernelDependency(entries[0]!)).toEqual({
    name: 'linux-image-6.1.0-56-amd64',
    version: '6.1.192-2',
  });
});

test('refuses an entry without a checksum, and a metapackage without a kernel', () => {
  const text = paragraph('busybox-static', '1').replace(SHA, 'none');
  expect(() => parsePackages(text, () => true)).toThrow('"busybox-static" is incomplete');
  const [entry] = parsePackages(paragraph('x', '1').replace('linux-image', 'vmware'), () => true);
  expect(() => kernelDependency(entry!)).toThrow('depends on no kernel');
});

test('finds a checksum in a Release file', () => {
  const release = parseParagraph(
    `Suite: stable\nMD5Sum:\n ${'b'.repeat(32)} 5 main/x\nSHA256:\n ${SHA}  5 main/x\n`,
  );
  expect(releaseChecksum(release, 'main/x')).toEqual({ sha256: SHA, size: 5 });
  expect(releaseChecksum(release, 'main/y')).toBeUndefined();
});

test('any text is parsed without an error', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'ab: \n\tPackage') }), (text) => {
      expect(parseParagraph(text)).toBeInstanceOf(Map);
    }),
  );
});
