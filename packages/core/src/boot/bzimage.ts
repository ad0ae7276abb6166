/**
 * The header of a Linux/x86 bzImage, read and checked.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and "Details of
 * Header Fields"; offsets are those of the file and of `boot_params` alike. Protocols older than
 * 2.06 (before 2007) and zImages are refused.
 */
import { VmmError } from '../interfaces/error.js';
import { hex, sizeText } from './placement.js';

/** Offsets of the fields in use. */
export const HDR = {
  setupSects: 0x1f1,
  syssize: 0x1f4,
  bootFlag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatable: 0x234,
  xloadflags: 0x236,
  cmdlineSize: 0x238,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  setupData: 0x250,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;

const BOOT_FLAG = 0xaa55;
const HDRS = 0x53726448; // "HdrS"
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const XLF_CAN_BE_LOADED_ABOVE_4G = 2;
const MIN_VERSION = 0x206;
const SECTOR = 512;

export interface BzImage {
  /** e.g. 0x20f for 2.15. */
  readonly version: number;
  /** The header from 0x1f1 to its end, to be copied into boot_params. */
  readonly header: Uint8Array;
  /** The protected-mode code. */
  readonly code: Uint8Array;
  readonly loadflags: number;
  readonly entry64: boolean;
  readonly initrdAbove4G: boolean;
  readonly cmdlineSize: number;
  /** Highest address that a byte of the initrd may have. */
  readonly initrdAddrMax: number;
  readonly relocatable: boolean;
  readonly alignment: number;
  /** Where the kernel wants to lie, and how much memory it needs from there on. */
  readonly prefAddress: number;
  readonly initSize: number;
}

/** True when the file says that it is a Linux boot image, damaged or not. */
export function looksLikeBzImage(file: Uint8Array): boolean {
  if (file.length < HDR.version + 2) return false;
  return viewOf(file).getUint32(HDR.magic, true) === HDRS;
}

function viewOf(file: Uint8Array): DataView {
  return new DataView(file.buffer, file.byteOffset, file.byteLength);
}

function damaged(message: string): VmmError {
  return new VmmError('invalid-file', `kernel: ${message}`, { path: 'kernel' });
}

/** Reads and checks a bzImage; throws `VmmError('invalid-file' | 'unsupported')`. */
export function parseBzImage(file: Uint8Array): BzImage {
  if (file.length < HDR.initSize + 4) {
    throw damaged(`${sizeText(file.length)} is too short for a bzImage`);
  }
  const view = viewOf(file);
  const u32 = (offset: number) => view.getUint32(offset, true);
  if (view.getUint16(HDR.bootFlag, true) !== BOOT_FLAG) {
    throw damaged(`boot flag is ${hex(view.getUint16(HDR.bootFlag, true))}, not 0xaa55`);
  }
  if (u32(HDR.magic) !== HDRS) throw damaged('no "HdrS" magic at 0x202: not a bzImage');
  const version = view.getUint16(HDR.version, true);
  const versionText = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
  if (version < MIN_VERSION) {
    throw new VmmError('unsupported', `kernel: boot protocol ${versionText} is older than 2.06`, {
      path: 'kernel',
      remedy: 'use a kernel of Linux 2.6.22 or later',
    });
  }
  const loadflags = view.getUint8(HDR.loadflags);
  if ((loadflags & LOADED_HIGH) === 0) {
    throw new VmmError('unsupported', 'kernel: a zImage (loaded low) is not supported', {
      path: 'kernel',
      remedy: 'use a bzImage',
    });
  }
  const code = protectedModeCode(file, view);
  if (version >= 0x208) checkPayload(view, code.length);
  const xloadflags = version >= 0x20c ? view.getUint16(HDR.xloadflags, true) : 0;
  const header = headerOf(file, view);
  return {
    version,
    header,
    code,
    loadflags,
    entry64: (xloadflags & XLF_KERNEL_64) !== 0,
    initrdAbove4G: (xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G) !== 0,
    cmdlineSize: u32(HDR.cmdlineSize),
    initrdAddrMax: u32(HDR.initrdAddrMax),
    relocatable: view.getUint8(HDR.relocatable) !== 0,
    ...placementOf(view, version, code.length),
  };
}

function headerOf(file: Uint8Array, view: DataView): Uint8Array {
  const end = HDR.magic + view.getUint8(HDR.jump + 1);
  // A header that ends before init_size belongs to a protocol that this file refused, or is forged.
  if (end < HDR.cmdlineSize + 4 || end > file.length) {
    throw damaged(`setup header ends at ${hex(end)}, which can't be`);
  }
  return file.subarray(HDR.setupSects, end);
}

function protectedModeCode(file: Uint8Array, view: DataView): Uint8Array {
  const setupSects = view.getUint8(HDR.setupSects) || 4;
  const start = (setupSects + 1) * SECTOR;
  const length = view.getUint32(HDR.syssize, true) * 16;
  if (length === 0) throw damaged('the header says that there is no protected-mode code');
  if (start + length > file.length) {
    throw damaged(
      `truncated: the header promises ${start + length} bytes, the file has ${file.length}`,
    );
  }
  return file.subarray(start, start + length);
}

function checkPayload(view: DataView, codeLength: number): void {
  const offset = view.getUint32(HDR.payloadOffset, true);
  const length = view.getUint32(HDR.payloadLength, true);
  if (offset + length > codeLength) {
    throw damaged(
      `payload (${sizeText(length)} at ${hex(offset)}) exceeds ` +
        `${sizeText(codeLength)} of protected-mode code`,
    );
  }
}

function placementOf(view: DataView, version: number, codeLength: number) {
  const alignment = view.getUint32(HDR.kernelAlignment, true) || 0x200000;
  if (!Number.isInteger(Math.log2(alignment))) {
    throw damaged(`kernel_alignment ${hex(alignment)} is not a power of two`);
  }
  if (version < 0x20a) {
    // Without pref_address and init_size the kernel lies at 1 MiB; what it unpacks to is unknown.
    return { alignment: 0x100000, prefAddress: 0x100000, initSize: codeLength };
  }
  const prefAddress = view.getBigUint64(HDR.prefAddress, true);
  if (prefAddress >= 0x1_0000_0000n) {
    throw damaged(`pref_address 0x${prefAddress.toString(16)} is beyond 4 GiB`);
  }
  const initSize = Math.max(view.getUint32(HDR.initSize, true), codeLength);
  return { alignment, prefAddress: Number(prefAddress), initSize };
}
