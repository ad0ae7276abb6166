// Unix sockets as the host's side of a vsock device: both directions, refusals, stale sockets.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmmError } from '@cloister/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  VSOCK_CONNECTIONS,
  VSOCK_WINDOW,
  type VsockEvent,
  type VsockHost,
} from '../vsock/vsock-host.js';
import { type UnixVsockOptions, unixVsock } from './unix-vsock.js';

let directory: string;
let hosts: VsockHost[];
let sockets: Socket[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vsock-'));
  hosts = [];
  sockets = [];
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const host of hosts) await host.dispose();
  rmSync(directory, { recursive: true, force: true });
});

/** A host, its events, and waiting for the next one. */
async function rig(options: Partial<UnixVsockOptions> = {}) {
  const events: VsockEvent[] = [];
  let room = true;
  let wake = () => {};
  let hasRoom = () => {};
  const host = unixVsock({ directory, ...options })({
    push(event) {
      if (!room) return false;
      events.push(event);
      wake();
      return true;
    },
    onRoom: (listener) => void (hasRoom = listener),
  });
  hosts.push(host);
  await host.start();
  const next = async <Kind extends VsockEvent['kind']>(kind: Kind) => {
    while (events.length === 0) await new Promise<void>((resolve) => void (wake = resolve));
    const event = events.shift()!;
    expect(event.kind).toBe(kind);
    return event as VsockEvent & { kind: Kind };
  };
  const setRoom = (on: boolean) => {
    room = on;
    if (on) hasRoom();
  };
  return { host, events, next, setRoom };
}

/** A program of the host's at the main socket, and what it has read. */
function client(path = join(directory, 'vsock.sock')) {
  const socket = connect({ path, allowHalfOpen: true });
  sockets.push(socket);
  return reader(socket);
}

function reader(socket: Socket) {
  let text = '';
  let wake = () => {};
  socket.on('data', (data) => {
    text += data.toString('latin1');
    wake();
  });
  socket.on('error', () => {});
  const ended = new Promise<string>((resolve) => socket.on('end', () => resolve(text)));
  const until = async (wanted: string) => {
    while (!text.includes(wanted)) await new Promise<void>((resolve) => void (wake = resolve));
  };
  return { socket, ended, until };
}

describe('unixVsock', () => {
  it('connects a program to a port of the guest', async () => {
    const { host, next } = await rig();
    const { socket, until, ended } = client();
    // In pieces, and with data behind the line.
    socket.write('CONN');
    await new Promise((resolve) => setTimeout(resolve, 10));
    socket.write('ECT 1234\nhello');
    const { id, port } = await next('open');
    expect(port).toBe(1234);
    expect(id % 2).toBe(1);
    host.accept(id, 1073741824);
    await until('OK 1073741824\n');
    host.grant(id, 3);
    expect(Buffer.from((await next('data')).data).toString()).toBe('hel');
    host.grant(id, 100);
    expect(Buffer.from((await next('data')).data).toString()).toBe('lo');
    host.send(id, Buffer.from('answer'));
    expect(await next('sent')).toEqual({ kind: 'sent', id, bytes: 6 });
    socket.end();
    await next('end');
    host.send(id, Buffer.from(', bye'));
    host.close(id);
    expect(await ended).toBe('OK 1073741824\nanswer, bye');
  });

  it.each(['CONNECT x\n', 'CONNECT 4294967296\n', 'GET / HTTP/1.1\r\n', 'x'.repeat(1000)])(
    'closes without a word on %j',
    async (line) => {
      const { events } = await rig();
      const { socket, ended } = client();
      socket.write(line);
      expect(await ended).toBe('');
      expect(events).toEqual([]);
    },
  );

  it('closes one that does not write its line in time, and gives its place to others', async () => {
    const { next } = await rig({ lineMs: 50 });
    for (let idle = 0; idle <= VSOCK_CONNECTIONS; ) {
      const some = Array.from({ length: 300 }, () => client());
      some[0]!.socket.write('CONNECT 1');
      await Promise.all(some.map(({ ended }) => ended));
      idle += some.length;
    }
    const { socket } = client();
    socket.write('CONNECT 1\n');
    const { id } = await next('open');
    // The limit was for the line.
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(socket.readableEnded).toBe(false);
    expect(id).toBe(1);
  });

  it('closes one whose connection is over and which takes nothing any more', async () => {
    const { host, next } = await rig({ lingerMs: 50 });
    const socket = connect({ path: join(directory, 'vsock.sock'), allowHalfOpen: true });
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write('CONNECT 1\n');
    const { id } = await next('open');
    host.accept(id, 1);
    // More than the sockets of the system hold, and never read.
    for (let i = 0; i < 64; i++) host.send(id, new Uint8Array(VSOCK_WINDOW));
    const closed = new Promise<void>((resolve) => void socket.on('close', () => resolve()));
    host.close(id);
    // Writing to it fails once the other end is gone.
    const poke = setInterval(() => socket.write('x'), 10);
    await closed;
    clearInterval(poke);
  });

  it('connects the guest to who listens at the port’s socket, refuses it otherwise', async () => {
    const { host, next } = await rig();
    host.connect(2, 52);
    expect(await next('closed')).toEqual({ kind: 'closed', id: 2 });
    host.close(2);
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('data', (data) => socket.write(`echo ${data}`));
      socket.on('end', () => socket.end());
    });
    await new Promise<void>((resolve) => server.listen(join(directory, 'vsock.sock_52'), resolve));
    host.connect(4, 52);
    await next('connected');
    host.grant(4, VSOCK_WINDOW);
    host.send(4, Buffer.from('one'));
    await next('sent');
    expect(Buffer.from((await next('data')).data).toString()).toBe('echo one');
    host.end(4);
    expect(await next('end')).toEqual({ kind: 'end', id: 4 });
    host.close(4);
    server.close();
  });

  it('forgets sockets that were refused, or that both ends have left', async () => {
    const { host, next } = await rig();
    let id = 0;
    const refused = async () => {
      id += 2;
      host.connect(id, 52);
      await next('closed');
      // By the time that the guest has been told, the socket is over.
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
      host.close(id);
    };
    for (let i = 0; i < VSOCK_CONNECTIONS; i++) await refused();
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(join(directory, 'vsock.sock_52'), resolve));
    for (let i = 0; i < 20; i++) {
      id += 2;
      host.connect(id, 52);
      await next('connected');
      host.grant(id, VSOCK_WINDOW);
      host.end(id);
      await next('end');
      // Time enough for the socket to be over.
      await new Promise((resolve) => setTimeout(resolve, 5));
      host.close(id);
    }
    server.close();
  });

  it('holds data back while the VM has no room, and loses none', async () => {
    const { host, next, setRoom, events } = await rig();
    const { socket } = client();
    socket.write('CONNECT 1\n');
    const { id } = await next('open');
    host.accept(id, 1);
    setRoom(false);
    host.grant(id, VSOCK_WINDOW);
    socket.write('a'.repeat(VSOCK_WINDOW));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(events).toEqual([]);
    setRoom(true);
    let length = 0;
    while (length < VSOCK_WINDOW) length += (await next('data')).data.length;
    expect(length).toBe(VSOCK_WINDOW);
  });

  it('has nothing for a connection of before a reset', async () => {
    const { host, next, events } = await rig();
    const { socket, ended } = client();
    socket.write('CONNECT 1\n');
    const { id } = await next('open');
    host.reset(1000);
    await ended;
    host.accept(id, 1);
    expect(await next('closed')).toEqual({ kind: 'closed', id });
    client().socket.write('CONNECT 1\n');
    expect((await next('open')).id).toBe(1001);
    expect(events).toEqual([]);
  });

  it('removes its socket at the end, and one that nobody listens at when it starts', async () => {
    const path = join(directory, 'vsock.sock');
    // A process that was killed leaves its socket behind; here, a listener without its file.
    const kill = "() => process.kill(process.pid, 'SIGKILL')";
    const leave = `require('net').createServer().listen(${JSON.stringify(path)}, ${kill})`;
    expect(() => execFileSync(process.execPath, ['-e', leave], { stdio: 'ignore' })).toThrow();
    expect(existsSync(path)).toBe(true);
    const { host } = await rig();
    const { socket, ended } = client();
    socket.write('CONNECT no\n');
    await ended;
    await host.dispose();
    expect(existsSync(path)).toBe(false);
  });

  it('refuses a socket in use, a file in its place and a path that is too long', async () => {
    await rig();
    const second = unixVsock({ directory })({ push: () => true, onRoom() {} });
    await expect(second.start()).rejects.toThrow('is in use');
    writeFileSync(join(directory, 'file'), '');
    const third = unixVsock({ directory, name: 'file' })({ push: () => true, onRoom() {} });
    await expect(third.start()).rejects.toThrow('is something else than a socket');
    const long = unixVsock({ directory, name: 'x'.repeat(80) })({ push: () => true, onRoom() {} });
    const error: unknown = await long.start().catch((reason) => reason);
    expect(error).toBeInstanceOf(VmmError);
    expect(error).toMatchObject({ code: 'invalid-argument' });
  });
});
