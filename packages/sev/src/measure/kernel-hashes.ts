/**
 * The table of hashes by which OVMF knows the kernel, initrd and command line that the VMM hands
 * it (QEMU, target/i386/sev.c, `struct SevHashTable`; edk2, BlobVerifierSevHashes).
 */
import { VmmError } from '@cloister/core';
import { concat, guidBytes, sized, u16 } from '../bytes.js';
import { hashes } from '../hash/port.js';
import { PAGE_SIZE } from './launch-chain.js';

/** SHA-256 of each. */
export interface KernelHashes {
  readonly cmdline: Uint8Array;
  readonly initrd: Uint8Array;
  readonly kernel: Uint8Array;
}

export const KERNEL_HASHES_SIZE = 176;

const HEADER = guidBytes('9438d606-4f22-4cc9-b479-a793d411fd21');
const CMDLINE = guidBytes('97d02dd8-bd20-4c94-aa78-e7714d36ab2a');
const INITRD = guidBytes('44baf731-3a2f-4bd7-9af1-41e29169781d');
const KERNEL = guidBytes('4de79437-abd2-427f-b835-d5b172d2045b');
const HEADER_LENGTH = 18 + 3 * 50;

/**
 * Hashes the files as QEMU does from version 7 on: the kernel as it is, an absent initrd as
 * nothing, the command line with the NUL that ends it (an absent one is that NUL alone).
 */
export function kernelHashes(files: {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly append?: string | undefined;
}): KernelHashes {
  return {
    kernel: hashes().sha256(files.kernel),
    initrd: hashes().sha256(files.initrd ?? new Uint8Array()),
    cmdline: hashCmdline(`${files.append ?? ''}\0`),
  };
}

/** The hash of a command line, as it is: the NUL is the caller's. */
export function hashCmdline(text: string): Uint8Array {
  return hashes().sha256(new TextEncoder().encode(text));
}

/** The 176 bytes of the table. */
export function kernelHashesTable({ cmdline, initrd, kernel }: KernelHashes): Uint8Array {
  const entry = (guid: Uint8Array, hash: Uint8Array) =>
    concat(guid, u16(50), sized(hash, 32, 'a SHA-256'));
  const table = concat(
    HEADER,
    u16(HEADER_LENGTH),
    entry(CMDLINE, cmdline),
    entry(INITRD, initrd),
    entry(KERNEL, kernel),
  );
  return concat(table, new Uint8Array(KERNEL_HASHES_SIZE - table.length));
}

/** The page that holds the table at the offset of `base`, zero elsewhere. */
export function kernelHashesPage(values: KernelHashes, base: number): Uint8Array {
  const offset = base % PAGE_SIZE;
  if (offset + KERNEL_HASHES_SIZE > PAGE_SIZE) {
    throw new VmmError('invalid-file', 'firmware: the kernel hashes table crosses a page');
  }
  const page = new Uint8Array(PAGE_SIZE);
  page.set(kernelHashesTable(values), offset);
  return page;
}
