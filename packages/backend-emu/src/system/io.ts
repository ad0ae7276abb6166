/**
 * IN, OUT, INS and OUTS, and the I/O permission bitmap.
 *
 * Source: AMD APM vol. 3, IN, INS, OUT, OUTS; vol. 2, 12.2.4 (bitmap). The string forms carry as
 * many items in one exit as lie in one page and the budget allows; each counts as one instruction.
 */
import { FLAG_DF, FLAG_IOPL, FLAG_IOPL_SHIFT } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { ATTR_CODE, ATTR_EXPAND_DOWN, ATTR_P } from '../cpu/mode.js';
import type { Processor } from '../cpu/processor.js';
import { IMPLICIT } from '../mmu/mmu.js';
import { GUEST_FAULT, NEXT, type Outcome, REDISPATCH } from './outcome.js';
import { checkSegment } from './segment-check.js';

const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);
const RSI = L.gprOffset(6);
const RDI = L.gprOffset(7);
const IO_MAP_BASE = 0x66;

/** #GP(0) unless IOPL or the bitmap of the TSS gives the ports. */
export function requirePorts(cpu: Processor, port: number, size: number): void {
  const { record } = cpu;
  if (!cpu.isProtected && !cpu.isV86) return;
  const iopl = (record.i32(L.EFLAGS) & FLAG_IOPL) >>> FLAG_IOPL_SHIFT;
  if (!cpu.isV86 && cpu.cpl <= iopl) return;
  const tr = L.segmentOffset(L.SEG.tr);
  const attributes = record.segmentAttributes(L.SEG.tr);
  const limit = record.segmentLimit(L.SEG.tr);
  // Only 32- and 64-bit TSSs have a bitmap.
  if ((attributes & (ATTR_P | 0xd)) !== (ATTR_P | 9) || limit < IO_MAP_BASE + 1) cpu.gp();
  const map = cpu.memory.read16(...at(cpu, tr, IO_MAP_BASE), IMPLICIT);
  const offset = map + (port >>> 3);
  if (offset + 1 > limit) cpu.gp();
  const bits = cpu.memory.read16(...at(cpu, tr, offset), IMPLICIT);
  if (((bits >>> (port & 7)) & ((1 << size) - 1)) !== 0) cpu.gp();
}

/** Linear address `offset` bytes behind the base at `field`. */
function at(cpu: Processor, field: number, offset: number): [number, number] {
  const base = cpu.record.lo(field);
  const lo = (base + offset) | 0;
  return [lo, cpu.isLong ? cpu.record.hi(field) + (lo >>> 0 < base >>> 0 ? 1 : 0) : 0];
}

/** IN: ARG0 the port, ARG1 the size in bytes → ARG0. */
export function portIn(cpu: Processor): Outcome {
  const { record } = cpu;
  const { word, single } = cpu.portData;
  const port = record.lo(L.ARG0) & 0xffff;
  const size = record.lo(L.ARG1);
  requirePorts(cpu, port, size);
  cpu.mmu.breakpoints.touchPort(port, size);
  word.setInt32(0, -1, true);
  cpu.exits.deliverIo('in', port, size, 1, single[size - 1]);
  const value = word.getInt32(0, true);
  const mask = size === 4 ? -1 : (1 << (size * 8)) - 1;
  record.setPair(L.ARG0, value & mask, 0);
  return NEXT;
}

/** OUT: ARG0 the port, ARG1 the size in bytes, ARG2 the value. */
export function portOut(cpu: Processor): Outcome {
  const { record } = cpu;
  const { word, single } = cpu.portData;
  const port = record.lo(L.ARG0) & 0xffff;
  const size = record.lo(L.ARG1);
  requirePorts(cpu, port, size);
  cpu.mmu.breakpoints.touchPort(port, size);
  word.setInt32(0, record.lo(L.ARG2), true);
  cpu.exits.deliverIo('out', port, size, 1, single[size - 1]);
  return NEXT;
}

/** What INS and OUTS have in common, worked out from their arguments, and the data of exits. */
export class PortData {
  /** Data of an exit: 1, 2 or 4 bytes, or the items of a string. */
  readonly buffer = new Uint8Array(4096);
  readonly word = new DataView(this.buffer.buffer);
  readonly single = [1, 2, 3, 4].map((size) => this.buffer.subarray(0, size));
  port = 0;
  size = 0;
  /** Items to do now. */
  items = 0;
  /** Items left in all, these included. */
  left = 0;
  addressSize = 0;
  lo = 0;
  hi = 0;
  private register = 0;
  private backwards = false;
  private repeated = false;

  /** False if there is nothing to do. `segment`: place of its base in the record. */
  begin(cpu: Processor, register: number, segment: number): boolean {
    const { record } = cpu;
    this.port = record.lo(RDX) & 0xffff;
    this.size = record.lo(L.ARG0);
    this.repeated = record.lo(L.ARG1) !== 0;
    this.addressSize = record.lo(L.ARG2);
    this.register = register;
    this.backwards = (record.i32(L.EFLAGS) & FLAG_DF) !== 0;
    this.left = this.repeated ? this.read(cpu, RCX) : 1;
    // Processors ask for the right even where there is nothing to move.
    requirePorts(cpu, this.port, this.size);
    if (this.left === 0) return false;
    this.locate(cpu, segment);
    // What breakpoints see comes singly.
    const { breakpoints } = cpu.mmu;
    if (breakpoints.data || breakpoints.ports) this.items = 1;
    breakpoints.touchPort(this.port, this.size);
    return true;
  }

  private locate(cpu: Processor, segment: number): void {
    const { record } = cpu;
    const offset = this.read(cpu, this.register);
    const offsetLo = record.lo(this.register);
    if (cpu.is64) {
      const offsetHi = this.addressSize === 8 ? record.hi(this.register) : 0;
      this.lo = (record.lo(segment) + offsetLo) | 0;
      const carry = this.lo >>> 0 < offsetLo >>> 0 ? 1 : 0;
      this.hi = (record.hi(segment) + offsetHi + carry) | 0;
    } else {
      this.lo = (record.lo(segment) + offset) | 0;
      this.hi = 0;
    }
    const inPage = this.lo & 0xfff;
    const fit = Math.floor((4096 - inPage) / this.size);
    const budget = 1 + Math.max(0, record.i32(L.BUDGET));
    this.items = this.backwards ? 1 : Math.max(1, Math.min(this.left, fit, budget));
    if (!cpu.is64) this.checkLimit(cpu, segment, offset);
  }

  /** Cuts the items to what the segment holds; faults if that is nothing. */
  private checkLimit(cpu: Processor, segment: number, offset: number): void {
    const { record } = cpu;
    const write = this.register === RDI ? 1 : 0;
    if (checkSegment(record, segment, offset, this.size, write) !== 0) throw GUEST_FAULT;
    const wrap = this.addressSize === 2 ? 0xffff : 0xffffffff;
    const down =
      (record.u16(segment + L.SEG_ATTRIBUTES) & (ATTR_CODE | ATTR_EXPAND_DOWN)) ===
      ATTR_EXPAND_DOWN;
    // What follows in a segment that grows down, or at the end of the addresses, comes singly.
    const last = down ? offset : Math.min(record.u32(segment + L.SEG_LIMIT), wrap);
    this.items = Math.max(1, Math.min(this.items, Math.floor((last - offset + 1) / this.size)));
  }

  /** Moves the registers over the items done. */
  finish(cpu: Processor): Outcome {
    const { record } = cpu;
    const bytes = this.items * this.size;
    this.add(cpu, this.register, this.backwards ? -bytes : bytes);
    if (this.repeated) this.add(cpu, RCX, -this.items);
    if (this.items > 1) record.setI32(L.BUDGET, record.i32(L.BUDGET) - (this.items - 1));
    return this.items < this.left ? REDISPATCH : NEXT;
  }

  /** A register as wide as addresses are. */
  private read(cpu: Processor, register: number): number {
    const { record } = cpu;
    if (this.addressSize === 2) return record.u16(register);
    if (this.addressSize === 4) return record.u32(register);
    return (record.hi(register) >>> 0) * 2 ** 32 + record.u32(register);
  }

  private add(cpu: Processor, register: number, delta: number): void {
    const { record } = cpu;
    const before = record.lo(register);
    const lo = (before + delta) | 0;
    if (this.addressSize === 2) record.setU16(register, lo);
    else if (this.addressSize === 4) record.setPair(register, lo, 0);
    else {
      const carry = delta >= 0 ? lo >>> 0 < before >>> 0 : lo >>> 0 > before >>> 0;
      const step = carry ? (delta >= 0 ? 1 : -1) : 0;
      record.setPair(register, lo, (record.hi(register) + step) | 0);
    }
  }
}

/** The host emulates string I/O by its own view of memory: private pages are ciphertext. */
function encrypted(cpu: Processor): boolean {
  return cpu.physical.keys.cipher !== null;
}

/** INS: ARG0 the size in bytes, ARG1 1 with REP, ARG2 the address size in bytes. */
export function ins(cpu: Processor): Outcome {
  const { memory, mmu, portData: string } = cpu;
  if (!string.begin(cpu, RDI, cpu.is64 ? L.ZERO : L.segmentOffset(L.SEG.es))) return NEXT;
  const { lo, hi, size } = string;
  // The target must be writable before the device is read.
  memory.probeWrite(lo, hi, size, cpu.cpl);
  const host = mmu.translate(lo, hi, 1, cpu.cpl);
  if (host < 0) string.items = 1;
  const data = string.buffer.subarray(0, string.items * size).fill(0xff);
  cpu.exits.deliverIo('in', string.port, size, string.items, data);
  if (encrypted(cpu)) memory.writeRaw(lo, hi, data, cpu.cpl);
  else if (data.length <= 4) memory.writeBytes(lo, hi, data, cpu.cpl);
  else {
    mmu.physical.memory.set(data, host);
    mmu.physical.noteWrite(host, data.length);
  }
  return string.finish(cpu);
}

/**
 * OUTS: ARG0 the size in bytes, ARG1 1 with REP, ARG2 the address size in bytes, ARG3 the place of
 * the segment's base in the record.
 */
export function outs(cpu: Processor): Outcome {
  const { memory, mmu, record, portData: string } = cpu;
  let segment = record.lo(L.ARG3);
  if (!cpu.is64 && segment === L.ZERO) segment = L.segmentOffset(L.SEG.ds);
  if (!string.begin(cpu, RSI, segment)) return NEXT;
  const { lo, hi, size } = string;
  memory.requireAligned(lo, hi, size, cpu.cpl);
  const host = mmu.translate(lo, hi, 0, cpu.cpl);
  if (host < 0) string.items = 1;
  const data = string.buffer.subarray(0, string.items * size);
  if (encrypted(cpu)) memory.readRaw(lo, hi, data, cpu.cpl);
  else if (data.length <= 4) memory.readBytes(lo, hi, data, cpu.cpl);
  else data.set(mmu.physical.memory.subarray(host, host + data.length));
  cpu.exits.deliverIo('out', string.port, size, string.items, data);
  return string.finish(cpu);
}
