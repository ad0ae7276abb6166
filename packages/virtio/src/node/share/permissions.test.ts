// Owners, groups and bits of what a guest makes and changes, and times of before 1970.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FATTR, OP } from '../../fs/fuse.js';
import type { ShareServer } from '../../fs/share.js';
import { FuseClient, fuseBody } from '../../testing/fuse-client.js';
import { hostShare } from './host-share.js';

const isLinux = process.platform === 'linux';
const isRoot = process.geteuid?.() === 0;

let share: string;
let server: ShareServer;
let guest: FuseClient;
const host = (name: string) => join(share, name);
const bits = (name: string) => fs.statSync(host(name)).mode & 0o7777;

beforeEach(async () => {
  share = fs.mkdtempSync(join(tmpdir(), 'share-'));
  if (!isLinux) return;
  server = hostShare({ directory: share });
  guest = new FuseClient(server);
  await guest.init();
});
afterEach(async () => {
  await server?.close();
  fs.rmSync(share, { recursive: true });
});

const sizeOf = (size: bigint) =>
  fuseBody(FATTR.SIZE, 0, 0n, size, 0n, 0n, 0n, 0n, 0, 0, 0, 0, 0, 0, 0, 0);
const timeOf = (seconds: bigint, nanoseconds: number) =>
  fuseBody(FATTR.MTIME, 0, 0n, 0n, 0n, 0n, seconds, 0n, 0, nanoseconds, 0, 0, 0, 0, 0, 0);

describe.skipIf(!isLinux)('what a guest makes and changes', () => {
  it('is no program that runs as another user, whoever made it one', async () => {
    const ways: [string, (node: number) => Promise<unknown>][] = [
      [
        'write',
        async (node) => {
          const { handle } = await guest.open(node, 1);
          await guest.ask(OP.WRITE, node, handle, 0n, 1, 0, 0n, 0, 0, Uint8Array.of(1));
        },
      ],
      ['truncate', (node) => guest.open(node, fs.constants.O_TRUNC)],
      ['resize', (node) => guest.ask(OP.SETATTR, node, sizeOf(3n))],
    ];
    for (const [name, change] of ways) {
      fs.writeFileSync(host(name), 'program');
      fs.chmodSync(host(name), 0o6755);
      const { node } = await guest.walk(name);
      await guest.open(node, 0);
      expect(bits(name), `${name}, read`).toBe(0o6755);
      await change(node);
      expect(bits(name), name).toBe(0o755);
    }
  });

  it('has the group of a directory that passes it on, and so have directories in it', async () => {
    const group = isRoot ? 4321 : process.getgid!();
    fs.mkdirSync(host('team'));
    fs.chownSync(host('team'), process.getuid!(), group);
    fs.chmodSync(host('team'), 0o2775);
    const { node } = await guest.walk('team');
    expect((await guest.ask(OP.MKDIR, node, 0o750, 0, 'dir')).error).toBe(0);
    await guest.ask(OP.MKNOD, node, 0o640, 0, 0, 0, 'node');
    await guest.ask(OP.CREATE, node, 2, 0o640, 0, 0, 'file');
    await guest.ask(OP.SYMLINK, node, 'link', 'nowhere');
    expect([bits('team/dir'), bits('team/node'), bits('team/file')]).toEqual([
      0o2750, 0o640, 0o640,
    ]);
    for (const name of ['dir', 'node', 'file', 'link']) {
      const { uid, gid } = fs.lstatSync(host(`team/${name}`));
      expect([gid, uid], name).toEqual([group, isRoot ? 1000 : process.getuid!()]);
    }
    // Elsewhere it is the guest's user's.
    await guest.ask(OP.MKDIR, 1, 0o750, 0, 'own');
    expect(fs.statSync(host('own')).gid).toBe(isRoot ? 1000 : process.getgid!());
    expect(bits('own')).toBe(0o750);
  });

  it('has the times that it is given, before 1970 too', async () => {
    fs.writeFileSync(host('old'), '');
    fs.symlinkSync('old', host('link'));
    for (const name of ['old', 'link']) {
      const { node } = await guest.walk(name);
      for (const [seconds, nanoseconds] of [
        [-5n, 0],
        [-2_000_000_000n, 500_000_000],
        [0n, 0],
        [1_700_000_000n, 250_000_000],
      ] as const) {
        const { error } = await guest.ask(OP.SETATTR, node, timeOf(seconds, nanoseconds));
        expect(error).toBe(0);
        const { mtimeMs } = fs.lstatSync(host(name));
        expect(mtimeMs, `${name} ${seconds}`).toBe(Number(seconds) * 1000 + nanoseconds / 1e6);
      }
    }
  });
});
