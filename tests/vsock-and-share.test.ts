// Sockets and directories shared with the host, under Debian's unmodified kernel, from its shell;
// a run with them replays without the host.
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, type Running, start } from './lib/command.js';
import { guestProgram } from './lib/guest-program.js';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';

const guest = await debian();
const vsock = guestProgram('vsock.c');
const why = skipped(guest) || (typeof vsock === 'string' ? ` (skipped: ${vsock})` : '');

const MODULES = ['virtio_mmio', 'virtio_pci', 'vmw_vsock_virtio_transport', 'virtiofs'];

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-share-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
const servers: Server[] = [];
afterEach(() => {
  endAll();
  for (const server of servers.splice(0)) server.close();
});

const SCRIPT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
mkdir /rw /ro
mount -t virtiofs share0 /rw && mount -t virtiofs files /ro && echo MOUNTED
cat /rw/from-host /ro/sub/from-host
dd if=/dev/urandom of=/rw/random bs=64k count=16 2>/dev/null && sync
echo 3 > /proc/sys/vm/drop_caches
md5sum /rw/random | sed 's/^/sum=/'
mkdir -p /rw/made/in/guest
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i > /rw/made/$i; done
mv /rw/made/1 /rw/made/in/guest/one && rm /rw/made/2 && ln /rw/made/3 /rw/made/three
ln -s /etc/hostname /rw/made/link && chmod 640 /rw/made/4 && busybox truncate -s 5000 /rw/made/5
echo appended >> /rw/from-host
echo "listed=$(ls /rw/made | wc -l) $(stat -c %s /rw/made/5) $(readlink /rw/made/link)"
cat /rw/out /rw/up/secret /rw/absolute 2>&1
echo x > /ro/new; rm -f /ro/sub/from-host; touch /ro/sub/from-host; ls /ro/sub
umount /rw && umount /ro && echo UNMOUNTED
vsock connect 52 'hello host'; echo " (status $?)"
vsock connect 53 'nobody'; echo "(status $?)"
vsock listen 1234; echo "(status $?)"
poweroff -f
`;

async function line(): Promise<string[]> {
  const program = { path: 'bin/vsock', mode: 0o755, source: (vsock as { path: string }).path };
  const image = await initrd(guest as Guest, SCRIPT, MODULES, [program]);
  const files = ['--kernel', (guest as Guest).kernelPath, '--initrd', image];
  const append = `${COMMAND_LINE} quiet`;
  return ['run', '--memory', '128M', '--seed', '7', ...files, '--append', append];
}

/** Answers each connection at port 52 of the host, when it has ended, with what came. */
function echoServer(directory: string): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.on('data', (data) => {
      text += data.toString();
    });
    socket.on('end', () => socket.end(`you said: ${text}`));
  });
  servers.push(server);
  return new Promise((resolve) => server.listen(join(directory, 'vsock.sock_52'), resolve));
}

/** Connects to a port of the guest's, sends, ends, and returns what came until the guest ended. */
function ask(directory: string, port: number, data: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: join(directory, 'vsock.sock'), allowHalfOpen: true });
    const parts: Buffer[] = [];
    socket.on('error', reject);
    socket.on('data', (part) => void parts.push(part));
    socket.on('end', () => resolve(Buffer.concat(parts)));
    socket.write(`CONNECT ${port}\n`);
    socket.end(data);
  });
}

const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex');
const text = (bytes: Buffer) => bytes.toString('latin1').replaceAll('\r', '');

/** What the host offers, in a folder of its own; the options that share it. */
function hosts(name: string): string[] {
  const folder = path(name);
  for (const part of ['sockets', 'rw', 'ro/sub'])
    mkdirSync(join(folder, part), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'SECRET');
  writeFileSync(join(folder, 'rw/from-host'), 'writable\n');
  writeFileSync(join(folder, 'ro/sub/from-host'), 'readable\n');
  symlinkSync('../secret', join(folder, 'rw/out'));
  symlinkSync('..', join(folder, 'rw/up'));
  symlinkSync(join(folder, 'secret'), join(folder, 'rw/absolute'));
  const shares = ['--share', join(folder, 'rw'), '--share', `${join(folder, 'ro')}:ro,tag=files`];
  return ['--vsock', join(folder, 'sockets'), ...shares];
}

/** Answers the guest's connection, and talks to it. */
async function converse(live: Running, sockets: string): Promise<void> {
  await echoServer(sockets);
  await live.until(/listening\r?\n/);
  const data = randomBytes(300_000);
  const answer = await ask(sockets, 1234, data);
  expect(answer.subarray(0, 14).toString()).toBe('OK 1073741824\n');
  expect(Buffer.compare(answer.subarray(14), data)).toBe(0);
}

/** The guest's words, and what it left in the host's folder. */
function expectEverything(out: string, folder: string): void {
  const shared = (name: string) => join(folder, 'rw', name);
  expect(out).toContain('MOUNTED\nwritable\nreadable\n');
  expect(out).toContain(`sum=${md5(readFileSync(shared('random')))} `);
  expect(statSync(shared('random')).size).toBe(2 ** 20);
  expect(out).toContain('listed=13 5000 /etc/hostname\n');
  expect(out.match(/can't open '.*': No such file/g)).toHaveLength(3);
  expect(out).not.toContain('SECRET');
  expect(out.match(/Read-only file system/g)!.length).toBeGreaterThanOrEqual(3);
  expect(out).toContain('from-host\nUNMOUNTED\n');
  expect(readFileSync(shared('from-host'), 'utf8')).toBe('writable\nappended\n');
  expect(readFileSync(shared('made/in/guest/one'), 'utf8')).toBe('1\n');
  expect(existsSync(shared('made/2'))).toBe(false);
  expect(statSync(shared('made/three')).nlink).toBe(2);
  expect(statSync(shared('made/4')).mode & 0o777).toBe(0o640);
  expect(readFileSync(join(folder, 'ro/sub/from-host'), 'utf8')).toBe('readable\n');
  expect(readdirSync(join(folder, 'ro'))).toEqual(['sub']);
  expect(out).toContain('you said: hello host (status 0)\n');
  expect(out).toContain('(status 1)\nlistening\n(status 0)\n');
  expect(readdirSync(join(folder, 'sockets'))).toEqual(['vsock.sock_52']);
}

describe.skipIf(why !== '')(`the host's sockets and directories${why}`, () => {
  test('work over mmio, and the run replays without the host', async () => {
    const run = [...(await line()), ...hosts('mmio')];
    const live = start([...run, '--record', path('r'), '--exits', path('live')]);
    await converse(live, path('mmio/sockets'));
    const { status, stdout, stderr } = await live.finished;
    expect(status, stderr).toBe(0);
    expectEverything(text(stdout), path('mmio'));

    // The host is not touched: it need not even be there.
    rmSync(path('mmio'), { recursive: true });
    const replay = await cloister([...run, '--replay', path('r'), '--exits', path('replay')]);
    expect(replay.status, replay.stderr).toBe(0);
    expect(Buffer.compare(replay.stdout, stdout)).toBe(0);
    expect(Buffer.compare(readFileSync(path('replay')), readFileSync(path('live')))).toBe(0);
    expect(existsSync(path('mmio'))).toBe(false);
  });

  test('work over pci', async () => {
    const live = start([...(await line()), ...hosts('pci'), '--virtio', 'pci']);
    await converse(live, path('pci/sockets'));
    const { status, stdout, stderr } = await live.finished;
    expect(status, stderr).toBe(0);
    expectEverything(text(stdout), path('pci'));
  });
});
