// Disks of the host's: files, and overlays over files.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Disk } from '../blk/disk.js';
import { fileDisk } from './file-disk.js';
import { overlayDisk } from './overlay-disk.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-disk-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What this process has open; nothing where /proc does not tell. */
function openFiles(): string[] {
  const fds = '/proc/self/fd';
  return (existsSync(fds) ? readdirSync(fds) : []).map((fd) => {
    try {
      return readlinkSync(join(fds, fd));
    } catch {
      return ''; // closed meanwhile, as that of the listing itself
    }
  });
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

async function readAll(disk: Disk, offset: number, length: number): Promise<Uint8Array> {
  const data = new Uint8Array(length);
  await disk.read(offset, data);
  return data;
}

const SIZE = 10 * 4096 + 512;
let count = 0;
function image(size = SIZE): { path: string; contents: Uint8Array } {
  const contents = Uint8Array.from({ length: size }, (_, i) => (i * 31) >> 3);
  const path = join(folder, `disk${count++}`);
  writeFileSync(path, contents);
  return { path, contents };
}

/** A write (or zeroes) of whole sectors. */
const change = fc
  .tuple(fc.nat(SIZE / 512 - 1), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 255 }))
  .map(([sector, sectors, value]) => {
    const offset = sector * 512;
    return { offset, length: Math.min(sectors * 512, SIZE - offset), value };
  });

describe('a file disk', () => {
  it('reads, writes and zeroes in place', async () => {
    const { path, contents } = image();
    const disk = fileDisk(path);
    expect(disk.size).toBe(SIZE);
    expect(await readAll(disk, 512, 1024)).toEqual(contents.slice(512, 1536));
    await disk.write(1024, new Uint8Array(512).fill(9));
    await disk.writeZeroes(4096, 512);
    await disk.flush();
    await disk.close();
    contents.fill(9, 1024, 1536);
    contents.fill(0, 4096, 4608);
    expect(new Uint8Array(readFileSync(path))).toEqual(contents);
  });

  it('has whole sectors only', () => {
    const disk = fileDisk(image(1300).path);
    expect(disk.size).toBe(1024);
    void disk.close();
  });

  it('is refused when it cannot be a disk', () => {
    expect(() => fileDisk(join(folder, 'none'))).toThrow(/there is no such file/);
    expect(() => fileDisk(folder)).toThrow(/it is a directory/);
    expect(() => fileDisk('/dev/null')).toThrow(/neither a file nor a block device/);
  });
});

describe('an overlay', () => {
  it('reads as a disk would, keeps the base, and is there again', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 20 }),
        fc.nat(20),
        async (changes, reopenAt) => {
          const { path, contents } = image();
          const before = contents.slice();
          const options = { base: path, overlay: `${path}.cow` };
          let disk = overlayDisk(options);
          expect(disk.size).toBe(SIZE);
          for (const [index, { offset, length, value }] of changes.entries()) {
            if (value === 0) await disk.writeZeroes(offset, length);
            else await disk.write(offset, new Uint8Array(length).fill(value));
            contents.fill(value, offset, offset + length);
            if (index === reopenAt) {
              await disk.close();
              disk = overlayDisk(options);
            }
            expect(same(await readAll(disk, 0, SIZE), contents)).toBe(true);
          }
          await disk.close();
          const again = overlayDisk(options);
          expect(same(await readAll(again, 0, SIZE), contents)).toBe(true);
          await again.close();
          expect(same(readFileSync(path), before)).toBe(true);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('that is cut off keeps all that was flushed', async () => {
    const { path, contents } = image();
    const disk = overlayDisk({ base: path, overlay: `${path}.cow` });
    await disk.write(4096, new Uint8Array(4096).fill(1));
    await disk.flush();
    await disk.write(8192, new Uint8Array(4096).fill(2));
    // No close: as when the process is killed.
    copyFileSync(`${path}.cow`, `${path}.left`);
    const again = overlayDisk({ base: path, overlay: `${path}.left` });
    expect(await readAll(again, 4096, 4096)).toEqual(new Uint8Array(4096).fill(1));
    expect(await readAll(again, 8192, 4096)).toEqual(contents.slice(8192, 12_288));
    await again.close();
    await disk.close();
  });

  it('is refused over another base, or a changed one, or when it is something else', async () => {
    const { path } = image();
    const overlay = `${path}.cow`;
    await overlayDisk({ base: path, overlay }).close();
    const { atime, mtime } = statSync(path);
    utimesSync(path, atime, new Date(mtime.getTime() + 5000));
    expect(() => overlayDisk({ base: path, overlay })).toThrow(/has changed since/);
    utimesSync(path, atime, mtime);
    truncateSync(path, 4096);
    expect(() => overlayDisk({ base: path, overlay })).toThrow(/has changed since/);
    writeFileSync(overlay, 'something else');
    expect(() => overlayDisk({ base: path, overlay })).toThrow(/is no overlay/);
    expect(() => overlayDisk({ base: path, overlay: folder })).toThrow(/it is a directory/);
    // The base is not left open, where Linux tells.
    expect(openFiles()).not.toContain(path);
  });
});

describe('a disk in use', () => {
  const hasFlock = spawnSync('flock', ['--version']).error === undefined;
  const open = (path: string, readOnly: boolean) => fileDisk(path, { readOnly });

  it.skipIf(!hasFlock)('has one writer or many readers, by its own lock', async () => {
    const { path } = image();
    const writer = open(path, false);
    expect(() => open(path, false)).toThrow('is in use by another VM');
    expect(() => open(path, true)).toThrow('is being written to by another VM');
    await writer.close();
    const readers = [open(path, true), open(path, true)];
    expect(() => open(path, false)).toThrow('is in use by another VM');
    for (const reader of readers) await reader.close();
    await open(path, false).close();
  });

  it.skipIf(!hasFlock)('is free again when its process was killed', async () => {
    const { path } = image();
    const hold = `const { openSync } = require('node:fs'), fd = openSync(process.argv[1], 'r+');
      const stdio = ['ignore', 'ignore', 'ignore', fd];
      require('node:child_process').spawnSync('flock', ['-n', '-x', '3'], { stdio });
      console.log('held'); setInterval(() => {}, 1000)`;
    const holder = spawn(process.execPath, ['-e', hold, path]);
    await once(holder.stdout, 'data');
    expect(() => open(path, false)).toThrow('is in use by another VM');
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await open(path, false).close();
  });

  it.skipIf(!hasFlock)('has its overlay to itself, and shares its base', async () => {
    const { path: base } = image();
    const overlay = `${base}.overlay`;
    const first = overlayDisk({ base, overlay });
    expect(() => overlayDisk({ base, overlay })).toThrow('is in use by another VM');
    const other = overlayDisk({ base, overlay: `${base}.other` });
    expect(() => open(base, false)).toThrow('is in use by another VM');
    await first.close();
    await other.close();
  });

  it('is neither locked nor made in a replay', async () => {
    const { path: base, contents } = image();
    const overlay = `${base}.overlay`;
    const writer = open(base, false);
    const disks = [
      fileDisk(base, { replaying: true }),
      overlayDisk({ base, overlay, replaying: true }),
    ];
    for (const disk of disks) {
      expect([disk.size, disk.readOnly]).toEqual([contents.length, false]);
      await disk.close();
    }
    expect(existsSync(overlay)).toBe(false);
    await writer.close();
  });
});
