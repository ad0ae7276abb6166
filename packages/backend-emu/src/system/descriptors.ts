/**
 * Segment and system descriptors in memory: reading them, and turning them into cached segments.
 *
 * Source: AMD APM vol. 2, 4.7 (legacy descriptors), 4.8 (long-mode descriptors). Tables are read
 * and written with supervisor rights whatever the CPL.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_GP } from '../cpu/registers.js';
import { IMPLICIT } from '../mmu/mmu.js';

/** Bits of a descriptor's upper half. */
export const DESC_TYPE_SHIFT = 8;
export const DESC_ACCESSED = 1 << 8;
export const DESC_WRITABLE = 1 << 9;
/** Of code: readable. */
export const DESC_READABLE = 1 << 9;
export const DESC_CONFORMING = 1 << 10;
export const DESC_CODE = 1 << 11;
export const DESC_S = 1 << 12;
export const DESC_P = 1 << 15;
export const DESC_L = 1 << 21;
export const DESC_DB = 1 << 22;
export const DESC_G = 1 << 23;

/** Types of system descriptors. */
export const TYPE_TSS16 = 1;
export const TYPE_LDT = 2;
export const TYPE_TSS16_BUSY = 3;
export const TYPE_CALL16 = 4;
export const TYPE_TASK_GATE = 5;
export const TYPE_INTERRUPT16 = 6;
export const TYPE_TRAP16 = 7;
export const TYPE_TSS = 9;
export const TYPE_TSS_BUSY = 11;
export const TYPE_CALL = 12;
export const TYPE_INTERRUPT = 14;
export const TYPE_TRAP = 15;

export function dplOf(descHi: number): number {
  return (descHi >>> 13) & 3;
}

/** Type with S: 0 to 15 are system descriptors, 16 to 31 code and data. */
export function typeOf(descHi: number): number {
  return (descHi >>> 8) & 31;
}

export function baseOf(descLo: number, descHi: number): number {
  return (descLo >>> 16) | ((descHi & 0xff) << 16) | (descHi & 0xff000000);
}

/** Limit in bytes, as signed 32 bits. */
export function limitOf(descLo: number, descHi: number): number {
  const limit = (descLo & 0xffff) | (descHi & 0xf0000);
  return (descHi & DESC_G) !== 0 ? (limit << 12) | 0xfff : limit;
}

/** Attributes in VMCB form. */
export function attributesOf(descHi: number): number {
  return ((descHi >>> 8) & 0xff) | ((descHi >>> 12) & 0xf00);
}

/** The error code that names a selector: without RPL, with EXT. */
export function selectorError(cpu: Processor, selector: number): number {
  return (selector & 0xfffc) | cpu.ext;
}

/** Address of byte `offset` of the table at `tableOffset` in the record, into `descriptor`. */
function locateEntry(cpu: Processor, tableOffset: number, offset: number): void {
  const base = cpu.record.lo(tableOffset);
  const lo = (base + offset) | 0;
  const carry = lo >>> 0 < base >>> 0 ? 1 : 0;
  cpu.descriptor.atLo = lo;
  cpu.descriptor.atHi = cpu.isLong ? (cpu.record.hi(tableOffset) + carry) | 0 : 0;
}

/** Reads 8 bytes at the descriptor's address into `lo` and `hi`. */
export function readEntry(cpu: Processor): void {
  const { descriptor, memory } = cpu;
  descriptor.lo = memory.read64(descriptor.atLo, descriptor.atHi, IMPLICIT);
  descriptor.hi = memory.high;
}

/**
 * Whether `selector` (not null) names a descriptor within its table; then `descriptor` holds its
 * address. `bytes`: 8, or 16 for system descriptors of long mode.
 */
export function findDescriptor(cpu: Processor, selector: number, bytes = 8): boolean {
  const { record } = cpu;
  const offset = selector & 0xfff8;
  if ((selector & 4) === 0) {
    if (offset + bytes - 1 > record.u32(L.GDTR + 8)) return false;
    locateEntry(cpu, L.GDTR, offset);
    return true;
  }
  const present = (record.segmentAttributes(L.SEG.ldtr) & 0x80) !== 0;
  if (!present || offset + bytes - 1 > record.segmentLimit(L.SEG.ldtr)) return false;
  locateEntry(cpu, L.segmentOffset(L.SEG.ldtr), offset);
  return true;
}

/** Reads the descriptor of `selector` into `descriptor`; `vector` with the selector if outside. */
export function readDescriptor(cpu: Processor, selector: number, vector = VECTOR_GP): void {
  if (!findDescriptor(cpu, selector)) cpu.raise(vector, selectorError(cpu, selector));
  readEntry(cpu);
}

/** Reads the upper half of a 16-byte descriptor into `upper`; its type field must be zero. */
export function readUpper(cpu: Processor, selector: number, vector = VECTOR_GP): void {
  const { descriptor, memory } = cpu;
  if (!findDescriptor(cpu, selector, 16)) cpu.raise(vector, selectorError(cpu, selector));
  const lo = (descriptor.atLo + 8) | 0;
  const hi = lo >>> 0 < 8 ? (descriptor.atHi + 1) | 0 : descriptor.atHi;
  descriptor.upper = memory.read64(lo, hi, IMPLICIT);
  if ((memory.high & 0x1f00) !== 0) cpu.raise(vector, selectorError(cpu, selector));
}

/** Sets bits of the type of the descriptor just read (accessed, busy), in memory and here. */
export function setTypeBits(cpu: Processor, bits: number): void {
  const { descriptor } = cpu;
  if ((descriptor.hi & bits) === bits) return;
  descriptor.hi |= bits;
  writeType(cpu);
}

/** Clears bits of the type of the descriptor just read, in memory and here. */
export function clearTypeBits(cpu: Processor, bits: number): void {
  cpu.descriptor.hi &= ~bits;
  writeType(cpu);
}

/** Raises the fault that a write of the descriptor's type would. */
export function probeType(cpu: Processor): void {
  const { atLo, atHi } = cpu.descriptor;
  const lo = (atLo + 5) | 0;
  cpu.memory.probeWrite(lo, lo >>> 0 < 5 ? (atHi + 1) | 0 : atHi, 1, IMPLICIT);
}

function writeType({ descriptor, memory }: Processor): void {
  const lo = (descriptor.atLo + 5) | 0;
  const hi = lo >>> 0 < 5 ? (descriptor.atHi + 1) | 0 : descriptor.atHi;
  memory.write8(lo, hi, (descriptor.hi >>> 8) & 0xff, IMPLICIT);
}

/** Loads a segment register's cache from the descriptor just read. */
export function cacheSegment(cpu: Processor, index: number, selector: number): void {
  const { record, descriptor } = cpu;
  const offset = L.segmentOffset(index);
  record.setPair(offset, baseOf(descriptor.lo, descriptor.hi), 0);
  record.setI32(offset + L.SEG_LIMIT, limitOf(descriptor.lo, descriptor.hi));
  record.setU16(offset + L.SEG_SELECTOR, selector);
  record.setU16(offset + L.SEG_ATTRIBUTES, attributesOf(descriptor.hi));
}

/** Loads a segment register's cache with given values. */
export function setSegment(
  cpu: Processor,
  index: number,
  selector: number,
  base: number,
  limit: number,
  attributes: number,
): void {
  const { record } = cpu;
  const offset = L.segmentOffset(index);
  record.setPair(offset, base, 0);
  record.setI32(offset + L.SEG_LIMIT, limit);
  record.setU16(offset + L.SEG_SELECTOR, selector);
  record.setU16(offset + L.SEG_ATTRIBUTES, attributes);
}
