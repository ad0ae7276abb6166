/**
 * The port to the kernel: four calls. Everything else of this backend is built on them, so that a
 * scripted fake can stand in for the kernel in tests.
 */
import { VmmError, type VmmErrorCode } from '@cloister/core/error';
import { KVM, type KvmIoctl } from '../abi/ioctls.js';
import { ERRNO, NR } from '../abi/linux.js';

/** A word of a system call: a number, a bigint, or bytes, which stand for their address. */
export type Word = number | bigint | Uint8Array;

export interface Sys {
  /** What answers: `addon`, `node:ffi` or `fake`. */
  readonly name: string;
  /** A Linux system call: its result, or `-errno`. */
  syscall(number: number, ...words: readonly Word[]): number;
  /** An `ArrayBuffer` over mapped memory; several may lie over the same. */
  view(address: number, length: number): ArrayBuffer;
  /** Empties a buffer that `view` gave, before its memory is unmapped. */
  detach(buffer: ArrayBuffer): void;
  /** Where the bytes of a typed array lie. */
  addressOf(bytes: Uint8Array): bigint;
}

const NAMES = new Map(Object.entries(ERRNO).map(([name, number]) => [number as number, name]));

/** `EINVAL` for 22 or -22. */
export function errnoName(errno: number): string {
  const positive = Math.abs(errno);
  return NAMES.get(positive) ?? `errno ${positive}`;
}

const CODES: Readonly<Record<number, VmmErrorCode>> = {
  [ERRNO.ENOMEM]: 'out-of-memory',
  [ERRNO.ENOSPC]: 'out-of-memory',
  [ERRNO.EACCES]: 'unavailable',
  [ERRNO.EPERM]: 'unavailable',
  [ERRNO.ENOENT]: 'unavailable',
  [ERRNO.ENODEV]: 'unavailable',
  [ERRNO.EMFILE]: 'unavailable',
  [ERRNO.ENOTTY]: 'unsupported',
  [ERRNO.EOPNOTSUPP]: 'unsupported',
  [ERRNO.EINVAL]: 'invalid-argument',
  [ERRNO.EEXIST]: 'invalid-argument',
};

const REMEDIES: Readonly<Record<number, string>> = {
  [ERRNO.ENOMEM]: 'give the VM less memory, or free some',
  [ERRNO.EMFILE]: 'dispose of VMs that are not needed, or raise the limit of open files',
};

/** The error of a refused call; `what` says in words what was tried. */
export function sysError(what: string, result: number): VmmError {
  const errno = Math.abs(result);
  const remedy = REMEDIES[errno];
  return new VmmError(CODES[errno] ?? 'io-failed', `${what}: ${errnoName(errno)}`, {
    ...(remedy !== undefined && { remedy }),
  });
}

/** The result of a call that must not fail. */
export function checked(what: string, result: number): number {
  if (result < 0) throw sysError(what, result);
  return result;
}

/** An ioctl of KVM that must not fail; the error names it. */
export function ioctl(sys: Sys, fd: number, name: KvmIoctl, argument: Word = 0): number {
  return checked(`KVM_${name}`, sys.syscall(NR.ioctl, fd, KVM[name], argument));
}

/** An ioctl of KVM whose failure the caller looks at. */
export function tryIoctl(sys: Sys, fd: number, name: KvmIoctl, argument: Word = 0): number {
  return sys.syscall(NR.ioctl, fd, KVM[name], argument);
}

/** A path or name as the kernel takes it. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
