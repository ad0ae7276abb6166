/** Task switches in hardware, by their effects and their checks. */
import { describe, expect, it } from 'vitest';
import { FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { AT, SEL, TestProcessor } from '../cpu/test-processor.js';
import { takeDebugTrap } from './debug-traps.js';
import { deliverExternal, deliverFault } from './exceptions.js';
import { FAULT, LEAVE, REDISPATCH } from './outcome.js';

const { es, cs, ss, ds, fs, gs } = L.SEG;
const RSP = L.gprOffset(4);
/** Selectors of a second TSS, of a 16-bit one, and of a task gate. */
const NEXT = 0x80;
const NARROW = 0x88;
const GATE = 0x90;
const AT_NEXT = 0x30000;
const AT_NARROW = 0x30100;
const NEW_STACK = 0x31000;
const handler = (vector: number) => AT.handlers + vector * 16;
const GPRS = [1, 2, 3, 4, NEW_STACK, 6, 7, 8];
const DATA_SELECTORS = [SEL.data, SEL.code32, SEL.data, SEL.data, SEL.data, 0];

function put32(t: TestProcessor, at: number, words: readonly number[]): void {
  words.forEach((word, index) => {
    t.view.setUint32(at + index * 4, word, true);
  });
}

function put16(t: TestProcessor, at: number, words: readonly number[]): void {
  words.forEach((word, index) => {
    t.view.setUint16(at + index * 2, word, true);
  });
}

/** Protected mode in the first task, with two others to go to. */
function tasks(): TestProcessor {
  const t = new TestProcessor().protectedMode();
  t.setDescriptor(SEL.tss, 0x00008b0030000067n);
  t.setDescriptor(NEXT, 0x0000890000000067n | (BigInt(AT_NEXT) << 16n));
  t.setDescriptor(NARROW, 0x000081000000002bn | (BigInt(AT_NARROW) << 16n));
  t.setDescriptor(GATE, 0x0000850000000000n | (BigInt(NEXT) << 16n));
  put32(t, AT_NEXT + 0x20, [0x5678, 2, ...GPRS, ...DATA_SELECTORS, SEL.ldt]);
  t.setDescriptor(SEL.ldt, 0x0000820038000fffn);
  put16(t, AT_NARROW + 0x0e, [0x5678, 2, ...GPRS.map((each) => each & 0xffff)]);
  put16(t, AT_NARROW + 0x22, [SEL.data, SEL.code32, SEL.data, SEL.data, 0]);
  for (const vector of [8, 10, 11, 12, 13]) t.gate(vector);
  return t;
}

const busy = (t: TestProcessor, selector: number) =>
  (t.view.getUint8(AT.gdt + selector + 5) & 2) !== 0;
const selectors = (t: TestProcessor) =>
  [es, cs, ss, ds, fs, gs].map((index) => t.record.segmentSelector(index));

describe('a jump to a task', () => {
  it('saves the one and loads the other', () => {
    const t = tasks();
    t.record.setPair(L.gprOffset(3), 0x12345678, 0);
    t.record.setEflags(FLAG_IF | 1);
    expect(t.call('jmpFar', NEXT, 0, 4)).toBe(REDISPATCH);
    expect(t.record.u32(L.RIP)).toBe(0x5678);
    expect(GPRS.map((_, index) => t.record.u32(L.gprOffset(index)))).toEqual(GPRS);
    expect(selectors(t)).toEqual(DATA_SELECTORS);
    expect(t.record.segmentSelector(L.SEG.ldtr)).toBe(SEL.ldt);
    expect(t.record.segmentAttributes(L.SEG.ldtr)).toBe(0x82);
    expect(t.record.segmentSelector(L.SEG.tr)).toBe(NEXT);
    expect(t.record.eflags()).toBe(2);
    expect([busy(t, SEL.tss), busy(t, NEXT)]).toEqual([false, true]);
    expect(t.record.i32(L.CR0) & 8).toBe(8);
    expect(t.u32(AT.tss + 0x20)).toBe(AT.code + 2);
    expect(t.u32(AT.tss + 0x24)).toBe(FLAG_IF | 3);
    expect(t.u32(AT.tss + 0x34)).toBe(0x12345678);
    expect(t.view.getUint16(AT.tss + 0x4c, true)).toBe(SEL.code32);
    // Neither linked nor nested.
    expect(t.view.getUint16(AT_NEXT, true)).toBe(0);
  });

  it('takes 16 bits from a 16-bit TSS, with null FS and GS, and saves as many there', () => {
    const t = tasks();
    t.record.setPair(L.gprOffset(0), -1, 0);
    t.call('jmpFar', NARROW, 0, 4);
    expect(t.record.u32(L.RIP)).toBe(0x5678);
    expect(t.record.u32(L.gprOffset(7))).toBe(8);
    expect(selectors(t)).toEqual([SEL.data, SEL.code32, SEL.data, SEL.data, 0, 0]);
    t.record.setPair(L.gprOffset(0), 0x1abcd, 0);
    t.record.setPair(L.NEXT_RIP, 0x1_5680, 0);
    expect(t.call('jmpFar', SEL.tss, 0, 4)).toBe(REDISPATCH);
    expect(t.view.getUint16(AT_NARROW + 0x0e, true)).toBe(0x5680);
    expect(t.view.getUint16(AT_NARROW + 0x12, true)).toBe(0xabcd);
    expect(t.record.u32(L.gprOffset(0))).toBe(0xffffffff);
  });

  it('goes through a task gate, whose privilege counts instead of the TSS’s', () => {
    const t = tasks();
    t.setDescriptor(GATE, 0x0000e50000000000n | (BigInt(NEXT) << 16n));
    t.userMode();
    expect(t.call('jmpFar', NEXT | 3, 0, 4)).toBe(FAULT);
    expect(t.fault).toEqual([13, NEXT]);
    expect(t.call('jmpFar', GATE | 3, 0, 4)).toBe(REDISPATCH);
    expect(t.cpu.cpl).toBe(0);
    expect(t.record.u32(L.RIP)).toBe(0x5678);
  });

  it('enters virtual-8086 mode, or privilege 3', () => {
    const t = tasks();
    put32(t, AT_NEXT + 0x24, [FLAG_VM | 2]);
    put32(t, AT_NEXT + 0x48, [0x1000, 0x400, 0x2000, 0x3000, 0x4000, 0x5000]);
    t.call('jmpFar', NEXT, 0, 4);
    expect(t.cpu.isV86).toBe(true);
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.u32(L.segmentOffset(cs))).toBe(0x4000);
    const u = tasks();
    put32(u, AT_NEXT + 0x48, [SEL.userData, SEL.userCode32, SEL.userData, 0, 0, 0]);
    u.call('jmpFar', NEXT, 0, 4);
    expect(u.cpu.cpl).toBe(3);
  });
});

describe('a call and the return from it', () => {
  it('link the tasks, nest by NT and leave both busy meanwhile', () => {
    const t = tasks();
    expect(t.call('callFar', GATE, 0, 4)).toBe(REDISPATCH);
    expect(t.view.getUint16(AT_NEXT, true)).toBe(SEL.tss);
    expect(t.record.eflags()).toBe(FLAG_NT | 2);
    expect([busy(t, SEL.tss), busy(t, NEXT)]).toEqual([true, true]);
    t.record.setPair(L.NEXT_RIP, 0x5700, 0);
    expect(t.call('iret', 4)).toBe(REDISPATCH);
    expect(t.record.u32(L.RIP)).toBe(AT.code + 2);
    expect(t.record.segmentSelector(L.SEG.tr)).toBe(SEL.tss);
    expect([busy(t, SEL.tss), busy(t, NEXT)]).toEqual([true, false]);
    // The task goes on behind its IRET when it is called again, not nested in what it saved.
    expect(t.u32(AT_NEXT + 0x20)).toBe(0x5700);
    expect(t.u32(AT_NEXT + 0x24)).toBe(2);
    expect(t.record.eflags()).toBe(2);
  });

  it('unblock NMI', () => {
    const t = tasks();
    t.call('callFar', NEXT, 0, 4);
    t.record.setI32(L.NMI_BLOCKED, 1);
    t.call('iret', 4);
    expect(t.record.i32(L.NMI_BLOCKED)).toBe(0);
  });

  it.each([
    ['null', 0, 10, 0],
    ['of a task that is not busy', NEXT, 10, NEXT],
    ['of no TSS', SEL.data, 10, SEL.data],
    ['in the LDT', 4, 10, 4],
  ])('refuse a link %s', (_name, link, vector, error) => {
    const t = tasks();
    t.record.setEflags(FLAG_NT);
    t.view.setUint16(AT.tss, link, true);
    expect(t.call('iret', 4)).toBe(FAULT);
    expect(t.fault).toEqual([vector, error]);
  });
});

describe('checks before the switch belong to the old task', () => {
  const descriptor = (at: number, value: bigint) => (t: TestProcessor) =>
    t.setDescriptor(at, value);

  it.each([
    ['a busy TSS', SEL.tss, () => {}, 13, SEL.tss],
    ['an absent TSS', NEXT, descriptor(NEXT, 0x0000090000000067n), 11, NEXT],
    ['a short TSS', NEXT, descriptor(NEXT, 0x0000890000000066n), 10, NEXT],
    ['a short 16-bit TSS', NARROW, descriptor(NARROW, 0x000081000000002an), 10, NARROW],
    ['an absent gate', GATE, descriptor(GATE, 0x0000050000000000n), 11, GATE],
    ['a gate to no TSS', GATE, descriptor(GATE, 0x0000850000100000n), 13, SEL.data],
    ['a gate into the LDT', GATE, descriptor(GATE, 0x0000850000840000n), 13, 0x84],
    [
      'an old TSS too short to save to',
      NEXT,
      (t: TestProcessor) => t.record.setI32(L.segmentOffset(L.SEG.tr) + L.SEG_LIMIT, 0x5e),
      10,
      SEL.tss,
    ],
  ])('%s', (_name, selector, spoil, vector, error) => {
    const t = tasks();
    spoil(t);
    expect(t.call('jmpFar', selector, 0, 4)).toBe(FAULT);
    expect(t.fault).toEqual([vector, error]);
    expect(t.record.segmentSelector(L.SEG.tr)).toBe(SEL.tss);
    expect(t.record.u32(L.RIP)).toBe(AT.code);
    expect(t.view.getUint32(AT.tss + 0x20, true)).toBe(0);
  });

  it('mean nothing in long mode', () => {
    const t = new TestProcessor().longMode();
    expect(t.call('jmpFar', SEL.tss, 0, 8)).toBe(FAULT);
    expect(t.fault).toEqual([13, SEL.tss]);
  });
});

describe('checks after it belong to the new one, which has not begun', () => {
  it.each([
    ['an LDT that is none', 0x60, SEL.data, 10, SEL.data],
    ['a null CS', 0x4c, 0, 10, 0],
    ['a CS that is data', 0x4c, SEL.data, 10, SEL.data],
    ['a CS of another privilege', 0x4c, SEL.userCode32 & ~3, 10, SEL.userCode32 & ~3],
    ['a null SS', 0x50, 0, 10, 0],
    ['a read-only SS', 0x50, SEL.readOnly, 10, SEL.readOnly],
    ['an SS of another privilege', 0x50, SEL.userData, 10, SEL.userData & ~3],
    ['an absent SS', 0x50, SEL.notPresent, 12, SEL.notPresent],
    ['a DS beyond the table', 0x54, 0x200, 10, 0x200],
    ['an absent ES', 0x48, SEL.notPresent, 11, SEL.notPresent],
    ['a GS of a system type', 0x5c, SEL.tss, 10, SEL.tss],
  ])('%s', (_name, offset, selector, vector, error) => {
    const t = tasks();
    t.view.setUint16(AT_NEXT + offset, selector, true);
    // The handler is a task too: it needs nothing of the broken one.
    t.setDescriptor(GATE + 8, 0x0000890000000067n | (0x33000n << 16n));
    put32(t, 0x33020, [0x9999, 2, 0, 0, 0, 0, NEW_STACK, 0, 0, 0, ...DATA_SELECTORS]);
    t.gate(vector, { type: 5, selector: GATE + 8 });
    t.call('jmpFar', NEXT, 0, 4);
    expect(t.record.u32(L.RIP)).toBe(0x9999);
    expect(t.u32(NEW_STACK - 4)).toBe(error);
    // What the second task saved: its first instruction, its selectors as they stood in its TSS.
    expect(t.u32(AT_NEXT + 0x20)).toBe(0x5678);
    expect(t.view.getUint16(AT_NEXT + offset, true)).toBe(selector);
    expect(t.record.segmentSelector(L.SEG.tr)).toBe(GATE + 8);
    expect(t.view.getUint16(0x33000, true)).toBe(NEXT);
  });

  it('a first instruction outside its code', () => {
    const t = tasks();
    t.setDescriptor(SEL.conforming, 0x00409b0000000fffn);
    t.view.setUint16(AT_NEXT + 0x4c, SEL.conforming, true);
    t.call('jmpFar', NEXT, 0, 4);
    expect(t.record.u32(L.RIP)).toBe(handler(13));
    expect(t.u32(t.record.u32(RSP))).toBe(0);
    expect(t.u32(t.record.u32(RSP) + 4)).toBe(0x5678);
  });
});

describe('events through task gates', () => {
  it('push the error code on the new stack, with the state of the fault saved', () => {
    const t = tasks();
    t.gate(13, { type: 5, selector: NEXT });
    t.record.setI32(L.FAULT_VECTOR, 13);
    t.record.setI32(L.FAULT_ERROR, 0x1234);
    deliverFault(t.cpu);
    expect(t.record.u32(RSP)).toBe(NEW_STACK - 4);
    expect(t.u32(NEW_STACK - 4)).toBe(0x1234);
    expect(t.u32(AT.tss + 0x20)).toBe(AT.code);
    expect(t.u32(AT.tss + 0x24) & FLAG_RF).toBe(FLAG_RF);
    expect(t.record.eflags() & FLAG_NT).toBe(FLAG_NT);
  });

  it('take a double fault where the stack is lost', () => {
    const t = tasks();
    t.gate(8, { type: 5, selector: NEXT });
    // No stack for the frame of #GP: #SS, and so #DF.
    t.record.setI32(L.segmentOffset(ss) + L.SEG_LIMIT, 0x10);
    t.record.setI32(L.FAULT_VECTOR, 13);
    t.record.setI32(L.FAULT_ERROR, 0);
    deliverFault(t.cpu);
    expect(t.record.segmentSelector(L.SEG.tr)).toBe(NEXT);
    expect(t.u32(NEW_STACK - 4)).toBe(0);
  });

  it('are checked by DPL for INT n only, and raise with EXT', () => {
    const t = tasks();
    t.gate(0x30, { type: 5, selector: NEXT });
    t.userMode();
    t.gate(13, { selector: SEL.conforming });
    t.call('int', 0x30);
    expect(t.u32(t.record.u32(RSP))).toBe(0x30 * 8 + 2);
    const u = tasks();
    u.gate(0x30, { type: 5, selector: SEL.tss });
    deliverExternal(u.cpu, 0x30);
    expect(u.record.u32(L.RIP)).toBe(handler(13));
    expect(u.u32(u.record.u32(RSP))).toBe(SEL.tss | 1);
  });
});

describe('debugging', () => {
  it('traps before the first instruction of a task with T set', () => {
    const t = tasks();
    t.gate(1);
    t.view.setUint16(AT_NEXT + 0x64, 1, true);
    expect(t.call('jmpFar', NEXT, 0, 4)).toBe(LEAVE);
    expect(takeDebugTrap(t.cpu)).toBe(true);
    expect(t.u32(t.record.u32(RSP))).toBe(0x5678);
    expect(t.record.i32(L.DR + 48) & 0xe00f).toBe(0x8000);
  });

  it('loses local breakpoints, keeps global ones and takes TF of the new task', () => {
    const t = tasks();
    t.record.setI32(L.DR + 56, 0x7ff);
    put32(t, AT_NEXT + 0x24, [FLAG_TF | 2]);
    expect(t.call('jmpFar', NEXT, 0, 4)).toBe(LEAVE);
    expect(t.record.i32(L.DR + 56)).toBe(0x6aa);
  });
});
