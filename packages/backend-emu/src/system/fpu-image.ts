/**
 * The image of x87 and SSE state that FXSAVE and XSAVE share, and its way to and from memory.
 *
 * Source: AMD APM vol. 2, 11.4.4 (figures 11-8 and 11-9); vol. 3, FXSAVE, FXRSTOR. Pointers and
 * opcode of the last x87 instruction are stored as zeros where no exception is pending, as
 * processors do that state RstrFpErrPtrs (CPUID Fn8000_0008).
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { READ, WRITE } from '../mmu/walk.js';

/** MXCSR bits that can be set. */
export const MXCSR_MASK = 0xffff;
export const MXCSR_DEFAULT = 0x1f80;
/** Places and sizes in bytes. */
export const ST_AT = 32;
export const XMM_AT = 160;
export const LEGACY_SIZE = 416;
const XMM_SIZE = LEGACY_SIZE - XMM_AT;
const CONTROL_DEFAULT = 0x37f;
const EXCEPTIONS = 0x3f;
const SUMMARY = 0x8080;
const PIECE = 64;

/** The image: what an instruction builds here it then moves, and the other way round. */
export const image = new Uint8Array(LEGACY_SIZE);
const view = new DataView(image.buffer);

/** Bytes of the XMM registers that the mode has. */
export function vectorBytes(cpu: Processor): number {
  return cpu.is64 ? XMM_SIZE : XMM_SIZE / 2;
}

/** Where an image is: at a linear address that is a multiple of 16. */
export interface Place {
  readonly lo: number;
  readonly hi: number;
  /** Host address, while all that is accessed is known to lie there; -1: each piece is found. */
  host: number;
}

/** High half of the address `bytes` into the image. */
function highHalf(cpu: Processor, { lo, hi }: Place, bytes: number): number {
  if (!cpu.is64) return hi;
  return (lo + bytes) >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi;
}

/** Finds out whether the image's first `size` bytes can be read at once: then without a fault. */
export function beginReading(cpu: Processor, place: Place, size: number): void {
  place.host = cpu.memory.direct(place.lo, place.hi, size, READ, cpu.cpl);
}

/**
 * As `beginReading`, of writes, of which the first is at byte `first`: where the TLB does not know
 * the page, it may after that one has been looked up, with its fault.
 */
export function beginWriting(cpu: Processor, place: Place, size: number, first = 0): void {
  place.host = cpu.memory.direct(place.lo, place.hi, size, WRITE, cpu.cpl);
  if (place.host >= 0) return;
  probe(cpu, place, first, 8);
  place.host = cpu.memory.direct(place.lo, place.hi, size, WRITE, cpu.cpl);
}

/** Makes sure that the `size` bytes, at most 64, at byte `at` of the image can be written. */
export function probe(cpu: Processor, place: Place, at: number, size: number): void {
  const lo = (place.lo + at) | 0;
  cpu.memory.probeWrite(lo, highHalf(cpu, place, at), size, cpu.cpl);
}

/** Reads `target` from byte `at` of the image on: at most 64 bytes, or where `host` is known. */
export function read(cpu: Processor, place: Place, at: number, target: Uint8Array): void {
  const from = place.host + at;
  if (place.host >= 0) {
    target.set(cpu.physical.memory.subarray(from, from + target.length));
    return;
  }
  cpu.memory.readBytes((place.lo + at) | 0, highHalf(cpu, place, at), target, cpu.cpl);
}

/** Writes `source` to byte `at` of the image on, as `read` reads. */
export function write(cpu: Processor, place: Place, at: number, source: Uint8Array): void {
  if (place.host >= 0) cpu.physical.memory.set(source, place.host + at);
  else cpu.memory.writeBytes((place.lo + at) | 0, highHalf(cpu, place, at), source, cpu.cpl);
}

type Mover = typeof read;

function move(cpu: Processor, mover: Mover, place: Place, at: number, to: number): void {
  const piece = place.host >= 0 ? to - at : PIECE;
  for (let from = at; from < to; from += piece) {
    mover(cpu, place, from, image.subarray(from, Math.min(from + piece, to)));
  }
}

/** Reads bytes `at` to `to` of the image. */
export function readImage(cpu: Processor, place: Place, at: number, to: number): void {
  move(cpu, read, place, at, to);
}

export function writeImage(cpu: Processor, place: Place, at: number, to: number): void {
  move(cpu, write, place, at, to);
}

/** x87 state, with pointers of 64 bits where `wide`. */
export function storeX87({ record }: Processor, wide: boolean): void {
  image.fill(0, 0, 24);
  image.fill(0, ST_AT, XMM_AT);
  view.setUint16(0, record.u16(L.FCW), true);
  const status = record.u16(L.FSW);
  view.setUint16(2, status, true);
  view.setUint8(4, abridgedTags(record.u16(L.FTW)));
  if ((status & SUMMARY) !== 0) {
    view.setUint16(6, record.u16(L.FOP), true);
    view.setBigUint64(8, record.u64(L.FIP), true);
    view.setBigUint64(16, record.u64(L.FDP), true);
    if (!wide) {
      view.setUint32(12, record.u16(L.FCS), true);
      view.setUint32(20, record.u16(L.FDS), true);
    }
  }
  const top = (status >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const from = L.ST + ((top + i) & 7) * 16;
    image.set(record.bytes.subarray(from, from + 10), ST_AT + i * 16);
  }
}

export function storeMxcsr({ record }: Processor): void {
  view.setInt32(24, record.i32(L.MXCSR), true);
  view.setInt32(28, MXCSR_MASK, true);
}

export function storeVectors(cpu: Processor): void {
  image.set(cpu.record.bytes.subarray(L.XMM, L.XMM + vectorBytes(cpu)), XMM_AT);
}

/** ES and B come of exceptions and masks, not of the image. */
export function loadX87(cpu: Processor, wide: boolean): void {
  const { record } = cpu;
  const control = (view.getUint16(0, true) & 0x1f7f) | 0x40;
  const flags = view.getUint16(2, true) & ~SUMMARY;
  const status = (flags & ~control & EXCEPTIONS) !== 0 ? flags | SUMMARY : flags;
  record.setU16(L.FCW, control);
  record.setU16(L.FSW, status);
  record.setU16(L.FOP, view.getUint16(6, true) & 0x7ff);
  record.setPair(L.FIP, view.getInt32(8, true), wide ? view.getInt32(12, true) : 0);
  record.setPair(L.FDP, view.getInt32(16, true), wide ? view.getInt32(20, true) : 0);
  record.setU16(L.FCS, wide ? 0 : view.getUint16(12, true));
  record.setU16(L.FDS, wide ? 0 : view.getUint16(20, true));
  const top = (status >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const to = L.ST + ((top + i) & 7) * 16;
    record.bytes.set(image.subarray(ST_AT + i * 16, ST_AT + i * 16 + 10), to);
  }
  record.setU16(L.FTW, fullTags(record.bytes, view.getUint8(4)));
  cpu.fpuStateChanged();
}

/** Whether MXCSR in the image has no bit that cannot be set. */
export function mxcsrIsGood(): boolean {
  return (view.getUint32(24, true) & ~MXCSR_MASK) === 0;
}

export function loadMxcsr({ record }: Processor): void {
  record.setI32(L.MXCSR, view.getInt32(24, true));
}

export function loadVectors(cpu: Processor): void {
  cpu.record.bytes.set(image.subarray(XMM_AT, XMM_AT + vectorBytes(cpu)), L.XMM);
}

/** Copies all registers to `target`, pointers with 64 bits, whatever the mode and exceptions. */
export function takeImage(cpu: Processor, target: Uint8Array): void {
  const { record } = cpu;
  storeX87(cpu, true);
  view.setUint16(6, record.u16(L.FOP), true);
  view.setBigUint64(8, record.u64(L.FIP), true);
  view.setBigUint64(16, record.u64(L.FDP), true);
  storeMxcsr(cpu);
  image.set(record.bytes.subarray(L.XMM, L.XMM + XMM_SIZE), XMM_AT);
  target.set(image);
}

/** Sets all registers by an image of that form; bits of MXCSR that do not exist are dropped. */
export function putImage(cpu: Processor, source: Uint8Array): void {
  image.set(source.subarray(0, LEGACY_SIZE));
  loadX87(cpu, true);
  cpu.record.setI32(L.MXCSR, view.getUint32(24, true) & MXCSR_MASK);
  cpu.record.bytes.set(image.subarray(XMM_AT), L.XMM);
}

/** The initial configurations, AMD APM vol. 2, 11.5.5. */
export function initialiseX87(cpu: Processor): void {
  const { record } = cpu;
  record.bytes.fill(0, L.ST, L.ST + 128);
  record.setU16(L.FCW, CONTROL_DEFAULT);
  record.setU16(L.FSW, 0);
  record.setU16(L.FTW, 0xffff);
  record.setU16(L.FOP, 0);
  record.setPair(L.FIP, 0, 0);
  record.setPair(L.FDP, 0, 0);
  record.setU16(L.FCS, 0);
  record.setU16(L.FDS, 0);
  cpu.fpuStateChanged();
}

export function initialiseVectors(cpu: Processor): void {
  cpu.record.bytes.fill(0, L.XMM, L.XMM + vectorBytes(cpu));
}

/** Whether the x87 state differs from its initial configuration. Pointers do not count. */
export function x87InUse({ record }: Processor): boolean {
  const { words, halves } = record;
  const controls =
    halves[L.FCW >> 1] !== CONTROL_DEFAULT ||
    halves[L.FSW >> 1] !== 0 ||
    abridgedTags(halves[L.FTW >> 1]) !== 0;
  if (controls) return true;
  for (let at = L.ST; at < L.ST + 128; at += 16) {
    const mantissa = words[at >> 2] | words[(at + 4) >> 2];
    if (mantissa !== 0 || halves[(at + 8) >> 1] !== 0) return true;
  }
  return false;
}

/** Whether an XMM register is not zero. */
export function vectorsInUse({ words }: Processor): boolean {
  for (let at = L.XMM; at < L.XMM + XMM_SIZE; at += 4) if (words[at >> 2] !== 0) return true;
  return false;
}

/** One bit a physical register: not empty. */
export function abridgedTags(tags: number): number {
  let abridged = 0;
  for (let i = 0; i < 8; i++) if (((tags >>> (i * 2)) & 3) !== 3) abridged |= 1 << i;
  return abridged;
}

/** The tag word, worked out from the registers: 0 valid, 1 zero, 2 special, 3 empty. */
export function fullTags(bytes: Uint8Array, abridged: number): number {
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    const tag = (abridged & (1 << i)) === 0 ? 3 : tagOf(bytes, L.ST + i * 16);
    tags |= tag << (i * 2);
  }
  return tags;
}

function tagOf(bytes: Uint8Array, at: number): number {
  const exponent = (bytes[at + 8] | (bytes[at + 9] << 8)) & 0x7fff;
  let zero = true;
  for (let i = 0; i < 8; i++) if (bytes[at + i] !== 0) zero = false;
  if (exponent === 0 && zero) return 1;
  const normal = exponent !== 0 && exponent !== 0x7fff && (bytes[at + 7] & 0x80) !== 0;
  return normal ? 0 : 2;
}
