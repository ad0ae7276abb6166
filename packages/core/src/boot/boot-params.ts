/**
 * Linux's `boot_params` ("zero page"): the record that a boot loader hands to the kernel.
 *
 * Source: Linux Documentation/arch/x86/zero-page.rst and arch/x86/include/uapi/asm/bootparam.h.
 * Video fields stay 0: there is no display.
 */

import { VmmError } from '../interfaces/error.js';
import type { E820Entry } from '../interfaces/launch-plan.js';
import { type BzImage, HDR } from './bzimage.js';
import { PAGE_SIZE } from './memory-layout.js';

const ACPI_RSDP_ADDR = 0x070;
const EXT_RAMDISK_IMAGE = 0x0c0;
const EXT_RAMDISK_SIZE = 0x0c4;
const EXT_CMD_LINE_PTR = 0x0c8;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const E820_MAX = 128;
const E820_ENTRY_SIZE = 20;
/** The header may be copied up to the EDD buffer's start at most. */
const HEADER_END = 0x290;

/** "Undefined" boot loader. */
const LOADER_UNDEFINED = 0xff;
const LOADED_HIGH = 1;

export interface BootParams {
  readonly image: BzImage;
  readonly loadAddress: number;
  readonly commandLine: number;
  readonly initrd: { readonly gpa: number; readonly size: number } | null;
  readonly rsdp: number | null;
  readonly e820: readonly E820Entry[];
}

/** The page of boot_params. */
export function bootParams(params: BootParams): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  const low = (value: number) => value % 2 ** 32;
  const high = (value: number) => Math.floor(value / 2 ** 32);

  page.set(params.image.header.subarray(0, HEADER_END - HDR.setupSects), HDR.setupSects);
  view.setUint8(HDR.typeOfLoader, LOADER_UNDEFINED);
  view.setUint8(HDR.loadflags, params.image.loadflags | LOADED_HIGH);
  view.setUint32(HDR.code32Start, params.loadAddress, true);
  view.setUint32(HDR.cmdLinePtr, low(params.commandLine), true);
  view.setUint32(EXT_CMD_LINE_PTR, high(params.commandLine), true);
  view.setBigUint64(HDR.setupData, 0n, true);
  const { gpa, size } = params.initrd ?? { gpa: 0, size: 0 };
  view.setUint32(HDR.ramdiskImage, low(gpa), true);
  view.setUint32(EXT_RAMDISK_IMAGE, high(gpa), true);
  view.setUint32(HDR.ramdiskSize, low(size), true);
  view.setUint32(EXT_RAMDISK_SIZE, high(size), true);
  view.setBigUint64(ACPI_RSDP_ADDR, BigInt(params.rsdp ?? 0), true);

  if (params.e820.length > E820_MAX) {
    throw new VmmError('invalid-config', `${params.e820.length} E820 entries; Linux takes 128`);
  }
  view.setUint8(E820_ENTRIES, params.e820.length);
  for (const [index, { base, length, type }] of params.e820.entries()) {
    const at = E820_TABLE + index * E820_ENTRY_SIZE;
    view.setBigUint64(at, BigInt(base), true);
    view.setBigUint64(at + 8, BigInt(length), true);
    view.setUint32(at + 16, type, true);
  }
  return page;
}
