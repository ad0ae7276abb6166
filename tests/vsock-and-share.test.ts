// Sockets and directories shared with the host, under Debian's unmodified kernel, from its shell;
// a run with them replays without the host.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, start } from './lib/command.js';
import { guestProgram } from './lib/guest-program.js';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';

const guest = await debian();
const vsock = guestProgram('vsock.c');
const why = skipped(guest) || (typeof vsock === 'string' ? ` (skipped: ${vsock})` : '');

const MODULES = ['virtio_mmio', 'virtio_pci', 'vmw_vsock_virtio_transport'];

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

const text = (bytes: Buffer) => bytes.toString('latin1').replaceAll('\r', '');

describe.skipIf(why !== '')(`the host's sockets and directories${why}`, () => {
  test('work over mmio, and the run replays without the host', async () => {
    const sockets = path('sockets');
    mkdirSync(sockets);
    await echoServer(sockets);
    const run = [...(await line()), '--vsock', sockets];
    const live = start([...run, '--record', path('r'), '--exits', path('live')]);
    await live.until(/listening\r?\n/);
    const data = randomBytes(300_000);
    const answer = await ask(sockets, 1234, data);
    expect(answer.subarray(0, 14).toString()).toBe('OK 1073741824\n');
    expect(Buffer.compare(answer.subarray(14), data)).toBe(0);
    const { status, stdout, stderr } = await live.finished;
    expect(status, stderr).toBe(0);
    expect(text(stdout)).toContain('you said: hello host (status 0)\n');
    expect(text(stdout)).toContain('(status 1)\nlistening\n(status 0)\n');
    expect(readdirSync(sockets)).toEqual(['vsock.sock_52']);

    const replay = await cloister([...run, '--replay', path('r'), '--exits', path('replay')]);
    expect(replay.status, replay.stderr).toBe(0);
    expect(Buffer.compare(replay.stdout, stdout)).toBe(0);
    expect(Buffer.compare(readFileSync(path('replay')), readFileSync(path('live')))).toBe(0);
  });
});
