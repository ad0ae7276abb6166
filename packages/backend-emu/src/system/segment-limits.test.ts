/** Limits and rights of segments on every kind of access, in programs. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { MODE_SEGMENTED } from '../cpu/mode.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';

const { es, cs, ss, ds } = L.SEG;
const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RSP = L.gprOffset(4);
const RBP = L.gprOffset(5);
const RSI = L.gprOffset(6);
const RDI = L.gprOffset(7);
const VECTORS = [6, 8, 12, 13];
const handler = (vector: number) => AT.handlers + vector * 16;

/** The code segment of `smallStack` and the like: flat, so that only what is tested is not. */
function protectedMode(code: string): TestComputer {
  const t = new TestComputer().protectedMode();
  for (const vector of VECTORS) {
    // Through a task gate the state at the fault can be seen whatever the stack is.
    t.gate(vector, { type: 5, selector: 0x80 });
  }
  t.setDescriptor(0x80, 0x0000890000000067n | (0x30000n << 16n));
  const words = [handler(13), 2, 0, 0, 0, 0, 0x32000, 0, 0, 0];
  const selectors = [SEL.data, SEL.code32, SEL.data, SEL.data, SEL.data, SEL.data, 0];
  [...words, ...selectors].forEach((word, index) => {
    t.view.setUint32(0x30020 + index * 4, word, true);
  });
  t.load(handler(13), 'eb fe');
  return t.load(AT.code, code);
}

function segment(t: TestComputer, index: number, base: number, limit: number, attributes: number) {
  const offset = L.segmentOffset(index);
  t.record.setPair(offset, base, 0);
  t.record.setI32(offset + L.SEG_LIMIT, limit);
  t.record.setU16(offset + L.SEG_ATTRIBUTES, attributes);
  t.cpu.modeChanged();
}

/** Whether the task of the gate has been entered; its error code and the RIP that it saved. */
function faulted(t: TestComputer): [error: number, at: number] | null {
  if (t.record.segmentSelector(L.SEG.tr) !== 0x80) return null;
  return [t.u32(0x32000 - 4), t.u32(AT.tss + 0x20) - AT.code];
}

const SMALL_DATA = 0x93;
const BIG_DATA = 0x493;
const DOWN = 0x97;
const BIG_DOWN = 0x497;

describe('the stack', () => {
  it.each([
    ['a push within the limit', '50', BIG_DATA, 0xfff, 0x1000, false],
    ['a push beyond it', '50', BIG_DATA, 0xfff, 0x1004, true],
    ['a push that ends beyond it', '50', BIG_DATA, 0xfff, 0x1001, true],
    ['a pop within it', '58', BIG_DATA, 0xfff, 0xffc, false],
    ['a pop that ends beyond it', '58', BIG_DATA, 0xfff, 0xffd, true],
    ['CALL', 'e8 00 00 00 00', BIG_DATA, 0xfff, 0x1004, true],
    ['RET', 'c3', BIG_DATA, 0xfff, 0x1000, true],
    ['PUSHA', '60', BIG_DATA, 0xfff, 0x1008, true],
    ['POPA', '61', BIG_DATA, 0xfff, 0xff0, true],
    ['ENTER', 'c8 08 00 00', BIG_DATA, 0xfff, 0x1004, true],
    ['PUSHF', '9c', BIG_DATA, 0xfff, 0x1004, true],
    ['POPF', '9d', BIG_DATA, 0xfff, 0x1000, true],
    ['PUSH of a segment', '1e', BIG_DATA, 0xfff, 0x1004, true],
    ['POP of a segment', '1f', BIG_DATA, 0xfff, 0x1000, true],
    ['a small stack that wraps', '50', SMALL_DATA, 0xffff, 0, false],
    ['a push across its end', '50', SMALL_DATA, 0xffff, 2, true],
    ['a big expand-down stack above its limit', '50', BIG_DOWN, 0xfff, 0x1004, false],
    ['one at its limit', '50', BIG_DOWN, 0xfff, 0x1003, true],
    ['one at the end of the addresses', '58', BIG_DOWN, 0xfff, 0xfffffffe, true],
    ['a small expand-down stack', '50', DOWN, 0xfff, 0, false],
    ['a read-only segment', '58', 0x491, -1, 0x1000, false],
    ['a push to one', '50', 0x491, -1, 0x1000, true],
  ])('%s', (_name, code, attributes, limit, esp, faults) => {
    const t = protectedMode(code);
    segment(t, ss, 0x40000, limit, attributes);
    t.record.setPair(RSP, esp, 0);
    t.record.setPair(RBP, 0x1234, 0);
    t.run(1);
    expect(faulted(t)).toEqual(faults ? [0, 0] : null);
    if (faults) expect(t.u32(AT.tss + 0x38)).toBe(esp >>> 0);
  });

  it('LEAVE by the frame pointer, which may be 16 bits wide', () => {
    const t = protectedMode('c9');
    segment(t, ss, 0x40000, 0xfff, SMALL_DATA);
    t.record.setPair(RBP, 0x50ffe, 0);
    t.run(1);
    expect(faulted(t)).toEqual([0, 0]);
    const u = protectedMode('c9');
    segment(u, ss, 0x40000, 0xfff, SMALL_DATA);
    u.record.setPair(RBP, 0x50ffc, 0);
    u.view.setUint32(0x40ffc, 77, true);
    u.run(1);
    expect(u.record.u32(RBP)).toBe(77);
  });
});

describe('string instructions', () => {
  it.each([
    ['a load', 'ac', ds, 0xfff, 0x1000, 0, true],
    ['a store', 'aa', es, 0xfff, 0, 0x1000, true],
    ['a store of which the last byte is out', 'ab', es, 0xfff, 0, 0xffd, true],
    ['a comparison', 'a6', es, 0xfff, 0, 0x1000, true],
    ['a scan within', 'ae', es, 0xfff, 0, 0xfff, false],
    ['a copy with an override', '36 a4', ss, 0xfff, 0x1000, 0, true],
  ])('%s', (_name, code, index, limit, esi, edi, faults) => {
    const t = protectedMode(code);
    segment(t, index, 0x40000, limit, BIG_DATA);
    t.record.setPair(RSI, esi, 0);
    t.record.setPair(RDI, edi, 0);
    t.run(1);
    expect(faulted(t)).toEqual(faults ? [0, 0] : null);
  });

  it('repeat up to the limit, exactly', () => {
    const t = protectedMode('f3 aa');
    segment(t, es, 0x40000, 0x17, BIG_DATA);
    t.record.setPair(RCX, 100, 0);
    t.record.setPair(RAX, 0xee, 0);
    t.run(100);
    expect(faulted(t)).toEqual([0, 0]);
    expect(t.u32(AT.tss + 0x2c)).toBe(100 - 0x18);
    expect(t.u32(AT.tss + 0x44)).toBe(0x18);
    expect([t.view.getUint8(0x40017), t.view.getUint8(0x40018)]).toEqual([0xee, 0]);
  });

  it('wrap around at 64 KiB in the middle of a page of memory', () => {
    const t = new TestComputer();
    // rep movsb with DS = ES = 0x4001: offset 0 lies at 0x40010.
    t.load(0x1000, 'f3 a4 f4');
    t.cpu.record.setPair(L.segmentOffset(cs), 0, 0);
    t.record.setPair(L.RIP, 0x1000, 0);
    for (const index of [es, ds]) segment(t, index, 0x40010, 0xffff, SMALL_DATA);
    t.record.setPair(RCX, 8, 0);
    t.record.setPair(RSI, 0x100, 0);
    t.record.setPair(RDI, 0xfffc, 0);
    for (let i = 0; i < 8; i++) t.view.setUint8(0x40110 + i, i + 1);
    t.run(8);
    expect(t.record.u16(RDI)).toBe(4);
    expect(Array.from({ length: 4 }, (_, i) => t.view.getUint8(0x5000c + i))).toEqual([1, 2, 3, 4]);
    expect(Array.from({ length: 4 }, (_, i) => t.view.getUint8(0x40010 + i))).toEqual([5, 6, 7, 8]);
    expect(t.view.getUint8(0x50010)).toBe(0);
  });
});

describe('memory operands', () => {
  it.each([
    ['a write by a CS override', '2e 89 06', [13, 0]], // mov cs:[esi], eax
    ['a read by one', '2e 8b 06', null],
    ['all of a far pointer', 'c4 06', null], // les eax, [esi]
  ])('%s', (_name, code, fault) => {
    const t = protectedMode(code);
    t.record.setPair(RSI, AT.code + 0x100, 0);
    t.view.setUint16(AT.code + 0x104, SEL.data, true);
    t.run(1);
    expect(faulted(t)).toEqual(fault === null ? null : [0, 0]);
  });

  it.each([
    ['LES', 'c4 06', 0xffb],
    ['LGDT', '0f 01 16', 0xffb],
    ['SGDT', '0f 01 06', 0xffb],
    ['FNSTENV', 'd9 36', 0xfe5],
    ['BOUND', '62 06', 0xff9],
    ['FXSAVE', '0f ae 06', 0xe10],
  ])('the whole of what %s accesses', (_name, code, offset) => {
    const t = protectedMode(code);
    t.record.setI32(L.CR4, 0x200);
    segment(t, ds, 0x40000, 0xfff, BIG_DATA);
    t.record.setPair(RSI, offset, 0);
    t.run(1);
    expect(faulted(t)).toEqual([0, 0]);
  });
});

describe('code', () => {
  /** A 32-bit code segment at 0x40000 that ends with offset `limit`. */
  const limited = (limit: number, code: string, ip = 0) => {
    const t = protectedMode('');
    t.load(0x40000 + ip, code);
    segment(t, cs, 0x40000, limit, 0x49b);
    t.record.setPair(L.RIP, ip, 0);
    return t;
  };
  const at = (t: TestComputer) => {
    const fault = faulted(t);
    return fault === null ? null : fault[1] + AT.code;
  };

  it.each([
    ['JMP', 'e9 fb 0f 00 00'],
    ['a condition that holds', '74 7e'],
    ['LOOP', 'e2 7e'],
    ['JECXZ', 'e3 7e', 0],
    ['CALL', 'e8 fb 0f 00 00'],
    ['JMP to a register', 'ff e0'],
    ['CALL of a register', 'ff d0'],
    ['RET', 'c3'],
  ])('%s faults itself where its target is outside', (_name, code, ecx = 5) => {
    const t = limited(0x7f, code);
    t.record.setPair(RAX, 0x80, 0);
    t.record.setPair(RCX, ecx, 0);
    t.record.setEflags(0x40, 0x40);
    t.view.setUint32(AT.stack, 0x80, true);
    t.run(1);
    expect(at(t)).toBe(0);
    // Neither the stack pointer nor ECX has moved.
    expect(t.u32(AT.tss + 0x38)).toBe(AT.stack);
    expect(t.u32(AT.tss + 0x2c)).toBe(ecx);
  });

  it('one that does not hold goes on', () => {
    const t = limited(0x7f, '75 7e 90');
    t.record.setEflags(0x40, 0x40);
    t.run(2);
    expect(at(t)).toBeNull();
    expect(t.rip).toBe(3);
  });

  it('ends with the last whole instruction', () => {
    const t = limited(0x11, '40 40 b9 01 00 00 00', 0x0e); // inc eax; inc eax; mov ecx, 1
    t.run(10);
    expect(at(t)).toBe(0x10);
    expect(t.u32(AT.tss + 0x28)).toBe(2);
    const u = limited(0x14, '40 40 b9 01 00 00 00', 0x0e);
    u.run(3);
    expect(at(u)).toBeNull();
    expect(u.rip).toBe(0x15);
    u.run(1);
    expect(at(u)).toBe(0x15);
  });

  it('is cut by a smaller limit though it has run under a larger one', () => {
    const t = limited(0xff, '40 eb fd', 0x10); // 1: inc eax; jmp 1b
    t.run(20);
    segment(t, cs, 0x40000, 0x11, 0x49b);
    t.run(5);
    expect(at(t)).toBe(0x11);
  });

  it('costs flat code nothing: its mode has no limit', () => {
    const t = protectedMode('40');
    expect(t.record.i32(L.MODE) & ~7 & ~MODE_SEGMENTED).toBe(0);
  });
});

describe('real mode', () => {
  it('faults by #SS and #GP at 64 KiB', () => {
    for (const [code, vector] of [
      ['50', 12], // push ax
      ['a1 ff ff', 13], // mov ax, [0xffff]
    ] as const) {
      const t = new TestComputer();
      t.load(0x1000, code);
      segment(t, cs, 0, 0xffff, 0x9b);
      t.record.setPair(L.RIP, 0x1000, 0);
      t.record.setI32(L.IDTR + 8, 0x3ff);
      t.view.setUint32(12 * 4, 0x00002000, true);
      t.view.setUint32(13 * 4, 0x00003000, true);
      t.load(0x3000, 'eb fe');
      // A push at SP 1 would wrap; #SS itself then finds no stack.
      t.record.setPair(RSP, code === '50' ? 1 : 0x8000, 0);
      t.run(1);
      if (vector === 12) expect(t.exits).toMatchObject([{ kind: 'shutdown' }]);
      else expect(t.rip).toBe(0x3000);
    }
  });
});
