// A whole fetch from an archive on a local port: verified, cached, repeated without a network, and
// refused where something is wrong.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { cacheDirectory } from './cache.mjs';
import type { Archive } from './fixtures.js';
import { KEYRING, makeBzImage, makeDeb, SIGNATURE, SIGNED, serveArchive } from './fixtures.js';
import { image, MIRROR_VARIABLE, NoImageError } from './image.mjs';
import { checkSignature } from './signature.mjs';

const VERSION = '6.1.0-56-cloud-amd64';
const NAME = `linux-image-${VERSION}`;
const elf = Buffer.from('\x7fELF and the rest', 'latin1');

let folder: string;
let archive: Archive;
const lines: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-image-'));
  lines.length = 0;
  const kernel = makeDeb({
    [`boot/vmlinuz-${VERSION}`]: makeBzImage(gzipSync(elf), elf.length),
    [`lib/modules/${VERSION}/modules.builtin`]: '',
    'usr/share/doc/text': 'not wanted',
  });
  archive = await serveArchive([
    { name: 'linux-image-cloud-amd64', depends: `${NAME} (= 1:6.1-1)`, deb: makeDeb({}) },
    { name: NAME, deb: kernel },
    { name: 'busybox-static', deb: makeDeb({ 'bin/busybox': 'static' }) },
  ]);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await archive.close();
  rmSync(folder, { recursive: true });
});

/** Without a keyring: the archive here is not signed by Debian. */
const options = () => ({
  mirror: archive.url,
  cache: join(folder, 'cache'),
  keyring: join(folder, 'no-keyring'),
  log: (line: string) => void lines.push(line),
});

test('gets kernel, modules and busybox, then needs no network', async () => {
  const guest = await image(options());
  expect(guest.version).toBe(VERSION);
  expect(guest.packages.map(({ name }) => name)).toEqual([NAME, 'busybox-static']);
  expect(readFileSync(guest.busyboxPath, 'utf8')).toBe('static');
  expect(readdirSync(guest.modulesDir)).toEqual(['modules.builtin']);
  expect(readFileSync(await guest.vmlinuxPath()).equals(elf)).toBe(true);
  expect(lines.join()).toMatch(/signature was NOT checked: no keyring/);

  const asked = archive.requests.length;
  const again = await image({ ...options(), offline: true });
  expect(again.kernelPath).toBe(guest.kernelPath);
  expect(archive.requests.length).toBe(asked);
  const unpacked = readdirSync(join(folder, 'cache', 'debian', 'bookworm'), { recursive: true });
  expect(unpacked.filter((path) => /doc|partial/.test(String(path)))).toEqual([]);
});

test('an update asks the archive again and downloads only what changed', async () => {
  await image(options());
  archive.requests.length = 0;
  await image({ ...options(), update: true });
  expect(archive.requests).toContain('/dists/bookworm/Release');
  expect(archive.requests.filter((path) => path.startsWith('/pool/'))).toEqual([]);
});

test('runs side by side end with one whole image', async () => {
  const guests = await Promise.all([1, 2, 3].map(() => image(options())));
  expect(new Set(guests.map(({ kernelPath }) => kernelPath)).size).toBe(1);
  const names = readdirSync(join(folder, 'cache', 'debian', 'bookworm'));
  expect(names.filter((name) => name.startsWith('.'))).toEqual([]);
  expect(names.length).toBe(3);
});

test('a record whose files are gone is not believed', async () => {
  const guest = await image(options());
  rmSync(guest.busyboxPath);
  await expect(image({ ...options(), offline: true })).rejects.toThrow(NoImageError);
});

test('a package that is not what the index says is refused, and nothing is kept', async () => {
  archive.files.get('/pool/busybox-static.deb')![200]! ^= 1;
  await expect(image(options())).rejects.toThrow('busybox-static has the wrong SHA-256');
  await expect(image({ ...options(), offline: true })).rejects.toThrow('is cached');
});

test('an index that is not what the release says is refused', async () => {
  const path = '/dists/bookworm/main/binary-amd64/Packages.gz';
  archive.files.get(path)![30]! ^= 1;
  await expect(image(options())).rejects.toThrow('wrong SHA-256');
});

test('a file longer than announced is cut off', async () => {
  const path = '/dists/bookworm/main/binary-amd64/Packages.gz';
  archive.files.set(path, Buffer.concat([archive.files.get(path)!, Buffer.alloc(10)]));
  await expect(image(options())).rejects.toThrow('more than');
});

test('errors name the way that failed, in one line', async () => {
  await expect(image({ ...options(), suite: 'sid' })).rejects.toThrow(/^mirror: .*status 404$/);
  await expect(image({ ...options(), mirror: 'http://example.invalid' })).rejects.toThrow('https');
  await expect(image({ ...options(), mirror: 'nonsense' })).rejects.toThrow('not a URL');
  await expect(image({ ...options(), suite: '../..' })).rejects.toThrow('not a suite');
  await expect(image({ ...options(), kernel: 'mine' as 'cloud' })).rejects.toThrow('generic');
});

test('without apt the mirror in the environment is used, and without that nothing', async () => {
  vi.stubEnv('PATH', join(folder, 'empty'));
  const { mirror, ...others } = options();
  vi.stubEnv(MIRROR_VARIABLE, '');
  await expect(image(others)).rejects.toThrow('no Debian mirror was named');
  vi.stubEnv(MIRROR_VARIABLE, mirror);
  expect((await image(others)).version).toBe(VERSION);
});

test('the cache is outside the repository', () => {
  expect(cacheDirectory({ CLOISTER_CACHE: '/c', XDG_CACHE_HOME: '/x' })).toBe('/c');
  expect(cacheDirectory({ XDG_CACHE_HOME: '/x' })).toBe(join('/x', 'cloister'));
  expect(cacheDirectory({})).toMatch(/\.cache.cloister$/);
});

const installed = (program: string) => spawnSync(program, ['--version']).error === undefined;

test.skipIf(!installed('gpgv') && !installed('sqv'))('a signature is checked', async () => {
  const keyring = join(folder, 'keyring.gpg');
  writeFileSync(keyring, KEYRING);
  const signed = { release: SIGNED, signature: SIGNATURE, keyring, folder };
  expect(await checkSignature(signed)).toMatchObject({ checked: true });
  const changed = { ...signed, release: Buffer.from('Suite: changed\n') };
  await expect(checkSignature(changed)).rejects.toThrow('is not good');
  await expect(image({ ...options(), keyring })).rejects.toThrow('signature is not good');
});
