// Modules with what they depend on, from a folder laid out as Debian's kernel packages are.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeModule } from './fixtures.js';
import { initramfs } from './initramfs.mjs';
import { dependenciesOf, modulesDep, resolveModules } from './modules.mjs';

let folder: string;
const put = (path: string, data: Uint8Array | string) => {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), data);
};

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-modules-'));
  put('modules.builtin', 'kernel/fs/ext4/ext4.ko\n');
  put('kernel/virtio/virtio-ring.ko', makeModule('license=GPL', 'depends='));
  put('kernel/virtio/virtio.ko', makeModule('depends=virtio_ring'));
  put('kernel/block/virtio_blk.ko', makeModule('name=virtio_blk', 'depends=virtio,virtio_ring'));
  put('kernel/odd/orphan.ko', makeModule('depends=nothing_like_it'));
  put('kernel/odd/left.ko', makeModule('depends=right'));
  put('kernel/odd/right.ko', makeModule('depends=left'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const BLK = 'kernel/block/virtio_blk.ko';
const VIRTIO = 'kernel/virtio/virtio.ko';
const RING = 'kernel/virtio/virtio-ring.ko';

test('brings what a module needs before it, each once, without what is built in', async () => {
  const modules = await resolveModules(folder, ['virtio-blk', 'ext4', 'virtio_ring']);
  expect(modules.map(({ path }) => path)).toEqual([RING, VIRTIO, BLK]);
  expect(modulesDep(modules)).toBe(`${RING}:\n${VIRTIO}: ${RING}\n${BLK}: ${VIRTIO} ${RING}\n`);
});

test('a module stands behind all that need it, whatever order its own names have', async () => {
  put('kernel/block/other.ko', makeModule('depends=virtio_ring,virtio'));
  const modules = await resolveModules(folder, ['other']);
  expect(modulesDep(modules)).toContain(`kernel/block/other.ko: ${VIRTIO} ${RING}\n`);
});

test('names the module that is missing, and who needs it', async () => {
  await expect(resolveModules(folder, ['nope'])).rejects.toThrow('no module nope');
  await expect(resolveModules(folder, ['orphan'])).rejects.toThrow(
    'no module nothing_like_it, which orphan needs',
  );
  await expect(resolveModules(folder, ['left'])).rejects.toThrow('need each other');
});

test('an initial root file system carries them for modprobe', async () => {
  const options = { init: '#!/bin/sh\n', modulesDir: folder, version: '6.1' };
  const bytes = await initramfs({ ...options, modules: ['virtio_blk'] });
  for (const path of [BLK, VIRTIO, RING, 'modules.dep']) {
    expect(bytes.includes(`lib/modules/6.1/${path}\0`)).toBe(true);
  }
  expect(bytes.equals(await initramfs({ ...options, modules: ['virtio_blk'] }))).toBe(true);
  await expect(initramfs({ init: '', modules: ['x'] })).rejects.toThrow('modules need');
});

test('damaged modules are errors, never anything worse', () => {
  const module = makeModule('depends=one,two-b');
  expect(dependenciesOf(module)).toEqual(['one', 'two_b']);
  fc.assert(
    fc.property(fc.nat(module.length - 1), fc.nat(255), (at, value) => {
      const damaged = Buffer.from(module);
      damaged[at] = value;
      try {
        expect(dependenciesOf(damaged)).toBeInstanceOf(Array);
      } catch (error) {
        expect((error as Error).message).toMatch(/^(not a|ELF file)/);
      }
    }),
    { numRuns: 500 },
  );
});
