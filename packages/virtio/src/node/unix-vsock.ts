/**
 * The host's side of a vsock device as Unix sockets, in the convention of Firecracker and Cloud
 * Hypervisor.
 *
 * A program that wants port N of the guest connects to the socket NAME, writes `CONNECT N\n` and
 * reads `OK M\n`, M being the port it seems to come from; then the connection is the guest's. One
 * that the guest does not take, or that is late with its line, is closed without a word. Where the
 * guest connects to port N of the host, the program that listens at NAME_N gets it; if nobody does,
 * the guest is refused.
 */
import { lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { VmmError } from '@cloister/core';
import {
  VSOCK_CONNECTIONS,
  VSOCK_WINDOW,
  type VsockEvent,
  type VsockHost,
  type VsockHostPorts,
} from '../vsock/vsock-host.js';

export interface UnixVsockOptions {
  /** Where the sockets lie; made, for this user only, when it is not there. */
  readonly directory: string;
  /** Name of the main socket in it; `vsock.sock` unless given. */
  readonly name?: string;
  /** Milliseconds in which a program has to write its first line; 10 s unless given. */
  readonly lineMs?: number;
  /**
   * Milliseconds after which a socket is closed whose connection is over, and whose other end takes
   * nothing of what is left for it (what the system has taken of a write counts when it has all of
   * it); 30 s unless given.
   */
  readonly lingerMs?: number;
}

const LINE_MS = 10_000;
const LINGER_MS = 30_000;

/** sun_path has 108 bytes, the last of them 0. */
const PATH_MAX = 107;
const LONGEST_SUFFIX = '_4294967295';
/** `CONNECT 4294967295\r\n` */
const LINE_MAX = 20;

class Link {
  /** Bytes that may still be read from the socket. */
  window = 0;
  /** Bytes that the socket took since the device was last told. */
  taken = 0;
  connected = false;
  over = false;

  constructor(
    readonly id: number,
    readonly socket: Socket,
  ) {}
}

class UnixVsock implements VsockHost {
  private readonly path: string;
  private server: Server | null = null;
  private readonly links = new Map<number, Link>();
  /** Sockets before `CONNECT`, and such as still send what the guest had sent. */
  private readonly others = new Set<Socket>();
  /** Events that the VM has no room for. */
  private backlog: VsockEvent[] = [];
  private nextId = 1;

  constructor(
    private readonly options: UnixVsockOptions,
    private readonly ports: VsockHostPorts,
  ) {
    this.path = join(options.directory, options.name ?? 'vsock.sock');
    ports.onRoom(() => this.pushBacklog());
  }

  async start(): Promise<void> {
    const { path } = this;
    if (Buffer.byteLength(path + LONGEST_SUFFIX) > PATH_MAX) {
      throw new VmmError('invalid-argument', `the path of socket ${path} is too long`, {
        remedy: `name a directory so that it has at most ${PATH_MAX - LONGEST_SUFFIX.length} bytes`,
      });
    }
    try {
      mkdirSync(this.options.directory, { recursive: true, mode: 0o700 });
      await removeStale(path);
      this.server = await listening(path, (socket) => this.greet(socket));
    } catch (cause) {
      if (cause instanceof VmmError) throw cause;
      throw new VmmError('invalid-file', `socket ${path}: ${String(cause)}`, { cause });
    }
  }

  // --- What the device asks for

  reset(after: number): void {
    for (const { socket } of this.links.values()) socket.destroy();
    this.links.clear();
    this.backlog = [];
    this.nextId = Math.max(this.nextId, after + 1);
  }

  connect(id: number, port: number): void {
    if (this.isFull) {
      this.emit({ kind: 'closed', id });
      return;
    }
    const socket = connect({ path: `${this.path}_${port}`, allowHalfOpen: true });
    const link = this.link(id, socket);
    socket.once('connect', () => {
      link.connected = true;
      if (!link.over) this.emit({ kind: 'connected', id });
    });
  }

  accept(id: number, port: number): void {
    const link = this.links.get(id);
    if (link === undefined) this.emit({ kind: 'closed', id });
    else link.socket.write(`OK ${port}\n`);
  }

  send(id: number, data: Uint8Array): void {
    const link = this.links.get(id);
    link?.socket.write(data, () => {
      link.taken += data.length;
      const isMuch = link.taken >= VSOCK_WINDOW / 8;
      if (!isMuch && link.socket.writableLength > 0) return;
      this.emitOf(link, { kind: 'sent', id, bytes: link.taken });
      link.taken = 0;
    });
  }

  grant(id: number, bytes: number): void {
    const link = this.links.get(id);
    if (link === undefined) return;
    link.window += bytes;
    this.read(link);
  }

  end(id: number): void {
    this.links.get(id)?.socket.end();
  }

  close(id: number): void {
    const link = this.links.get(id);
    if (link === undefined) return;
    link.over = true;
    this.links.delete(id);
    const { socket } = link;
    // One that is closed says so no more.
    if (socket.closed) return;
    // What is still in its buffer goes out, as long as the other end takes it.
    this.others.add(socket);
    socket.once('close', () => this.others.delete(socket));
    if (!link.connected) {
      socket.destroy();
      return;
    }
    socket.end(() => socket.destroy());
    this.linger(socket);
  }

  /** Closes a socket that takes nothing any more, whatever it sends: it would keep its place. */
  private linger(socket: Socket): void {
    let left = socket.writableLength;
    const look = setInterval(() => {
      if (socket.writableLength === left) socket.destroy();
      left = socket.writableLength;
    }, this.options.lingerMs ?? LINGER_MS);
    look.unref();
    socket.once('close', () => clearInterval(look));
  }

  async dispose(): Promise<void> {
    for (const { socket } of this.links.values()) socket.destroy();
    for (const socket of this.others) socket.destroy();
    this.links.clear();
    const { server } = this;
    this.server = null;
    if (server !== null) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  // --- What the host's programs do

  /** Reads `CONNECT N\n` of a socket that is new. */
  private greet(socket: Socket): void {
    if (this.isFull) {
      socket.destroy();
      return;
    }
    this.others.add(socket);
    const gone = () => {
      this.others.delete(socket);
      socket.destroy();
    };
    socket.on('error', gone);
    socket.on('close', gone);
    socket.on('end', gone);
    const tooLate = setTimeout(gone, this.options.lineMs ?? LINE_MS);
    tooLate.unref();
    socket.on('close', () => clearTimeout(tooLate));
    let line = '';
    const look = () => {
      line += readLine(socket, LINE_MAX - line.length);
      if (!line.endsWith('\n') && line.length < LINE_MAX) return;
      const found = /^CONNECT (\d{1,10})\r?\n$/.exec(line);
      const port = Number(found?.[1] ?? -1);
      if (port < 0 || port > 0xffff_ffff) gone();
      else {
        clearTimeout(tooLate);
        this.open(socket, port, () => socket.off('readable', look).off('end', gone));
      }
    };
    socket.on('readable', look);
  }

  /** A connection to a port of the guest's, `release`d from what read its first line. */
  private open(socket: Socket, port: number, release: () => void): void {
    release();
    this.others.delete(socket);
    const id = this.nextId;
    this.nextId += 2;
    const link = this.link(id, socket);
    link.connected = true;
    this.emit({ kind: 'open', id, port });
    // It may have ended behind its line.
    if (socket.readableEnded) this.emitOf(link, { kind: 'end', id });
  }

  private link(id: number, socket: Socket): Link {
    const link = new Link(id, socket);
    this.links.set(id, link);
    socket.on('readable', () => this.read(link));
    socket.on('end', () => this.emitOf(link, { kind: 'end', id }));
    socket.on('error', () => this.emitOf(link, { kind: 'closed', id }));
    return link;
  }

  /** Reads as much as the device has room for. */
  private read(link: Link): void {
    const { socket, id } = link;
    while (!link.over && this.backlog.length === 0) {
      const length = Math.min(link.window, socket.readableLength);
      // Reading nothing at the end is what makes a socket say that it has ended.
      if (length === 0) {
        if (socket.readableLength === 0) socket.read(0);
        return;
      }
      const data: Uint8Array | null = socket.read(length);
      if (data === null) return;
      link.window -= data.length;
      this.emit({ kind: 'data', id, data });
    }
  }

  private get isFull(): boolean {
    return this.links.size + this.others.size >= VSOCK_CONNECTIONS;
  }

  private emitOf(link: Link, event: VsockEvent): void {
    if (!link.over && this.links.get(link.id) === link) this.emit(event);
  }

  private emit(event: VsockEvent): void {
    if (this.backlog.length > 0 || !this.ports.push(event)) this.backlog.push(event);
  }

  private pushBacklog(): void {
    while (this.backlog.length > 0 && this.ports.push(this.backlog[0]!)) this.backlog.shift();
    if (this.backlog.length > 0) return;
    for (const link of [...this.links.values()]) this.read(link);
  }
}

/** Takes bytes up to the end of a line, `limit` at most; what follows stays in the socket. */
function readLine(socket: Socket, limit: number): string {
  const bytes: Buffer = socket.read() ?? Buffer.alloc(0);
  const end = bytes.indexOf(0x0a) + 1;
  const length = Math.min(end === 0 ? bytes.length : end, limit);
  if (length < bytes.length) socket.unshift(bytes.subarray(length));
  return bytes.toString('latin1', 0, length);
}

function listening(path: string, take: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true }, take);
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      // A host without file descriptors left refuses connections, and goes on.
      server.on('error', () => {});
      resolve(server);
    });
  });
}

/** Removes a socket that nobody listens at any more. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  const inUse = !found.isSocket() || (await answers(path));
  if (inUse) {
    const what = found.isSocket() ? 'is in use' : 'is something else than a socket';
    throw new VmmError('invalid-file', `${path} ${what}`, {
      remedy: 'name another directory for the sockets',
    });
  }
  unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Whoever may not even ask must not remove it.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED'));
  });
}

/** Sockets in a directory of the host's; see the head of this file. */
export function unixVsock(options: UnixVsockOptions): (ports: VsockHostPorts) => VsockHost {
  return (ports) => new UnixVsock(options, ports);
}
