// A shared directory: every operation, what is refused, escapes, races with the host, saving, and
// any request at all.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ERRNO, FATTR, OP } from '../../fs/fuse.js';
import type { ShareServer } from '../../fs/share.js';
import { FuseClient, fuseBody, fuseRequest } from '../../testing/fuse-client.js';
import { hostShare } from './host-share.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const isLinux = process.platform === 'linux';

let folder: string;
let share: string;
let server: ShareServer;
let guest: FuseClient;

/** Opens the share (anew). */
async function open(readOnly = false): Promise<FuseClient> {
  await server?.close();
  server = hostShare({ directory: share, readOnly });
  guest = new FuseClient(server);
  await guest.init();
  return guest;
}

beforeEach(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'share-'));
  share = join(folder, 'share');
  fs.mkdirSync(join(share, 'sub'), { recursive: true });
  fs.writeFileSync(join(share, 'hello'), 'hello guest');
  fs.writeFileSync(join(share, 'sub', 'deep'), 'deep down');
  fs.writeFileSync(join(folder, 'secret'), 'not for guests');
  if (isLinux) await open();
});
afterEach(async () => {
  await server?.close();
  fs.rmSync(folder, { recursive: true });
});

const host = (name: string) => join(share, name);
const S_IFREG = 0o100000;
const O_RDWR = 2;
const O_CREAT_FLAGS = { exclusive: 0o200, truncate: 0o1000 };

/** fuse_setattr_in with these fields. */
function setattr(
  valid: number,
  fields: { fh?: bigint; size?: bigint; mode?: number; time?: bigint },
) {
  const { fh = 0n, size = 0n, mode = 0, time = 0n } = fields;
  return fuseBody(valid, 0, fh, size, 0n, time, time, 0n, 500_000_000, 0, 0, mode, 0, 0, 0, 0);
}

describe.skipIf(!isLinux)('hostShare', () => {
  it('agrees on a version, and refuses one before virtio-fs', async () => {
    const { view } = await guest.init();
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([7, 38]);
    expect([view.getUint32(20, true), view.getUint16(28, true)]).toEqual([1 << 20, 256]);
    const old = await guest.ask(OP.INIT, 0, 7, 30, 0, 0);
    expect(old.error).toBe(ERRNO.EPROTO);
    const newer = await guest.ask(OP.INIT, 0, 8, 0, 0, 0);
    expect([newer.error, newer.view.getUint32(0, true)]).toEqual([0, 7]);
    await guest.ask(OP.DESTROY, 0);
    expect((await guest.ask(OP.LOOKUP, 1, 'hello')).error).toBe(ERRNO.EIO);
  });

  it('looks up, reads, writes, and says what files are', async () => {
    const { node } = await guest.walk('hello');
    const stat = await guest.ask(OP.GETATTR, node, 0, 0, 0n);
    expect(Number(stat.view.getBigUint64(24, true))).toBe(11);
    const { handle } = await guest.open(node, O_RDWR);
    expect(await guest.read(handle, 6)).toBe('guest');
    const data = new TextEncoder().encode('HOST');
    const write = await guest.ask(OP.WRITE, node, handle, 6n, 4, 0, 0n, 0, 0, data);
    expect(write.view.getUint32(0, true)).toBe(4);
    expect((await guest.ask(OP.FSYNC, node, handle, 1, 0)).error).toBe(0);
    expect((await guest.ask(OP.FLUSH, node, handle, 0, 0, 0n)).error).toBe(0);
    expect(fs.readFileSync(host('hello'), 'utf8')).toBe('hello HOSTt');
    expect((await guest.ask(OP.RELEASE, node, handle, 0, 0, 0n)).error).toBe(0);
    expect(await guest.read(handle)).toBe(`errno ${ERRNO.EBADF}`);
    expect((await guest.walk('nothing')).error).toBe(ERRNO.ENOENT);
    expect((await guest.walk('hello/x')).error).toBe(ERRNO.ENOTDIR);
    const numbers = await guest.ask(OP.STATFS, 1);
    expect(numbers.view.getUint32(44, true)).toBe(255);
    expect((await guest.ask(OP.ACCESS, node, 4, 0)).error).toBe(0);
  });

  it('creates files, directories, links, and removes them', async () => {
    const created = await guest.ask(OP.CREATE, 1, O_RDWR, S_IFREG | 0o4640, 0, 0, 'new');
    expect(created.error).toBe(0);
    // The guest makes no program that runs as somebody else.
    expect(fs.statSync(host('new')).mode & 0o7777).toBe(0o640);
    const handle = created.view.getBigUint64(128, true);
    const data = new TextEncoder().encode('made');
    await guest.ask(OP.WRITE, 1, handle, 0n, 4, 0, 0n, 0, 0, data);
    const again = await guest.ask(OP.CREATE, 1, O_RDWR, 0o600, 0, 0, 'new');
    expect(again.error).toBe(0);
    const { exclusive } = O_CREAT_FLAGS;
    expect((await guest.ask(OP.CREATE, 1, exclusive, 0o600, 0, 0, 'new')).error).toBe(ERRNO.EEXIST);
    expect((await guest.ask(OP.MKNOD, 1, S_IFREG | 0o600, 0, 0, 0, 'node')).error).toBe(0);
    expect((await guest.ask(OP.MKDIR, 1, 0o777, 0, 'dir')).error).toBe(0);
    expect(fs.statSync(host('dir')).mode & 0o777).toBe(0o777);
    expect((await guest.ask(OP.SYMLINK, 1, 'sym', '/etc/passwd')).error).toBe(0);
    expect(fs.readlinkSync(host('sym'))).toBe('/etc/passwd');
    const { node: link } = await guest.walk('sym');
    const target = await guest.ask(OP.READLINK, link);
    expect(new TextDecoder().decode(target.body)).toBe('/etc/passwd');
    const { node } = await guest.walk('new');
    expect((await guest.ask(OP.LINK, 1, BigInt(node), 'second')).error).toBe(0);
    expect(fs.readFileSync(host('second'), 'utf8')).toBe('made');
    expect((await guest.walk('second')).node).toBe(node);
    expect((await guest.ask(OP.RMDIR, 1, 'dir')).error).toBe(0);
    expect((await guest.ask(OP.UNLINK, 1, 'new')).error).toBe(0);
    // The object lives on under its other name, and in the handle.
    expect((await guest.ask(OP.GETATTR, node, 0, 0, 0n)).view.getUint32(80, true)).toBe(1);
    expect((await guest.ask(OP.UNLINK, 1, 'second')).error).toBe(0);
    expect((await guest.ask(OP.GETATTR, node, 0, 0, 0n)).view.getUint32(80, true)).toBe(0);
    expect(await guest.read(handle)).toBe('made');
    expect((await guest.ask(OP.UNLINK, 1, 'sub')).error).not.toBe(0);
    expect((await guest.ask(OP.RMDIR, 1, 'sub')).error).not.toBe(0);
    expect(fs.readdirSync(share).sort()).toEqual(['hello', 'node', 'sub', 'sym']);
  });

  it('renames within and between directories; of the flags NOREPLACE', async () => {
    const { node: sub } = await guest.walk('sub');
    const { node } = await guest.walk('hello');
    expect((await guest.ask(OP.RENAME, 1, BigInt(sub), 'hello', 'moved')).error).toBe(0);
    expect(fs.readFileSync(host('sub/moved'), 'utf8')).toBe('hello guest');
    const { handle } = await guest.open(node);
    expect(await guest.read(handle)).toBe('hello guest');
    const keep = await guest.ask(OP.RENAME2, sub, BigInt(sub), 1, 0, 'moved', 'deep');
    expect(keep.error).toBe(ERRNO.EEXIST);
    const exchange = await guest.ask(OP.RENAME2, sub, BigInt(sub), 2, 0, 'moved', 'deep');
    expect(exchange.error).toBe(ERRNO.EINVAL);
    expect((await guest.ask(OP.RENAME2, 1, 1n, 1, 0, 'sub', 'other')).error).toBe(0);
    expect((await guest.ask(OP.RENAME2, sub, 1n, 1, 0, 'moved', 'back')).error).toBe(0);
    expect(fs.readFileSync(host('back'), 'utf8')).toBe('hello guest');
    expect(fs.readdirSync(host('other'))).toEqual(['deep']);
    expect((await guest.ask(OP.RENAME, 1, 1n, 'back', 'hello')).error).toBe(0);
    expect((await guest.walk('other/deep')).error).toBe(0);
  });

  it('changes mode, size and times; a new size through a handle too', async () => {
    const { node } = await guest.walk('hello');
    const valid = FATTR.MODE | FATTR.SIZE | FATTR.MTIME;
    await guest.ask(OP.SETATTR, node, setattr(valid, { mode: 0o6600, size: 5n, time: 1000n }));
    const stats = fs.statSync(host('hello'));
    expect([stats.mode & 0o7777, stats.size]).toEqual([0o600, 5]);
    expect(stats.mtimeMs).toBe(1_000_000);
    const { handle: fh } = await guest.open(node, O_RDWR);
    await guest.ask(OP.SETATTR, node, setattr(FATTR.SIZE | FATTR.FH, { fh, size: 2n }));
    expect(fs.readFileSync(host('hello'), 'utf8')).toBe('he');
    await guest.ask(OP.SETATTR, node, setattr(FATTR.MTIME | FATTR.MTIME_NOW, {}));
    expect(Date.now() - fs.statSync(host('hello')).mtimeMs).toBeLessThan(60_000);
    const big = await guest.ask(OP.SETATTR, node, setattr(FATTR.SIZE, { size: 2n ** 60n }));
    expect(big.error).toBe(ERRNO.EFBIG);
  });

  it('lists directories of any length, in pieces, from the start again, and more', async () => {
    const many = Array.from({ length: 600 }, (_, index) => `file-${index}`);
    fs.mkdirSync(host('many'));
    for (const name of many) fs.writeFileSync(host(`many/${name}`), '');
    const { node } = await guest.walk('many');
    expect((await guest.list(node)).sort()).toEqual(['.', '..', ...many].sort());
    expect((await guest.list(node, 100)).sort()).toEqual(['.', '..', ...many].sort());
    const { view } = await guest.ask(OP.OPENDIR, node, 0, 0);
    const handle = view.getBigUint64(0, true);
    const read = (offset: bigint) => guest.ask(OP.READDIR, node, handle, offset, 4096, 0, 0n, 0, 0);
    const first = await read(0n);
    await read(500n);
    const second = await read(3n);
    expect((await read(0n)).body).toEqual(first.body);
    expect((await read(3n)).body).toEqual(second.body);
    expect((await read(2n ** 60n)).body).toHaveLength(0);
    fs.rmSync(host('many'), { recursive: true });
    const plus = await guest.ask(OP.OPENDIR, 1, 0, 0);
    const of = plus.view.getBigUint64(0, true);
    const entries = await guest.ask(OP.READDIRPLUS, 1, of, 2n, 4096, 0, 0n, 0, 0);
    const known = Number(entries.view.getBigUint64(0, true));
    expect((await guest.ask(OP.GETATTR, known, 0, 0, 0n)).error).toBe(0);
  });

  it('answers what it cannot do with ENOSYS', async () => {
    for (const opcode of [
      21, 22, 23, 24, 31, 32, 33, 37, 39, 40, 43, 46, 47, 48, 50, 51, 52, 4096,
    ]) {
      expect((await guest.ask(opcode, 1, new Uint8Array(64))).error).toBe(ERRNO.ENOSYS);
    }
  });

  it('makes no devices and pipes, and opens none of the host’s', async () => {
    for (const type of [0o020000, 0o060000, 0o010000, 0o140000]) {
      expect((await guest.ask(OP.MKNOD, 1, type | 0o666, 0x103, 0, 0, 'd')).error).toBe(
        ERRNO.EPERM,
      );
    }
    execFileSync('mkfifo', [host('pipe')]);
    const { node } = await guest.walk('pipe');
    expect((await guest.open(node)).error).toBe(ERRNO.EOPNOTSUPP);
    expect((await guest.ask(OP.CREATE, 1, O_RDWR, 0o600, 0, 0, 'pipe')).error).toBe(
      ERRNO.EOPNOTSUPP,
    );
    expect((await guest.open(1)).error).toBe(ERRNO.EISDIR);
  });

  it('forgets nodes', async () => {
    const { node } = await guest.walk('hello');
    await guest.walk('hello');
    const forget = (count: bigint) =>
      server.answer(fuseRequest(OP.FORGET, node, fuseBody(count)), 0);
    expect(await forget(1n)).toHaveLength(0);
    expect((await guest.ask(OP.GETATTR, node, 0, 0, 0n)).error).toBe(0);
    const batch = fuseBody(2, 0, BigInt(node), 1n, 999n, 5n);
    expect(await server.answer(fuseRequest(OP.BATCH_FORGET, 0, batch), 0)).toHaveLength(0);
    expect((await guest.ask(OP.GETATTR, node, 0, 0, 0n)).error).toBe(ERRNO.ESTALE);
    await server.answer(fuseRequest(OP.FORGET, 1, fuseBody(2n ** 63n)), 0);
    expect((await guest.ask(OP.GETATTR, 1, 0, 0, 0n)).error).toBe(0);
  });

  it('read-only, changes nothing whatever is asked', async () => {
    await open(true);
    const { node } = await guest.walk('hello');
    const { handle } = await guest.open(node);
    expect(await guest.read(handle)).toBe('hello guest');
    for (const flags of [1, O_RDWR, O_CREAT_FLAGS.truncate]) {
      expect((await guest.open(node, flags)).error).toBe(ERRNO.EROFS);
    }
    const data = fuseBody(handle, 0n, 1, 0, 0n, 0, 0, Uint8Array.of(1));
    const changes: [number, Uint8Array][] = [
      [OP.WRITE, data],
      [OP.SETATTR, setattr(FATTR.MODE, {})],
      [OP.CREATE, fuseBody(0, 0o600, 0, 0, 'x')],
      [OP.MKNOD, fuseBody(0o600, 0, 0, 0, 'x')],
      [OP.MKDIR, fuseBody(0o700, 0, 'x')],
      [OP.SYMLINK, fuseBody('x', 'y')],
      [OP.LINK, fuseBody(BigInt(node), 'x')],
      [OP.UNLINK, fuseBody('hello')],
      [OP.RMDIR, fuseBody('sub')],
      [OP.RENAME, fuseBody(1n, 'hello', 'x')],
      [OP.RENAME2, fuseBody(1n, 0, 0, 'hello', 'x')],
    ];
    for (const [opcode, body] of changes) {
      expect((await guest.ask(opcode, 1, body)).error).toBe(ERRNO.EROFS);
    }
    expect((await guest.ask(OP.ACCESS, node, 2, 0)).error).toBe(ERRNO.EROFS);
    expect(fs.readdirSync(share).sort()).toEqual(['hello', 'sub']);
  });
});

describe.skipIf(!isLinux)('confinement', () => {
  const names = ['..', '.', '', '../secret', '/etc/passwd', 'sub/deep', 'sub/../../secret', 'a/'];

  it.each(names)('takes %j for no name, in no operation', async (name) => {
    const { node } = await guest.walk('hello');
    const tries: [number, Uint8Array][] = [
      [OP.LOOKUP, fuseBody(name)],
      [OP.UNLINK, fuseBody(name)],
      [OP.RMDIR, fuseBody(name)],
      [OP.MKDIR, fuseBody(0o700, 0, name)],
      [OP.MKNOD, fuseBody(0o600, 0, 0, 0, name)],
      [OP.CREATE, fuseBody(O_RDWR, 0o600, 0, 0, name)],
      [OP.SYMLINK, fuseBody(name, 'x')],
      [OP.LINK, fuseBody(BigInt(node), name)],
      [OP.RENAME, fuseBody(1n, name, 'x')],
      [OP.RENAME, fuseBody(1n, 'hello', name)],
      [OP.RENAME2, fuseBody(1n, 0, 0, name, 'x')],
      [OP.RENAME2, fuseBody(1n, 1, 0, 'hello', name)],
    ];
    for (const [opcode, body] of tries) {
      expect((await guest.ask(opcode, 1, body)).error).toBe(ERRNO.EINVAL);
    }
    expect(fs.readdirSync(folder).sort()).toEqual(['secret', 'share']);
    expect(fs.readdirSync(share).sort()).toEqual(['hello', 'sub']);
  });

  it('follows no symbolic link, neither at the end of a path nor within it', async () => {
    fs.symlinkSync('../secret', host('file'));
    fs.symlinkSync('..', host('up'));
    fs.symlinkSync(folder, host('absolute'));
    for (const name of ['file', 'up', 'absolute']) {
      const { node, error } = await guest.walk(name);
      expect(error).toBe(0);
      expect((await guest.open(node)).error).toBe(ERRNO.EOPNOTSUPP);
      expect((await guest.ask(OP.OPENDIR, node, 0, 0)).error).toBe(ERRNO.ENOTDIR);
      expect((await guest.ask(OP.LOOKUP, node, 'secret')).error).toBe(ERRNO.ENOTDIR);
      expect((await guest.ask(OP.CREATE, 1, O_RDWR, 0o600, 0, 0, name)).error).toBe(
        ERRNO.EOPNOTSUPP,
      );
      expect((await guest.ask(OP.MKNOD, 1, 0o600, 0, 0, 0, name)).error).toBe(ERRNO.EEXIST);
      const size = setattr(FATTR.SIZE, { size: 0n });
      expect((await guest.ask(OP.SETATTR, node, size)).error).toBe(ERRNO.EOPNOTSUPP);
      const mode = setattr(FATTR.MODE, { mode: 0o777 });
      expect((await guest.ask(OP.SETATTR, node, mode)).error).toBe(ERRNO.EOPNOTSUPP);
      const time = setattr(FATTR.MTIME, { time: 5n });
      expect((await guest.ask(OP.SETATTR, node, time)).error).toBe(0);
      expect(fs.lstatSync(host(name)).mtimeMs).toBe(5000);
      expect((await guest.ask(OP.LINK, 1, BigInt(node), `${name}-2`)).error).toBe(0);
      expect(fs.lstatSync(host(`${name}-2`)).isSymbolicLink()).toBe(true);
    }
    expect(fs.readFileSync(join(folder, 'secret'), 'utf8')).toBe('not for guests');
    expect(fs.statSync(join(folder, 'secret')).mtimeMs).not.toBe(5000);
  });

  it('a name that becomes a link after it was looked up leads nowhere', async () => {
    const { node: sub } = await guest.walk('sub');
    const { node } = await guest.walk('sub/deep');
    fs.mkdirSync(host('many'));
    for (let i = 0; i < 1100; i++) fs.writeFileSync(host(`many/${i}`), '');
    const { node: many } = await guest.walk('many');
    /** Looks up so many others that no descriptor of these is kept. */
    const others = async () => {
      for (let i = 0; i < 1100; i++) await guest.ask(OP.LOOKUP, many, `${i}`);
    };
    await others();
    fs.renameSync(host('sub/deep'), host('elsewhere'));
    fs.symlinkSync('../../secret', host('sub/deep'));
    expect((await guest.open(node)).error).toBe(ERRNO.ESTALE);
    fs.renameSync(host('sub'), host('sub2'));
    fs.symlinkSync(folder, host('sub'));
    // The directory that was looked up is still held, and is that one.
    expect((await guest.ask(OP.CREATE, sub, O_RDWR, 0o600, 0, 0, 'x')).error).toBe(0);
    expect(fs.existsSync(host('sub2/x'))).toBe(true);
    await others();
    expect((await guest.ask(OP.LOOKUP, sub, 'secret')).error).toBe(ERRNO.ESTALE);
    expect((await guest.ask(OP.CREATE, sub, O_RDWR, 0o600, 0, 0, 'y')).error).toBe(ERRNO.ESTALE);
    expect(fs.readdirSync(folder).sort()).toEqual(['secret', 'share']);
    // Known again once it is looked up where it is now.
    expect((await guest.walk('elsewhere')).node).toBe(node);
    const { handle } = await guest.open(node);
    expect(await guest.read(handle)).toBe('deep down');
  });

  it('holds no more descriptors than its bounds', async () => {
    const count = () => fs.readdirSync('/proc/self/fd').length;
    const before = count();
    fs.mkdirSync(host('many'));
    for (let i = 0; i < 2200; i++) fs.writeFileSync(host(`many/${i}`), '');
    const { node: many } = await guest.walk('many');
    let refused = 0;
    for (let i = 0; i < 2200; i++) {
      const { view } = await guest.ask(OP.LOOKUP, many, `${i}`);
      const { error } = await guest.open(Number(view.getBigUint64(0, true)));
      if (error === ERRNO.ENFILE) refused++;
    }
    expect(refused).toBe(2200 - 2048);
    expect(count() - before).toBeLessThan(2048 + 1024 + 20);
    server.reset();
    expect(count() - before).toBeLessThan(20);
  });
});

describe.skipIf(!isLinux)('saving a share', () => {
  it('finds nodes and open files again in another process', async () => {
    const { node } = await guest.walk('sub/deep');
    const { handle } = await guest.open(node);
    const hello = await guest.walk('hello');
    const lost = await guest.open(hello.node);
    const { view } = await guest.ask(OP.OPENDIR, 1, 0, 0);
    const directory = view.getBigUint64(0, true);
    const saved = structuredClone(server.save());
    fs.renameSync(host('hello'), host('gone'));
    fs.writeFileSync(host('hello'), 'another');
    await server.close();
    server = hostShare({ directory: share });
    guest = new FuseClient(server);
    server.load(saved);
    expect(server.save()).toEqual(saved);
    expect(await guest.read(handle)).toBe('deep down');
    expect((await guest.ask(OP.GETATTR, node, 0, 0, 0n)).error).toBe(0);
    expect(await guest.read(lost.handle)).toBe(`errno ${ERRNO.ESTALE}`);
    const list = await guest.ask(OP.READDIR, 1, directory, 0n, 4096, 0, 0n, 0, 0);
    expect(list.body.length).toBeGreaterThan(0);
  });

  it('knows nothing after a state that is none', () => {
    for (const state of [null, 7, 'x', {}, { initialized: true, nodes: [], handles: {} }]) {
      server.load(state as never);
      expect(server.save()).toMatchObject({ initialized: false });
    }
  });
});

it.skipIf(!isLinux)('refuses a directory that is none', () => {
  expect(() => hostShare({ directory: host('nothing') })).toThrow('there is no such directory');
  expect(() => hostShare({ directory: host('hello') })).toThrow('it is no directory');
});

describe.skipIf(!isLinux)('any request', () => {
  /** Everything beside the share, with contents. */
  const outside = () => [
    fs.readdirSync(folder).sort(),
    fs.readFileSync(join(folder, 'secret'), 'utf8'),
    fs.statSync(join(folder, 'secret')).mode,
    fs.statSync(join(folder, 'secret')).mtimeMs,
  ];
  const word = fc.constantFrom(
    ...['hello', 'sub', 'deep', 'new', 'up', '..', '.', '/', '../secret', '/etc', 'secret', ''],
  );
  const number = fc.oneof(
    fc.nat(8),
    fc.constantFrom(0o100644, 0o40755, 0o120777, 1 << 20, 2 ** 32 - 1),
  );
  const part = fc.oneof(
    word,
    number,
    fc.oneof(fc.nat(8), fc.nat()).map(BigInt),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.uint8Array({ maxLength: 20 }),
  );
  const room = fc.oneof(fc.constantFrom(0, 16, 144, 4096), fc.nat(1 << 20));
  /** Requests as they should be but for their names, which lead out where they are followed. */
  const path = fc.constantFrom('../secret', '../new', '..', 'up/secret', 'hello', 'sub', 'file');
  const known = fc.integer({ min: 1, max: 8 }).map(BigInt);
  const shaped = fc
    .tuple(path, path, known, fc.nat(12))
    .map(([name, other, id, which]): [number, Uint8Array] => {
      const shapes: [number, Uint8Array][] = [
        [OP.LOOKUP, fuseBody(name)],
        [OP.UNLINK, fuseBody(name)],
        [OP.RMDIR, fuseBody(name)],
        [OP.MKDIR, fuseBody(0o700, 0, name)],
        [OP.MKNOD, fuseBody(0o600, 0, 0, 0, name)],
        [OP.CREATE, fuseBody(O_RDWR | O_CREAT_FLAGS.truncate, 0o600, 0, 0, name)],
        [OP.SYMLINK, fuseBody(name, other)],
        [OP.LINK, fuseBody(id, name)],
        [OP.RENAME, fuseBody(id, name, other)],
        [OP.OPEN, fuseBody(O_RDWR, 0)],
        [OP.READ, fuseBody(id, 0n, 4096, 0, 0n, 0, 0)],
        [OP.WRITE, fuseBody(id, 0n, 6, 0, 0n, 0, 0, 'spoilt')],
        [OP.SETATTR, setattr(FATTR.MODE | FATTR.SIZE, { mode: 0o777 })],
      ];
      return shapes[which]!;
    });
  const directed = fc
    .tuple(fc.oneof(fc.constant(1n), known), shaped, room)
    .map(([node, [opcode, body], space]) => ({ node, opcode, body, room: space }));
  const random = fc.record({
    opcode: fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 1, max: 53 }) }, fc.nat()),
    node: fc.oneof(fc.nat(8).map(BigInt), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    body: fc.oneof(
      fc.array(part, { maxLength: 8 }).map((parts) => fuseBody(...parts)),
      // The shapes of requests that name something.
      fc.tuple(word, word).map((words) => fuseBody(...words)),
      fc.tuple(fc.nat(6), word, word).map(([id, ...words]) => fuseBody(BigInt(id), ...words)),
      fc.tuple(number, number, word).map((parts) => fuseBody(...parts)),
      fc.tuple(number, number, number, number, word).map((parts) => fuseBody(...parts)),
      fc
        .tuple(fc.nat(6), fc.nat(9), number)
        .map(([fh, at, size]) => fuseBody(BigInt(fh), BigInt(at), size, 0, 0n, 0, 0, 'data')),
    ),
    room,
  });
  const request = fc.oneof(random, directed);

  it.each([false, true])(
    'is answered or has no answer, and touches nothing outside (read-only: %s)',
    async (readOnly) => {
      fs.symlinkSync('..', host('up'));
      fs.symlinkSync('../secret', host('file'));
      const before = outside();
      const inside = fs.readdirSync(share).sort();
      await fc.assert(
        fc.asyncProperty(fc.array(request, { minLength: 10, maxLength: 60 }), async (list) => {
          await open(readOnly);
          for (const path of ['hello', 'sub', 'sub/deep', 'up']) await guest.walk(path);
          const answers = await Promise.all(
            list.map(({ opcode, node, body, room }) =>
              server.answer(fuseRequest(opcode, node, body), room),
            ),
          );
          answers.forEach((answer, index) => {
            expect(answer.length).toBeLessThanOrEqual(Math.max(0, list[index]!.room));
            expect(Buffer.from(answer).includes('not for guests')).toBe(false);
          });
          await server.load(structuredClone(server.save()));
          expect(outside()).toEqual(before);
          if (readOnly) expect(fs.readdirSync(share).sort()).toEqual(inside);
        }),
        { numRuns: FULL ? 3000 : 40 },
      );
    },
    120_000,
  );
});
