/**
 * A TAP of Linux: an Ethernet interface of the host's whose other end is a file.
 *
 * Frames are read and written without blocking; a thread waits for the next one. Source:
 * Documentation/networking/tuntap.rst.
 */
import { Worker } from 'node:worker_threads';
import { VmmError } from '@cloister/core';
import {
  AT_FDCWD,
  ERRNO,
  IFF_NO_PI,
  IFF_TAP,
  NR,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
  TUNSETIFF,
} from '../abi/linux.js';
import { make, struct } from '../abi/struct.js';
import { eventFd, signalEventFd } from '../event-fds.js';
import { addonSys } from '../sys/addon.js';
import { cString, errnoName, type Sys } from '../sys/sys.js';
import { workerFlags, workerUrl } from '../worker-url.js';
import { TAP_ARMED, TAP_GONE, type TapWaiter } from './tap-waiter.js';

const DEVICE = '/dev/net/tun';
/** Bytes of an interface's name, its zero included. */
const IFNAMSIZ = 16;
/** struct ifreq of netdevice(7): a name, and a union of which the flags are used. */
const IFREQ = struct('ifreq', { ifr_name: ['u8', IFNAMSIZ], ifr_flags: 'u16' }, { size: 40 });

export interface Tap {
  /** Puts the next frame into `target`; its length, or 0 when there is none. */
  read(target: Uint8Array): number;
  /** False when the interface does not take the frame: it is down, or its queue is full. */
  write(frame: Uint8Array): boolean;
  /** Calls once when there is a frame to read. */
  wait(listener: () => void): void;
  close(): Promise<void>;
}

class LinuxTap implements Tap {
  private readonly end: number;
  private readonly words = new Int32Array(new SharedArrayBuffer(4));
  private worker: Worker | null = null;
  private listener: () => void = () => {};
  /** The interface was removed. */
  private isGone = false;
  /** Calls the thread back from the kernel. */
  private readonly release = () => {
    Atomics.store(this.words, 0, TAP_GONE);
    Atomics.notify(this.words, 0);
    signalEventFd(this.sys, this.end);
  };

  constructor(
    private readonly sys: Sys,
    private readonly fd: number,
  ) {
    this.end = eventFd(sys);
  }

  read(target: Uint8Array): number {
    const length = this.sys.syscall(NR.read, this.fd, target, target.length);
    this.isGone = length < 0 && length !== -ERRNO.EAGAIN && length !== -ERRNO.EINTR;
    return Math.max(0, length);
  }

  write(frame: Uint8Array): boolean {
    return this.sys.syscall(NR.write, this.fd, frame, frame.length) === frame.length;
  }

  wait(listener: () => void): void {
    // The thread would find it ready for ever.
    if (this.isGone) return;
    this.listener = listener;
    this.worker ??= this.start();
    Atomics.store(this.words, 0, TAP_ARMED);
    Atomics.notify(this.words, 0);
  }

  async close(): Promise<void> {
    const { worker, sys } = this;
    this.listener = () => {};
    this.worker = null;
    process.off('exit', this.release);
    this.release();
    if (worker !== null) await new Promise((resolve) => worker.once('exit', resolve));
    sys.syscall(NR.close, this.end);
    sys.syscall(NR.close, this.fd);
  }

  private start(): Worker {
    const state = this.words.buffer as SharedArrayBuffer;
    const workerData: TapWaiter = { tap: this.fd, end: this.end, state };
    const url = workerUrl('tap-worker');
    const worker = new Worker(url, { workerData, execArgv: workerFlags() });
    worker.on('message', () => this.listener());
    // Whoever ends the process need not wait for a frame.
    worker.unref();
    process.once('exit', this.release);
    return worker;
  }
}

/**
 * The TAP `name`, which is made where there is none and the process may. `VmmError('unavailable')`
 * says what is missing. `sys` is this machine's kernel unless given.
 */
export function openTap(name: string, sys = kernel()): Tap {
  const fd = sys.syscall(NR.openat, AT_FDCWD, cString(DEVICE), O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) throw tapError(name, `${DEVICE}: ${errnoName(fd)}`, fd);
  const request = make(IFREQ, { ifr_flags: IFF_TAP | IFF_NO_PI });
  request.bytes.set(cString(name).subarray(0, IFNAMSIZ - 1));
  const result = sys.syscall(NR.ioctl, fd, TUNSETIFF, request.bytes);
  if (result >= 0) return new LinuxTap(sys, fd);
  sys.syscall(NR.close, fd);
  throw tapError(name, errnoName(result), result);
}

function kernel(): Sys {
  const loaded = addonSys();
  if ('sys' in loaded) return loaded.sys;
  throw new VmmError('unavailable', `a TAP: ${loaded.reason}`, { remedy: loaded.remedy });
}

function tapError(name: string, reason: string, result: number): VmmError {
  const remedy =
    -result === ERRNO.EBUSY
      ? 'end the process that has it, or name another one'
      : `as root: ip tuntap add dev ${name} mode tap user NAME, with NAME whoever runs this`;
  return new VmmError('unavailable', `TAP ${name}: ${reason}`, { remedy });
}
