// The archive as another reader sees it, and as the kernel's documentation lays it out.
import fc from 'fast-check';
import { ArchiveReader, libarchiveWasm } from 'libarchive-wasm';
import { expect, test } from 'vitest';
import { cpio } from './cpio.mjs';

const library = await libarchiveWasm();

interface Listed {
  path: string;
  type: string;
  target: string | null;
  data: string;
}

/** What libarchive finds in an archive. */
function list(bytes: Buffer): Listed[] {
  const reader = new ArchiveReader(library, new Int8Array(bytes));
  const found: Listed[] = [];
  for (const entry of reader.entries()) {
    const size = entry.getSize();
    found.push({
      path: entry.getPathname(),
      type: entry.getFiletype(),
      target: entry.getSymlinkTarget() || null,
      data: size > 0 ? Buffer.from(entry.readData() ?? []).toString('latin1') : '',
    });
  }
  reader.free();
  return found;
}

test('another reader finds every kind of entry, parents first', () => {
  const archive = cpio([
    { path: 'bin/sh', type: 'symlink', target: 'busybox' },
    { path: '/init', mode: 0o755, data: Buffer.from('#!/bin/sh\n') },
    { path: 'dev/console', type: 'character-device', device: [5, 1] },
    { path: 'proc', type: 'directory' },
  ]);
  expect(list(archive)).toEqual([
    { path: 'bin', type: 'Directory', target: null, data: '' },
    { path: 'bin/sh', type: 'SymbolicLink', target: 'busybox', data: '' },
    { path: 'dev', type: 'Directory', target: null, data: '' },
    { path: 'dev/console', type: 'CharacterDevice', target: null, data: '' },
    { path: 'init', type: 'File', target: null, data: '#!/bin/sh\n' },
    { path: 'proc', type: 'Directory', target: null, data: '' },
  ]);
});

test('the header has the documented fields, without owner or time', () => {
  const archive = cpio([{ path: 'dev', type: 'character-device', mode: 0o600, device: [5, 1] }]);
  const fields = archive.toString('latin1', 6, 110).match(/.{8}/g);
  const [ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, name, check] =
    fields!.map((field) => Number.parseInt(field, 16));
  expect(archive.toString('latin1', 0, 6)).toBe('070701');
  expect({ ino, mode, uid, gid, nlink, mtime, size }).toEqual({
    ...{ ino: 1, mode: 0o020600, uid: 0, gid: 0, nlink: 1, mtime: 0, size: 0 },
  });
  expect([major, minor, rmajor, rminor, name, check]).toEqual([0, 0, 5, 1, 4, 0]);
});

test('the bytes depend on the entries and not on their order', () => {
  const entries = ['b/one', 'a', 'b.txt', 'b/two'].map((path) => ({
    path,
    data: Buffer.from(path),
  }));
  expect(cpio(entries).equals(cpio([...entries].reverse()))).toBe(true);
});

test.each([
  ['', 'not a path'],
  ['../up', 'not a path'],
  ['a\0b', 'not a path'],
  ['TRAILER!!!', 'cannot name a file'],
])('refuses the path %j', (path, reason) => {
  expect(() => cpio([{ path }])).toThrow(reason);
});

test('refuses two entries with one path, and a file used as a directory', () => {
  expect(() => cpio([{ path: 'a' }, { path: '/a' }])).toThrow('two entries');
  expect(() => cpio([{ path: 'a' }, { path: 'a/b' }])).toThrow('not a directory');
});

test('any files come back as they were put in', () => {
  const name = fc.stringMatching(/^[a-z]{1,9}$/);
  const files = fc.dictionary(name, fc.uint8Array({ maxLength: 64 }), { maxKeys: 12 });
  fc.assert(
    fc.property(files, (contents) => {
      const names = Object.keys(contents).sort();
      fc.pre(names.length > 0); // libarchive takes an archive of a trailer alone for nothing
      const archive = cpio(names.map((path) => ({ path, data: contents[path]! })));
      expect(archive.length % 4).toBe(0);
      expect(list(archive).map(({ path, data }) => [path, data])).toEqual(
        names.map((path) => [path, Buffer.from(contents[path]!).toString('latin1')]),
      );
    }),
    { numRuns: 50 },
  );
});
