/**
 * The port by `node:ffi`: against the real module where this Node has it, else against one that
 * writes down what it is asked. The release check runs a guest through it on Node 26.
 */
import { describe, expect, test } from 'vitest';
import { ERRNO, NR } from '../abi/linux.js';
import { type FfiModule, ffiModule, ffiSys } from './node-ffi.js';
import { cString } from './sys.js';

/** `node:ffi` with a system call of its own. */
function fakeFfi(answer: (words: readonly bigint[]) => bigint, errno = 0): FfiModule {
  return {
    dlopen: () => ({
      functions: { syscall: (...words) => answer(words), __errno_location: () => 0x99n },
    }),
    getRawPointer: (bytes) => 0x1000n + BigInt(bytes.byteOffset),
    toArrayBuffer: (address, length, copy) => {
      expect([address, copy]).toEqual([0x2000n, false]);
      return new ArrayBuffer(length);
    },
    getInt32: (address) => (address === 0x99n ? errno : 0),
  };
}

describe('without the module', () => {
  test('words are filled up to seven; bytes stand for their address', () => {
    const asked: (readonly bigint[])[] = [];
    const answer = (words: readonly bigint[]) => BigInt(asked.push(words)) + 4n;
    const sys = ffiSys(fakeFfi(answer));
    const bytes = new Uint8Array(8).subarray(3);
    expect(sys.syscall(16, 3, bytes, 2n ** 64n - 1n)).toBe(5);
    expect(asked).toEqual([[16n, 3n, 0x1003n, -1n, 0n, 0n, 0n]]);
  });

  test('-1 is the error number', () => {
    const sys = ffiSys(fakeFfi(() => -1n, ERRNO.EINTR));
    expect(sys.syscall(NR.ioctl, 1, 2)).toBe(-ERRNO.EINTR);
  });

  test('views are lent and taken back', () => {
    const sys = ffiSys(fakeFfi(() => 0n));
    const buffer = sys.view(0x2000, 64);
    sys.detach(buffer);
    expect(buffer.byteLength).toBe(0);
  });
});

const real = ffiModule();

test.skipIf(real === null)('with node:ffi, which Node has from 26.1 on', () => {
  const sys = ffiSys(real!);
  expect(sys.syscall(NR.getpid)).toBe(process.pid);
  expect(sys.syscall(NR.openat, -100, cString('/no/such/file'), 0, 0)).toBe(-ERRNO.ENOENT);
});
