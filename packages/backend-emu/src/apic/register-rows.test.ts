/**
 * The registers of the local APIC, row by row: which exist in each mode, what can be written, and
 * every transition of modes. Intel SDM vol. 3, tables 11-1 and 11-6, 11.12.5; AMD APM vol. 2, 16.3
 * and 16.11.
 */
import type { Clock } from '@cloister/core';
import { describe, expect, it } from 'vitest';
import { RECORD_SIZE } from '../cpu/layout.js';
import { TimeStamp } from '../timing/time-stamp.js';
import { ApicBus } from './bus.js';
import { LocalApic } from './local-apic.js';
import * as R from './registers.js';

const CLOCK: Clock = {
  mode: 'icount',
  now: () => 0,
  at: () => ({ cancel: () => {} }),
  epochSeconds: 0,
};
const none = () => {};
const CPU = {
  wake: none,
  nmi: none,
  init: none,
  startup: none,
  taskPriority: none,
  baseChanged: none,
};

function make(tscDeadline = true): LocalApic {
  const bus = new ApicBus();
  const stamp = new TimeStamp(CLOCK, new DataView(new ArrayBuffer(RECORD_SIZE)));
  const options = { id: 5, boot: false, x2apic: true, tscDeadline, physicalBits: 46 };
  const apic = new LocalApic(options, CPU, bus, CLOCK, stamp);
  bus.add(apic);
  return apic;
}

const OFF = 0xfee00000;
const XAPIC = 0xfee00800;
const X2APIC = 0xfee00c00;
const INVALID = 0xfee00400;

/** From reset, which is xAPIC mode, to a mode. */
function inMode(base: number): LocalApic {
  const apic = make();
  if (base !== XAPIC) apic.writeBase(base, 0);
  return apic;
}

/** Offset: readable, and the bits that WRMSR takes when all others are zero; null: not writable. */
const ROWS: readonly (readonly [offset: number, readable: boolean, writable: number | null])[] = [
  [R.APIC_ID, true, null],
  [R.APIC_VERSION, true, null],
  [R.TPR, true, 0xff],
  [R.PPR, true, null],
  [R.EOI, false, 0],
  [R.LDR, true, null],
  [R.SVR, true, 0x3ff],
  ...Array.from({ length: 24 }, (_, i) => [R.ISR + i * 16, true, null] as const),
  [R.ESR, true, 0],
  // Bit 12, the delivery status of xAPIC mode, is ignored as it is on AMD's processors.
  [R.ICR_LOW, true, 0x000cdfff],
  [R.LVT_TIMER, true, 0x000710ff],
  [R.LVT_THERMAL, true, 0x000117ff],
  [R.LVT_PERF, true, 0x000117ff],
  [R.LVT_LINT0, true, 0x0001f7ff],
  [R.LVT_LINT1, true, 0x0001f7ff],
  [R.LVT_ERROR, true, 0x000110ff],
  [R.TIMER_INITIAL, true, 0xffffffff],
  [R.TIMER_CURRENT, true, null],
  [R.TIMER_DIVIDE, true, 0xb],
  [R.SELF_IPI, false, 0xff],
];
const ROW_OF = new Map(ROWS.map((row) => [row[0], row]));

describe('x2APIC registers', () => {
  it('are those of the table: 256 MSRs, every single bit', () => {
    for (let number = 0; number < 256; number++) {
      const name = (0x800 + number).toString(16);
      const [, readable, writable] = ROW_OF.get(number * 16) ?? [0, false, null];
      expect(inMode(X2APIC).readMsr(0x800 + number), `read ${name}`).toBe(readable);
      expect(inMode(X2APIC).writeMsr(0x800 + number, 0, 0), `0 to ${name}`).toBe(writable !== null);
      for (let bit = 0; bit < 64; bit++) {
        const lo = bit < 32 ? (1 << bit) >>> 0 : 0;
        const hi = bit < 32 ? 0 : (1 << (bit - 32)) >>> 0;
        const wide = number === 0x30 && bit >= 32;
        const taken = wide || (bit < 32 && writable !== null && (writable & lo) !== 0);
        expect(inMode(X2APIC).writeMsr(0x800 + number, lo, hi), `${name} bit ${bit}`).toBe(taken);
      }
    }
  });

  it('exist in x2APIC mode only', () => {
    for (const base of [OFF, XAPIC]) {
      const apic = inMode(base);
      for (let index = 0x800; index < 0x900; index++) {
        expect(apic.readMsr(index)).toBe(false);
        expect(apic.writeMsr(index, 0, 0)).toBe(false);
      }
    }
  });

  it('have a timer without the deadline mode where CPUID does not state it', () => {
    const apic = make(false);
    apic.writeBase(X2APIC, 0);
    expect(apic.writeMsr(0x832, 1 << 18, 0)).toBe(false);
    expect(apic.writeMsr(0x832, 1 << 17, 0)).toBe(true);
  });
});

describe('xAPIC registers', () => {
  const XAPIC_ONLY = [R.APR, R.RRR, R.DFR, R.ICR_HIGH];
  const exists = (offset: number) =>
    offset !== R.SELF_IPI && (ROW_OF.has(offset) || XAPIC_ONLY.includes(offset));

  it('note an access to what is not there', () => {
    for (let offset = 0; offset < 0x1000; offset += 16) {
      for (const write of [false, true]) {
        const apic = make();
        if (write) apic.mmioWrite(offset, 4, 0);
        else apic.mmioRead(offset, 4);
        // ESR shows what came before the write to it.
        const noted = () => {
          apic.mmioWrite(R.ESR, 4, 0);
          return apic.mmioRead(R.ESR, 4);
        };
        const wanted = exists(offset) ? 0 : R.ESR_ILLEGAL_REGISTER;
        if (offset === R.ICR_LOW && write) continue; // vector 0 is an error of its own
        expect(noted(), `${write ? 'write' : 'read'} ${offset.toString(16)}`).toBe(wanted);
      }
    }
  });

  it('keep the writable bits', () => {
    const kept: readonly (readonly [number, number])[] = [
      [R.APIC_ID, 0xff000000],
      [R.TPR, 0xff],
      [R.LDR, 0xff000000],
      [R.SVR, 0x3ff],
      [R.ICR_HIGH, 0xff000000],
      [R.LVT_TIMER, 0x000700ff],
      [R.LVT_THERMAL, 0x000107ff],
      [R.LVT_PERF, 0x000107ff],
      [R.LVT_LINT0, 0x0001a7ff],
      [R.LVT_LINT1, 0x0001a7ff],
      [R.LVT_ERROR, 0x000100ff],
      [R.TIMER_DIVIDE, 0xb],
    ];
    for (const [offset, mask] of kept) {
      const apic = make();
      apic.mmioWrite(R.SVR, 4, 0x1ff);
      apic.mmioWrite(offset, 4, 0xffffffff);
      expect(apic.mmioRead(offset, 4) >>> 0, offset.toString(16)).toBe(mask);
    }
    const apic = make();
    apic.mmioWrite(R.DFR, 4, 0);
    expect(apic.mmioRead(R.DFR, 4)).toBe(0x0fffffff);
  });

  it('do not change by writes to what is read-only', () => {
    const read = [R.APIC_VERSION, R.APR, R.PPR, R.RRR, R.TIMER_CURRENT, R.ISR, R.TMR, R.IRR];
    for (const offset of read) {
      const apic = make();
      const before = apic.mmioRead(offset, 4);
      apic.mmioWrite(offset, 4, 0xffffffff);
      expect(apic.mmioRead(offset, 4), offset.toString(16)).toBe(before);
    }
  });
});

describe('APIC_BASE', () => {
  it.each([
    [OFF, OFF, true],
    [OFF, XAPIC, true],
    [OFF, X2APIC, false],
    [OFF, INVALID, false],
    [XAPIC, OFF, true],
    [XAPIC, XAPIC, true],
    [XAPIC, X2APIC, true],
    [XAPIC, INVALID, false],
    [X2APIC, OFF, true],
    [X2APIC, XAPIC, false],
    [X2APIC, X2APIC, true],
    [X2APIC, INVALID, false],
  ])('goes from %x to %x: %s', (from, to, allowed) => {
    const apic = inMode(from);
    expect(apic.writeBase(to, 0)).toBe(allowed);
    apic.readBase();
    expect(apic.lo).toBe(allowed ? to : from);
  });

  it('keeps interrupts over the way into x2APIC mode, not over the way out', () => {
    const apic = make();
    apic.mmioWrite(R.SVR, 4, 0x1ff);
    apic.mmioWrite(R.TPR, 4, 0x20);
    apic.mmioWrite(R.APIC_ID, 4, 0x77000000);
    apic.mmioWrite(R.LDR, 4, 0x08000000);
    apic.accept({ mode: 0, vector: 0x45, destination: 5, logical: false, level: false });
    expect(apic.writeBase(X2APIC, 0)).toBe(true);
    const msr = (index: number) => (apic.readMsr(index) ? apic.lo : null);
    // The ID is the initial one again, the logical one follows from it.
    expect([msr(0x802), msr(0x80d), msr(0x808), msr(0x822)]).toEqual([5, 1 << 5, 0x20, 1 << 5]);
    expect(apic.writeBase(OFF, 0)).toBe(true);
    expect(apic.hasInterrupt()).toBe(false);
    expect(apic.writeBase(XAPIC, 0)).toBe(true);
    expect(apic.mmioRead(R.APIC_ID, 4)).toBe(0x05000000);
    expect(apic.mmioRead(R.SVR, 4)).toBe(0xff);
    expect(apic.mmioRead(R.TPR, 4)).toBe(0);
    expect(apic.mmioRead(R.IRR + 0x20, 4)).toBe(0);
  });

  it('checks every other bit', () => {
    for (let bit = 0; bit < 64; bit++) {
      const lo = bit < 32 ? (1 << bit) >>> 0 : 0;
      const hi = bit < 32 ? 0 : (1 << (bit - 32)) >>> 0;
      const reserved = bit < 8 || bit === 9 || bit >= 46;
      const mode = bit === 10 || bit === 11;
      if (mode) continue;
      expect(make().writeBase((XAPIC | lo) >>> 0, hi), `bit ${bit}`).toBe(!reserved);
    }
  });
});
