/**
 * FXSAVE and FXRSTOR: the 512-byte image of x87, MMX and SSE state.
 *
 * Source: AMD APM vol. 2, 11.4.4; vol. 3, FXSAVE, FXRSTOR. The x87 pointers are always stored, as
 * newer processors do.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR0_EM, CR0_TS, VECTOR_NM } from '../cpu/registers.js';
import { NEXT, type Outcome } from './outcome.js';

/** MXCSR bits that can be set. */
export const MXCSR_MASK = 0xffff;
const IMAGE = 416;
const XMM_AT = 160;
const ST_AT = 32;

const image = new Uint8Array(IMAGE);
const view = new DataView(image.buffer);
/** The image in pieces that one access may move. */
const pieces = [0, 64, 128, 192, 256, 320, 384].map((from) =>
  image.subarray(from, Math.min(from + 64, IMAGE)),
);

function begin(cpu: Processor): void {
  if ((cpu.record.i32(L.CR0) & (CR0_EM | CR0_TS)) !== 0) cpu.raise(VECTOR_NM);
  if ((cpu.record.lo(L.ARG0) & 15) !== 0) cpu.gp();
}

/** XMM registers that the mode has. */
function vectorBytes(cpu: Processor): number {
  return cpu.is64 ? 256 : 128;
}

/** FXSAVE: ARG0 the linear address, ARG1 1 with REX.W. */
export function fxsave(cpu: Processor): Outcome {
  begin(cpu);
  const { record, memory } = cpu;
  const lo = record.lo(L.ARG0);
  const hi = record.hi(L.ARG0);
  const length = XMM_AT + vectorBytes(cpu);
  buildImage(cpu, record.lo(L.ARG1) !== 0);
  memory.probeWrite(lo, hi, 16, cpu.cpl);
  memory.probeWrite((lo + length - 16) | 0, next(hi, lo, length - 16), 16, cpu.cpl);
  for (let at = 0; at < length; at += 64) {
    const piece = pieces[at / 64];
    const part = length - at < piece.length ? piece.subarray(0, length - at) : piece;
    memory.writeBytes((lo + at) | 0, next(hi, lo, at), part, cpu.cpl);
  }
  return NEXT;
}

/** High half of the address `bytes` behind `lo`/`hi`. */
function next(hi: number, lo: number, bytes: number): number {
  return (lo + bytes) >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi;
}

function buildImage(cpu: Processor, wide: boolean): void {
  const { record } = cpu;
  image.fill(0);
  view.setUint16(0, record.u16(L.FCW), true);
  const status = record.u16(L.FSW);
  view.setUint16(2, status, true);
  view.setUint8(4, abridgedTags(record.u16(L.FTW)));
  view.setUint16(6, record.u16(L.FOP), true);
  view.setInt32(8, record.lo(L.FIP), true);
  view.setInt32(16, record.lo(L.FDP), true);
  if (wide) {
    view.setInt32(12, record.hi(L.FIP), true);
    view.setInt32(20, record.hi(L.FDP), true);
  } else {
    view.setUint16(12, record.u16(L.FCS), true);
    view.setUint16(20, record.u16(L.FDS), true);
  }
  view.setInt32(24, record.i32(L.MXCSR), true);
  view.setInt32(28, MXCSR_MASK, true);
  const top = (status >>> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const from = L.ST + ((top + i) & 7) * 16;
    image.set(record.bytes.subarray(from, from + 10), ST_AT + i * 16);
  }
  image.set(record.bytes.subarray(L.XMM, L.XMM + vectorBytes(cpu)), XMM_AT);
}

/** One bit a physical register: not empty. */
export function abridgedTags(tags: number): number {
  let abridged = 0;
  for (let i = 0; i < 8; i++) if (((tags >>> (i * 2)) & 3) !== 3) abridged |= 1 << i;
  return abridged;
}

/** FXRSTOR: ARG0 the linear address, ARG1 1 with REX.W. */
export function fxrstor(cpu: Processor): Outcome {
  begin(cpu);
  const { record, memory } = cpu;
  const lo = record.lo(L.ARG0);
  const hi = record.hi(L.ARG0);
  const length = XMM_AT + vectorBytes(cpu);
  for (let at = 0; at < length; at += 64) {
    const piece = pieces[at / 64];
    const part = length - at < piece.length ? piece.subarray(0, length - at) : piece;
    memory.readBytes((lo + at) | 0, next(hi, lo, at), part, cpu.cpl);
  }
  const mxcsr = view.getUint32(24, true);
  if ((mxcsr & ~MXCSR_MASK) !== 0) cpu.gp();
  loadImage(cpu, record.lo(L.ARG1) !== 0);
  record.setI32(L.MXCSR, mxcsr);
  record.bytes.set(image.subarray(XMM_AT, length), L.XMM);
  cpu.fpuStateChanged();
  return NEXT;
}

function loadImage(cpu: Processor, wide: boolean): void {
  const { record } = cpu;
  const status = view.getUint16(2, true);
  const top = (status >>> 11) & 7;
  record.setU16(L.FCW, (view.getUint16(0, true) & 0x1f7f) | 0x40);
  record.setU16(L.FSW, status);
  record.setU16(L.FOP, view.getUint16(6, true) & 0x7ff);
  record.setPair(L.FIP, view.getInt32(8, true), wide ? view.getInt32(12, true) : 0);
  record.setPair(L.FDP, view.getInt32(16, true), wide ? view.getInt32(20, true) : 0);
  record.setU16(L.FCS, wide ? 0 : view.getUint16(12, true));
  record.setU16(L.FDS, wide ? 0 : view.getUint16(20, true));
  for (let i = 0; i < 8; i++) {
    const to = L.ST + ((top + i) & 7) * 16;
    record.bytes.set(image.subarray(ST_AT + i * 16, ST_AT + i * 16 + 10), to);
  }
  record.setU16(L.FTW, fullTags(record.bytes, view.getUint8(4)));
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
