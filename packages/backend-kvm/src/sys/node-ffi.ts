/**
 * The port by Node's own foreign function interface (`node:ffi`, Node 26.1 and later,
 * experimental), for a process that may load no addons. System calls go through the C library's
 * syscall(2), whose error number is read right behind each call.
 */
import type { Sys, Word } from './sys.js';

/** What is used of `node:ffi`. */
export interface FfiModule {
  dlopen(
    path: null,
    signatures: Readonly<
      Record<string, { readonly return: string; readonly arguments: readonly string[] }>
    >,
  ): { readonly functions: Readonly<Record<string, (...words: bigint[]) => bigint>> };
  getRawPointer(bytes: Uint8Array): bigint;
  toArrayBuffer(address: bigint, length: number, copy: boolean): ArrayBuffer;
  getInt32(address: bigint, offset: number): number;
}

const WORDS = 7;
const PARAMETERS = Array.from({ length: WORDS }, () => 'int64');

/** The module where this Node has it, else null. */
export function ffiModule(): FfiModule | null {
  const { process: host } = globalThis as {
    process?: { getBuiltinModule?(name: string): unknown };
  };
  return (host?.getBuiltinModule?.('node:ffi') as FfiModule | undefined) ?? null;
}

/** The port; throws what `node:ffi` throws where it is refused, e.g. by the permission model. */
export function ffiSys(ffi: FfiModule): Sys {
  const { functions } = ffi.dlopen(null, {
    syscall: { return: 'int64', arguments: PARAMETERS },
    __errno_location: { return: 'pointer', arguments: [] },
  });
  const call = functions['syscall']!;
  // The place is the thread's: this module is loaded once in each.
  const errno = functions['__errno_location']!();
  const bits = (word: Word): bigint => {
    if (typeof word === 'number') return BigInt(word);
    return BigInt.asIntN(64, typeof word === 'bigint' ? word : ffi.getRawPointer(word));
  };
  return {
    name: 'node:ffi',
    syscall(number, ...words) {
      const all = [BigInt(number), ...words.map(bits)];
      while (all.length < WORDS) all.push(0n);
      const result = call(...all);
      return result === -1n ? -ffi.getInt32(errno, 0) : Number(result);
    },
    view: (address, length) => ffi.toArrayBuffer(BigInt(address), length, false),
    detach: (buffer) => void structuredClone(buffer, { transfer: [buffer] }),
    addressOf: (bytes) => ffi.getRawPointer(bytes),
  };
}
