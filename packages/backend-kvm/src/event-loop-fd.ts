/**
 * The epoll descriptor of this thread's event loop: readable whenever the loop has something to do,
 * be it a socket, the end of work in libuv's pool or a message of another thread.
 *
 * Node does not tell it. A pipe that the loop watches for a moment does: of all epoll descriptors
 * of the process, that one's list has it. Source: proc(5), /proc/pid/fdinfo (`tfd:`); the inode
 * tells the pipe from what had its number before. Where it is the loop's first stream, libuv opens
 * /dev/null as well, a descriptor that it keeps in reserve.
 */
import { fstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { NR, O_CLOEXEC, O_NONBLOCK } from './abi/linux.js';
import type { Sys } from './sys/sys.js';

const FDS = '/proc/self/fd';
const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));

let found: Promise<number> | null = null;

/** The descriptor, which stays the loop's; -1 where it cannot be found. */
export function eventLoopFd(sys: Sys): Promise<number> {
  found ??= find(sys).catch(() => -1);
  return found;
}

async function find(sys: Sys): Promise<number> {
  const pipe = new Int32Array(2);
  const bytes = new Uint8Array(pipe.buffer);
  if (sys.syscall(NR.pipe2, bytes, O_NONBLOCK | O_CLOEXEC) < 0) return -1;
  const [readEnd, writeEnd] = pipe as unknown as [number, number];
  const socket = new Socket({ fd: readEnd, readable: true, writable: false });
  try {
    socket.resume();
    await turn();
    await turn();
    const entry = new RegExp(`^tfd:\\s+${readEnd} .* ino:${inode(readEnd)}\\b`, 'm');
    const all = readdirSync(FDS).map(Number);
    return all.find((fd) => watches(fd, entry)) ?? -1;
  } finally {
    socket.destroy();
    sys.syscall(NR.close, writeEnd);
  }
}

/** As fdinfo shows it. */
function inode(fd: number): string {
  return fstatSync(fd, { bigint: true }).ino.toString(16);
}

function watches(fd: number, entry: RegExp): boolean {
  try {
    if (readlinkSync(`${FDS}/${fd}`) !== 'anon_inode:[eventpoll]') return false;
    return entry.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  } catch {
    // Closed meanwhile, by another thread.
    return false;
  }
}
