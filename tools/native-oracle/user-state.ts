/**
 * What a user program sees of a processor: registers, flags, FXSAVE image and a window of data, as
 * bytes in the layout of `struct state` in `oracle.c`.
 */
import { STATE_SIZE } from './oracle.js';

export type Bits = 16 | 32 | 64;

/** Linear addresses, the same natively and emulated. */
export const CODE_PAGE = 0x200000;
export const CODE_AT = 0x800;
export const DATA_PAGE = 0x300000;
export const DATA_PAGES = 0x2000;
/** The window lies across the border of two pages. */
export const DATA_AT = 0xf80;
export const DATA_SIZE = 1024;
/** Bytes of it in which operands lie; images take all. */
export const OPERANDS_SIZE = 256;

const RFLAGS = 128;
const RIP = 136;
const FX = 144;
const DATA = FX + 512;

/** Offset of the code in its segment. */
export function codeStart(bits: Bits): number {
  return bits === 16 ? CODE_AT : CODE_PAGE + CODE_AT;
}

/** Offset of the window in the data segment. */
export function dataStart(bits: Bits): number {
  return bits === 16 ? DATA_AT : DATA_PAGE + DATA_AT;
}

/** Parts of the FXSAVE image, by offset. */
export const FX_IMAGE = { fcw: 0, fsw: 2, tags: 4, fop: 6, fip: 8, fdp: 16, mxcsr: 24 } as const;
export const FX_ST = 32;
export const FX_XMM = 160;

export class UserState {
  readonly view: DataView;
  readonly fx: DataView;
  /** The FXSAVE image. */
  readonly fxBytes: Uint8Array;
  readonly data: Uint8Array;

  constructor(readonly bytes: Uint8Array = new Uint8Array(STATE_SIZE)) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, STATE_SIZE);
    this.fx = new DataView(bytes.buffer, bytes.byteOffset + FX, 512);
    this.fxBytes = bytes.subarray(FX, FX + 512);
    this.data = bytes.subarray(DATA, DATA + DATA_SIZE);
  }

  gpr(index: number): bigint {
    return this.view.getBigUint64(index * 8, true);
  }

  setGpr(index: number, value: bigint | number): void {
    this.view.setBigUint64(index * 8, BigInt.asUintN(64, BigInt(value)), true);
  }

  get rflags(): number {
    return this.view.getUint32(RFLAGS, true);
  }

  set rflags(value: number) {
    this.view.setUint32(RFLAGS, value, true);
  }

  get rip(): bigint {
    return this.view.getBigUint64(RIP, true);
  }

  set rip(value: bigint) {
    this.view.setBigUint64(RIP, value, true);
  }

  /** Writes the low bytes of `value` at `offset` of the window. */
  setData(offset: number, value: bigint | number, bytes: number): void {
    let rest = BigInt(value);
    for (let i = 0; i < bytes; i++) {
      if (offset + i >= 0 && offset + i < DATA_SIZE) this.data[offset + i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
  }
}
