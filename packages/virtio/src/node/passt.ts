/**
 * The network through passt: connections of the guest become connections of an unprivileged
 * process of the host.
 *
 * passt runs in the foreground on one end of a pair of Unix sockets (`--fd`), so that no name of a
 * socket has to lie where its unprivileged user gets to. Frames go over it with their length in
 * front. It ends with the VM: it is told to, and ends by itself when the other end is gone, however
 * this process ended. Source: passt(1), qemu(1) `-netdev stream`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { VmmError } from '@cloister/core';
import type { NetBackend, NetPort } from '../net/backend.js';
import { StreamBackend } from './stream-backend.js';

export interface PasstOptions {
  /** Inbound connections: `[ADDRESS/]HOST[:GUEST]` as passt's `--tcp-ports` takes them. */
  readonly tcp?: readonly string[];
  /** The same for datagrams, `--udp-ports`. */
  readonly udp?: readonly string[];
  /** Largest payload of a frame; 65520 unless given, as passt suggests. */
  readonly mtu?: number;
  /** The program; `passt` unless given. */
  readonly program?: string;
}

const MTU = 65_520;
/** passt says what it does before it serves; a version that says nothing is given so long. */
const QUIET_MS = 2000;
/** How it says that its addresses and ports are there. */
const READY = /^(MAC|DHCP|DNS|NAT to host|NDP\/DHCPv6)/m;
/** It complains once a line where no system log is. */
const NOISE = /^Failed to send \d+ bytes to syslog$/;
const OUTPUT_MAX = 16_384;
/** Descriptor of the socket in the child. */
const FD = 3;

class Passt implements NetBackend {
  readonly kind = 'passt';
  readonly mtu: number;
  private child: ChildProcess | null = null;
  private stream: StreamBackend | null = null;
  private output = '';
  private readonly endWithProcess = () => void this.child?.kill('SIGKILL');

  constructor(private readonly options: PasstOptions) {
    this.mtu = options.mtu ?? MTU;
  }

  async open(port: NetPort): Promise<void> {
    const { program = 'passt', tcp = [], udp = [] } = this.options;
    const forwards = [
      ...tcp.flatMap((each) => ['--tcp-ports', each]),
      ...udp.flatMap((each) => ['--udp-ports', each]),
    ];
    const words = ['--foreground', '--fd', String(FD), '--mtu', String(this.mtu), ...forwards];
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
    this.child = child;
    process.on('exit', this.endWithProcess);
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.output = (this.output + text).slice(-OUTPUT_MAX);
    });
    const socket = child.stdio[FD] as Socket;
    // What becomes of a child that cannot be started is told by the child.
    socket.on('error', () => {});
    await this.started(child, program);
    child.on('exit', () => port.setLink(false));
    if (child.exitCode !== null) port.setLink(false);
    this.stream = new StreamBackend(socket, port);
  }

  send(batch: Uint8Array): void {
    this.stream?.send(batch);
  }

  async close(): Promise<void> {
    const { child } = this;
    this.child = null;
    process.off('exit', this.endWithProcess);
    this.stream?.close();
    if (child === null || child.pid === undefined) return;
    const running = child.exitCode === null && child.signalCode === null;
    const over = running ? new Promise((resolve) => child.once('exit', resolve)) : null;
    child.kill('SIGKILL');
    await over;
  }

  /** Resolves when passt serves; rejects with what it said when it ends before. */
  private started(child: ChildProcess, program: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const quiet = setTimeout(done, QUIET_MS);
      const listen = () => READY.test(this.output) && done();
      child.stderr!.on('data', listen);
      child.once('error', (error: NodeJS.ErrnoException) => done(startError(program, error)));
      child.once('close', (status) => done(this.endError(program, status)));
      function done(error?: VmmError): void {
        clearTimeout(quiet);
        child.stderr!.off('data', listen);
        child.removeAllListeners('close');
        if (error === undefined) resolve();
        else reject(error);
      }
    });
  }

  private endError(program: string, status: number | null): VmmError {
    const lines = this.output.split('\n').filter((line) => line !== '' && !NOISE.test(line));
    const said = lines.slice(-3).join('; ') || 'nothing';
    return new VmmError(
      'unavailable',
      `${program} ended with status ${status}, and said: ${said}`,
      {
        remedy: 'see passt(1): it needs a network interface, and forwarded ports that are free',
      },
    );
  }
}

function startError(program: string, cause: NodeJS.ErrnoException): VmmError {
  const message =
    cause.code === 'ENOENT' ? `${program} is not installed` : `${program}: ${cause.message}`;
  return new VmmError('unavailable', message, {
    remedy: 'install the package passt, or do without this network',
    cause,
  });
}

/** A network through passt. */
export function passt(options: PasstOptions = {}): NetBackend {
  return new Passt(options);
}
