/**
 * Cheap access to one vCPU's record in the WebAssembly memory, by the offsets of `cpu/layout.ts`.
 *
 * Hot code uses `words` with an offset shifted right by two; halves of 64-bit fields are signed
 * 32-bit numbers (`lo`, `hi`) throughout the processor. BigInt accessors are for cold code.
 */
import { FLAGS_ALL, FLAGS_STATUS, statusFlags, storeStatusFlags } from './flags.js';
import * as L from './layout.js';

const EFLAGS = L.EFLAGS >> 2;

export class CpuRecord {
  /** The record and its TLBs as bytes and as signed 32-bit words. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly halves: Uint16Array;
  readonly view: DataView;

  constructor(
    readonly buffer: ArrayBufferLike,
    /** Byte offset of the record in the memory, a multiple of 16. */
    readonly base: number,
  ) {
    this.bytes = new Uint8Array(buffer, base, L.CPU_STRIDE);
    this.words = new Int32Array(buffer, base, L.CPU_STRIDE >> 2);
    this.halves = new Uint16Array(buffer, base, L.CPU_STRIDE >> 1);
    this.view = new DataView(buffer, base, L.CPU_STRIDE);
  }

  u8(offset: number): number {
    return this.bytes[offset];
  }

  u16(offset: number): number {
    return this.halves[offset >> 1];
  }

  setU16(offset: number, value: number): void {
    this.halves[offset >> 1] = value;
  }

  i32(offset: number): number {
    return this.words[offset >> 2];
  }

  u32(offset: number): number {
    return this.words[offset >> 2] >>> 0;
  }

  setI32(offset: number, value: number): void {
    this.words[offset >> 2] = value;
  }

  /** Low half of a 64-bit field, signed. */
  lo(offset: number): number {
    return this.words[offset >> 2];
  }

  /** High half of a 64-bit field, signed. */
  hi(offset: number): number {
    return this.words[(offset >> 2) + 1];
  }

  setPair(offset: number, lo: number, hi: number): void {
    this.words[offset >> 2] = lo;
    this.words[(offset >> 2) + 1] = hi;
  }

  copyPair(to: number, from: number): void {
    this.words[to >> 2] = this.words[from >> 2];
    this.words[(to >> 2) + 1] = this.words[(from >> 2) + 1];
  }

  u64(offset: number): bigint {
    return this.view.getBigUint64(offset, true);
  }

  setU64(offset: number, value: bigint): void {
    this.view.setBigUint64(offset, value, true);
  }

  /** RFLAGS with the status flags worked out. The upper half of RFLAGS is always zero. */
  eflags(): number {
    return (this.words[EFLAGS] & ~FLAGS_STATUS) | statusFlags(this.words) | 2;
  }

  /** Sets the flags of `mask` as `image` has them. Reserved bits keep their fixed values. */
  setEflags(image: number, mask: number = FLAGS_ALL): void {
    if ((mask & FLAGS_STATUS) !== 0) {
      const status = (mask & FLAGS_STATUS) === FLAGS_STATUS ? 0 : statusFlags(this.words);
      storeStatusFlags(this.words, (status & ~mask) | (image & mask));
    }
    const rest = mask & FLAGS_ALL & ~FLAGS_STATUS;
    this.words[EFLAGS] = (this.words[EFLAGS] & ~rest & ~FLAGS_STATUS) | (image & rest) | 2;
  }

  segmentAttributes(index: number): number {
    return this.halves[(L.segmentOffset(index) + L.SEG_ATTRIBUTES) >> 1];
  }

  segmentSelector(index: number): number {
    return this.halves[(L.segmentOffset(index) + L.SEG_SELECTOR) >> 1];
  }

  segmentLimit(index: number): number {
    return this.words[(L.segmentOffset(index) + L.SEG_LIMIT) >> 2] >>> 0;
  }
}
