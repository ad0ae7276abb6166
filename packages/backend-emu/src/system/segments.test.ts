/** Segment loads and what only looks at descriptors, by their checks. */
import { describe, expect, it } from 'vitest';
import { FLAG_ZF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { MODE_16, MODE_32, MODE_64, MODE_SEGMENTED, MODE_SIZE_MASK } from '../cpu/mode.js';
import { AT, SEL, TestProcessor } from '../cpu/test-processor.js';
import { FAULT, NEXT, REDISPATCH } from './outcome.js';

const { ss, ds, fs, ldtr, tr } = L.SEG;
const RSP = L.gprOffset(4);
const ACCESSED = 1n << 40n;

describe('loading a data segment', () => {
  it('takes the descriptor and sets its accessed bit', () => {
    const t = new TestProcessor().protectedMode();
    t.setDescriptor(SEL.data, 0x12409234_5678_0fffn);
    expect(t.call('movToSeg', ds, SEL.data)).toBe(NEXT);
    const offset = L.segmentOffset(ds);
    expect(t.record.u32(offset)).toBe(0x12345678);
    expect(t.record.segmentLimit(ds)).toBe(0xfff);
    expect(t.record.segmentAttributes(ds)).toBe(0x493);
    expect(t.u64(AT.gdt + SEL.data) & ACCESSED).toBe(ACCESSED);
    expect(t.record.i32(L.MODE) & MODE_SEGMENTED).toBe(MODE_SEGMENTED);
  });

  it.each([
    ['beyond the table', ds, 0x100, 13, 0x100],
    ['of a system type', ds, SEL.tss, 13, SEL.tss],
    ['not present', ds, SEL.notPresent, 11, SEL.notPresent],
    ['of too low a privilege by its RPL', ds, SEL.data | 3, 13, SEL.data],
    ['null for SS', ss, 0, 13, 0],
    ['read-only for SS', ss, SEL.readOnly, 13, SEL.readOnly],
    ['of another RPL for SS', ss, SEL.data | 1, 13, SEL.data],
    ['not present for SS', ss, SEL.notPresent, 12, SEL.notPresent],
    ['in an LDT that is not there', ds, 0x0c, 13, 0x0c],
  ])('refuses one %s', (_name, index, selector, vector, error) => {
    const t = new TestProcessor().protectedMode();
    expect(t.call('movToSeg', index, selector)).toBe(FAULT);
    expect(t.fault).toEqual([vector, error]);
  });

  it('refuses execute-only code, takes readable and conforming code', () => {
    const t = new TestProcessor().protectedMode().userMode();
    t.setDescriptor(SEL.ldt, 0x00cff9000000ffffn);
    expect(t.call('movToSeg', ds, SEL.ldt | 3)).toBe(FAULT);
    expect(t.call('movToSeg', ds, SEL.conforming | 3)).toBe(NEXT);
    expect(t.call('movToSeg', ds, SEL.data)).toBe(FAULT);
  });

  it('takes a null selector, of which a use faults, and clears the base in long mode', () => {
    const t = new TestProcessor().longMode();
    t.record.setPair(L.segmentOffset(fs), 0x1234, 5);
    t.call('movToSeg', fs, 3);
    expect(t.record.segmentSelector(fs)).toBe(3);
    expect(t.record.u64(L.segmentOffset(fs))).toBe(0n);
    expect(t.call('movToSeg', ss, 0)).toBe(NEXT);
    expect(t.record.segmentSelector(ss)).toBe(0);
    t.userMode();
    expect(t.call('movToSeg', ss, 3)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
  });

  it('shadows interrupts after SS only', () => {
    const t = new TestProcessor().longMode();
    t.call('movToSeg', ds, SEL.data);
    t.record.copyPair(L.RIP, L.NEXT_RIP);
    expect(t.cpu.shadow.covers()).toBe(false);
    t.call('movToSeg', ss, SEL.data);
    expect(t.cpu.shadow.covers()).toBe(true);
    t.record.setPair(L.RIP, AT.code + 3, 0);
    expect(t.cpu.shadow.covers()).toBe(false);
    t.record.copyPair(L.RIP, L.NEXT_RIP);
    expect(t.cpu.shadow.covers()).toBe(false);
  });

  it('computes the base in real mode and leaves limits alone', () => {
    const t = new TestProcessor();
    t.record.setI32(L.segmentOffset(ds) + L.SEG_LIMIT, -1);
    t.call('movToSeg', ds, 0xb800);
    expect(t.record.u32(L.segmentOffset(ds))).toBe(0xb8000);
    expect(t.record.segmentLimit(ds)).toBe(0xffffffff);
  });

  it('loads a far pointer with its register, or nothing', () => {
    const t = new TestProcessor().protectedMode();
    t.record.setU64(L.gprOffset(6), 0xffff_ffff_ffff_ffffn);
    t.call('loadFar', ds, SEL.data, 0x12345678, (4 << 8) | 6);
    expect(t.record.u64(L.gprOffset(6))).toBe(0x12345678n);
    t.call('loadFar', ds, SEL.data, 0xabcd, (2 << 8) | 6);
    expect(t.record.u64(L.gprOffset(6))).toBe(0x1234abcdn);
    expect(t.call('loadFar', ds, SEL.notPresent, 1, (4 << 8) | 6)).toBe(FAULT);
    expect(t.record.u64(L.gprOffset(6))).toBe(0x1234abcdn);
  });

  it('pops by the operand size, and moves the pointer only if the load succeeds', () => {
    const t = new TestProcessor().protectedMode();
    t.view.setUint32(AT.stack, 0xffff0000 | SEL.data, true);
    t.call('popSeg', ds, 4);
    expect(t.record.u32(RSP)).toBe(AT.stack + 4);
    t.record.setPair(RSP, AT.stack, 0);
    t.view.setUint32(AT.stack, SEL.notPresent, true);
    expect(t.call('popSeg', ds, 2)).toBe(FAULT);
    expect(t.record.u32(RSP)).toBe(AT.stack);
  });
});

describe('LDTR and TR', () => {
  it('load 16-byte descriptors in long mode; TR becomes busy', () => {
    const t = new TestProcessor().longMode();
    t.setDescriptor(SEL.tss + 8, 0xffff8000n);
    expect(t.call('ltr', SEL.tss)).toBe(NEXT);
    expect(t.record.u64(L.segmentOffset(tr))).toBe(0xffff800000003000n);
    expect((t.u64(AT.gdt + SEL.tss) >> 40n) & 0xffn).toBe(0x8bn);
    expect(t.call('ltr', SEL.tss)).toBe(FAULT);
    expect(t.fault).toEqual([13, SEL.tss]);
    expect(t.call('lldt', SEL.ldt)).toBe(NEXT);
    expect(t.record.u32(L.segmentOffset(ldtr))).toBe(AT.ldt);
    t.call('sldt');
    expect(t.record.u64(L.ARG0)).toBe(BigInt(SEL.ldt));
    t.setDescriptor(SEL.ldt + 8, 0x8000n);
    expect(t.call('lldt', SEL.ldt)).toBe(FAULT);
    expect(t.call('lldt', 0)).toBe(NEXT);
    expect(t.record.segmentAttributes(ldtr)).toBe(0);
  });

  it('are privileged, and undefined in real mode', () => {
    const t = new TestProcessor().protectedMode().userMode();
    expect(t.call('lldt', SEL.ldt)).toBe(FAULT);
    expect(t.fault).toEqual([13, 0]);
    const real = new TestProcessor();
    expect(real.call('ltr', SEL.tss)).toBe(FAULT);
    expect(real.fault[0]).toBe(6);
  });
});

describe('LAR, LSL, VERR and VERW', () => {
  const zf = (t: TestProcessor) => (t.record.eflags() & FLAG_ZF) !== 0;

  it.each([
    ['user data', SEL.userData, true, true, true],
    ['kernel data, seen from user mode', SEL.data, false, false, false],
    ['conforming code', SEL.conforming, true, true, false],
    ['a TSS of privilege 0', SEL.tss, false, false, false],
    ['null', 0, false, false, false],
    ['outside', 0x200, false, false, false],
  ])('answer for %s', (_name, selector, rights, read, write) => {
    const t = new TestProcessor().protectedMode().userMode();
    t.call('lar', selector, 4);
    expect(zf(t)).toBe(rights);
    t.call('lsl', selector, 4);
    expect(zf(t)).toBe(rights);
    t.call('verr', selector);
    expect(zf(t)).toBe(read);
    t.call('verw', selector);
    expect(zf(t)).toBe(write);
  });

  it('give rights and scaled limits', () => {
    const t = new TestProcessor().protectedMode();
    t.call('lar', SEL.data, 4);
    expect(t.record.u64(L.ARG0)).toBe(0x00cf9300n);
    t.call('lsl', SEL.data, 4);
    expect(t.record.u64(L.ARG0)).toBe(0xffffffffn);
    t.call('lsl', SEL.tss, 4);
    expect(t.record.u64(L.ARG0)).toBe(0x67n);
  });
});

describe('far transfers', () => {
  const mode = (t: TestProcessor) => t.record.i32(L.MODE) & MODE_SIZE_MASK;

  it('change between 64-bit and compatibility mode', () => {
    const t = new TestProcessor().longMode();
    expect(t.call('jmpFar', SEL.code32, 0x1_0000_5000n, 4)).toBe(REDISPATCH);
    expect(mode(t)).toBe(MODE_32);
    expect(t.record.u64(L.RIP)).toBe(0x5000n);
    t.call('jmpFar', SEL.code64, 0x6000, 4);
    expect(mode(t)).toBe(MODE_64);
    expect(t.record.u64(L.RIP)).toBe(0x6000n);
  });

  it('enter protected mode from real mode and go back', () => {
    const t = new TestProcessor().protectedMode();
    const cs = L.segmentOffset(L.SEG.cs);
    t.record.setU16(cs + L.SEG_ATTRIBUTES, 0x9b);
    t.cpu.modeChanged();
    expect(mode(t)).toBe(MODE_16);
    t.call('jmpFar', SEL.code32, 0x5000, 2);
    expect(mode(t)).toBe(MODE_32);
    expect(t.record.segmentSelector(L.SEG.cs)).toBe(SEL.code32);
  });

  it.each([
    ['null', 0, 0, 13, 0],
    ['data', SEL.data, 0, 13, SEL.data],
    ['code of another privilege', SEL.userCode32, 0, 13, SEL.userCode32 & ~3],
    ['beyond the limit', SEL.ldt, 0x1000, 13, 0],
  ])('refuse %s', (_name, selector, offset, vector, error) => {
    const t = new TestProcessor().protectedMode();
    t.setDescriptor(SEL.ldt, 0x00409b0000000fffn);
    expect(t.call('jmpFar', selector, offset, 4)).toBe(FAULT);
    expect(t.fault).toEqual([vector, error]);
    expect(t.call('callFar', selector, offset, 4)).toBe(FAULT);
    expect(t.fault).toEqual([vector, error]);
    expect(t.record.u32(RSP)).toBe(AT.stack);
  });

  it('call and return', () => {
    const t = new TestProcessor().protectedMode();
    t.call('callFar', SEL.conforming, 0x5000, 4);
    expect(t.record.u32(RSP)).toBe(AT.stack - 8);
    expect(t.u32(AT.stack - 8)).toBe(AT.code + 2);
    expect(t.u32(AT.stack - 4) & 0xffff).toBe(SEL.code32);
    t.call('retFar', 4, 4);
    expect(t.record.u32(L.RIP)).toBe(AT.code + 2);
    expect(t.record.u32(RSP)).toBe(AT.stack + 4);
  });

  it('copy parameters through a call gate to an inner stack, and return to user mode', () => {
    const t = new TestProcessor().protectedMode().userMode();
    t.setDescriptor(SEL.gate, 0x0000_ec02_0030_7000n);
    t.view.setUint32(AT.stack, 0x11, true);
    t.view.setUint32(AT.stack + 4, 0x22, true);
    expect(t.call('callFar', SEL.gate | 3, 0, 4)).toBe(REDISPATCH);
    expect(t.cpu.cpl).toBe(0);
    expect(t.record.u32(L.RIP)).toBe(0x7000);
    const top = t.record.u32(RSP);
    expect(top).toBe(AT.kernelStack - 24);
    const words = [0, 1, 2, 3, 4, 5].map((i) => t.u32(top + i * 4));
    expect(words).toEqual([AT.code + 2, SEL.userCode32, 0x11, 0x22, AT.stack, SEL.userData]);
    t.call('retFar', 8, 4);
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.u32(RSP)).toBe(AT.stack + 8);
    expect(t.record.segmentSelector(ss)).toBe(SEL.userData);
  });

  it('use 64-bit call gates in long mode', () => {
    const t = new TestProcessor().longMode().userMode();
    t.setDescriptor(SEL.gate, 0x0000_ec00_0008_7000n);
    t.setDescriptor(SEL.gate + 8, 0n);
    expect(t.call('callFar', SEL.gate | 3, 0, 4)).toBe(REDISPATCH);
    expect(t.cpu.cpl).toBe(0);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.kernelStack - 32));
    const words = [0, 1, 2, 3].map((i) => t.u64(AT.kernelStack - 32 + i * 8));
    expect(words).toEqual([AT.code + 2, SEL.userCode64, AT.stack, SEL.userData].map(BigInt));
    t.call('retFar', 0, 8);
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.stack));
    expect(mode(t)).toBe(MODE_64);
  });
});
