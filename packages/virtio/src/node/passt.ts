/**
 * The network through passt: connections of the guest become connections of an unprivileged
 * process of the host.
 *
 * passt runs in the foreground and serves one connection, over a Unix socket in a folder of its own
 * that is gone once we are connected. Frames go over it with their length in front. It ends with
 * the VM: it is told to, and ends by itself when the other end is gone, however this process ended.
 * Source: passt(1), qemu(1) `-netdev stream`.
 *
 * (On a socket that is handed over, `--fd`, passt leaves the system's small buffer as it is, and
 * loses the frames that do not fit.)
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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
/** Whom passt becomes when root starts it: nobody, on any Linux. */
const NOBODY = 65_534;
/** It serves within milliseconds; a machine that is busy may take seconds. */
const RETRY_MS = 10;
const ATTEMPTS = 1000;
/** It complains once a line where no system log is. */
const NOISE = /^Failed to send \d+ bytes to syslog$/;
const OUTPUT_MAX = 16_384;

class Passt implements NetBackend {
  readonly kind = 'passt';
  readonly mtu: number;
  private child: ChildProcess | null = null;
  private stream: StreamBackend | null = null;
  private output = '';
  /** Why there is no process (any more). */
  private ended: VmmError | null = null;
  private readonly endWithProcess = () => void this.child?.kill('SIGKILL');

  constructor(private readonly options: PasstOptions) {
    this.mtu = options.mtu ?? MTU;
  }

  async open(port: NetPort): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), 'cloister-passt-'));
    try {
      const isRoot = process.getuid?.() === 0;
      if (isRoot) chownSync(folder, NOBODY, NOBODY);
      const path = join(folder, 'socket');
      const child = this.start(path, isRoot ? ['--runas', `${NOBODY}:${NOBODY}`] : []);
      this.stream = await this.connected(path, port);
      child.on('exit', () => port.setLink(false));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
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

  private start(path: string, more: readonly string[]): ChildProcess {
    const { program = 'passt', tcp = [], udp = [] } = this.options;
    const words = [
      ...['--foreground', '--one-off', '--socket', path, '--mtu', String(this.mtu), ...more],
      ...tcp.flatMap((each) => ['--tcp-ports', each]),
      ...udp.flatMap((each) => ['--udp-ports', each]),
    ];
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child = child;
    process.on('exit', this.endWithProcess);
    child.on('error', (error) => {
      this.ended ??= startError(program, error);
    });
    // Where no descriptor is left there is no pipe either.
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output = (this.output + text).slice(-OUTPUT_MAX);
    });
    child.on('close', (status) => {
      this.ended ??= endError(program, status, this.output);
    });
    return child;
  }

  /** The stream of a passt that serves; what it said where it ended before. */
  private async connected(path: string, port: NetPort): Promise<StreamBackend> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.ended !== null) throw this.ended;
      const stream = await StreamBackend.connect(path, port);
      if (stream !== null) return stream;
      await delay(RETRY_MS);
    }
    throw new VmmError('unavailable', 'passt does not serve its socket', {
      remedy: 'see whether "passt --foreground" runs here',
    });
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

function endError(program: string, status: number | null, output: string): VmmError {
  const lines = output.split('\n').filter((line) => line !== '' && !NOISE.test(line));
  const said = lines.slice(-3).join('; ') || 'nothing';
  return new VmmError('unavailable', `${program} ended with status ${status}, and said: ${said}`, {
    remedy: 'see passt(1): it needs a network interface, and forwarded ports that are free',
  });
}

/** A network through passt. */
export function passt(options: PasstOptions = {}): NetBackend {
  return new Passt(options);
}
