/** Delivery of exceptions and interrupts, and the way back, in every mode. */
import { describe, expect, it } from 'vitest';
import { FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { AT, SEL, TestProcessor } from '../cpu/test-processor.js';
import { deliverFault, takeInterrupt } from './exceptions.js';
import { LEAVE, REDISPATCH } from './outcome.js';

const RSP = L.gprOffset(4);
const handler = (vector: number) => BigInt(AT.handlers + vector * 16);

/** Raises a fault as an instruction would, and delivers it. */
function fault(t: TestProcessor, vector: number, error: number, address?: bigint) {
  t.record.setI32(L.FAULT_VECTOR, vector);
  t.record.setI32(L.FAULT_ERROR, error);
  if (address !== undefined) t.record.setU64(L.FAULT_ADDRESS, address);
  return deliverFault(t.cpu);
}

/** 8-byte words from the top of the stack. */
const frame = (t: TestProcessor, count: number) =>
  Array.from({ length: count }, (_, i) => t.u64(Number(t.record.u64(RSP)) + i * 8));

const frame32 = (t: TestProcessor, count: number) =>
  Array.from({ length: count }, (_, i) => t.u32(t.record.u32(RSP) + i * 4));

describe('delivery in long mode', () => {
  it('pushes an aligned frame with the error code and clears IF, TF, NT and RF', () => {
    const t = new TestProcessor().longMode();
    t.longGate(13);
    t.record.setPair(RSP, AT.stack - 4, 0);
    t.record.setEflags(FLAG_IF | FLAG_TF | FLAG_NT | 0x8d5);
    expect(fault(t, 13, 0x18)).toBe(REDISPATCH);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.stack - 16 - 48));
    expect(frame(t, 6)).toEqual([
      0x18n,
      BigInt(AT.code),
      BigInt(SEL.code64),
      BigInt(FLAG_IF | FLAG_TF | FLAG_NT | FLAG_RF | 0x8d7),
      BigInt(AT.stack - 4),
      BigInt(SEL.data),
    ]);
    expect(t.record.eflags()).toBe(0x8d7);
    expect(t.record.u64(L.RIP)).toBe(handler(13));
    expect(t.record.i32(L.FAULT_VECTOR)).toBe(-1);
  });

  it('leaves IF alone through a trap gate and moves the address of a page fault to CR2', () => {
    const t = new TestProcessor().longMode();
    t.longGate(14, { type: 15 });
    t.record.setEflags(FLAG_IF);
    fault(t, 14, 6, 0xffff800012345678n);
    expect(t.record.eflags() & FLAG_IF).toBe(FLAG_IF);
    expect(t.record.u64(L.CR2)).toBe(0xffff800012345678n);
    expect(frame(t, 1)).toEqual([6n]);
  });

  it('switches to the stack of the TSS from user mode, with a null SS', () => {
    const t = new TestProcessor().longMode().userMode();
    t.longGate(6);
    fault(t, 6, -1);
    expect(t.cpu.cpl).toBe(0);
    expect(t.record.segmentSelector(L.SEG.ss)).toBe(0);
    expect(t.record.segmentSelector(L.SEG.cs)).toBe(SEL.code64);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.kernelStack - 40));
    expect(frame(t, 5)).toEqual([
      BigInt(AT.code),
      BigInt(SEL.userCode64),
      BigInt(FLAG_RF | 2),
      BigInt(AT.stack),
      BigInt(SEL.userData),
    ]);
    expect(t.record.u32(L.TLB)).toBe(L.TLB_SUPERVISOR);
    expect(t.record.u32(L.JUMP_CACHE)).toBe(L.JUMP_SUPERVISOR);
  });

  it('uses an interrupt stack from any privilege, across pages too', () => {
    const t = new TestProcessor().longMode();
    t.longGate(2, { ist: 1 });
    t.setU64(AT.tss + 0x24, BigInt(AT.istStack + 16));
    fault(t, 2, -1);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.istStack + 16 - 40 - 0) & ~7n);
    expect(frame(t, 5)[3]).toBe(BigInt(AT.stack));
  });

  it.each([
    [
      'a gate beyond the limit',
      (t: TestProcessor) => t.record.setI32(L.IDTR + 8, 0x6f),
      13,
      7 * 8 + 3,
    ],
    ['an absent gate', (t: TestProcessor) => t.longGate(7, { present: false }), 11, 7 * 8 + 3],
    ['a gate of a wrong type', (t: TestProcessor) => t.longGate(7, { type: 12 }), 13, 7 * 8 + 3],
    ['a null code selector', (t: TestProcessor) => t.longGate(7, { selector: 0 }), 13, 1],
    [
      '32-bit code',
      (t: TestProcessor) => t.longGate(7, { selector: SEL.code32 }),
      13,
      SEL.code32 | 1,
    ],
    [
      'a data segment',
      (t: TestProcessor) => t.longGate(7, { selector: SEL.data }),
      13,
      SEL.data | 1,
    ],
    [
      'a selector beyond the table',
      (t: TestProcessor) => t.longGate(7, { selector: 0x108 }),
      13,
      0x109,
    ],
  ])('turns %s into its fault, with EXT', (_name, spoil, vector, error) => {
    const t = new TestProcessor().longMode();
    t.longGate(7);
    t.longGate(11);
    // #GP is deliverable even where the table has been cut: it comes as a double fault otherwise.
    t.longGate(13);
    t.longGate(8);
    spoil(t);
    if (t.record.i32(L.IDTR + 8) === 0x6f) {
      expect(fault(t, 7, -1)).toBe(LEAVE);
      expect(t.record.i32(L.ACTIVITY)).toBe(L.ACTIVITY_SHUTDOWN);
      return;
    }
    fault(t, 7, -1);
    expect(t.record.u64(L.RIP)).toBe(handler(vector));
    expect(frame(t, 1)).toEqual([BigInt(error)]);
  });

  it('makes double faults of the pairs of table 8-6 only', () => {
    const benign = [1, 5, 6, 7, 16, 17, 19];
    const contributory = [0, 10, 11, 12, 13];
    // The second fault is always #NP of the first one's gate: contributory.
    for (const first of [...benign, ...contributory, 14]) {
      const t = new TestProcessor().longMode();
      for (const vector of [8, 11]) t.longGate(vector);
      t.longGate(first, { present: false });
      const error = [10, 11, 12, 13, 14, 17].includes(first) ? 0 : -1;
      fault(t, first, error);
      const double = first === 11 || contributory.includes(first) || first === 14;
      expect([first, t.record.u64(L.RIP)]).toEqual([first, handler(double ? 8 : 11)]);
    }
    // #PF while #GP is delivered is no double fault.
    const t = new TestProcessor().longMode();
    for (const vector of [8, 13]) t.longGate(vector);
    t.longGate(14, { ist: 1 });
    t.setU64(t.pte(AT.stack - 4096), 0n);
    fault(t, 13, 0);
    expect(t.record.u64(L.RIP)).toBe(handler(14));
    expect(t.record.u64(L.CR2)).toBe(BigInt(AT.stack - 8));
  });

  it('shuts down on a triple fault and says so once', () => {
    const t = new TestProcessor().longMode();
    t.record.setI32(L.IDTR + 8, 0);
    expect(fault(t, 6, -1)).toBe(LEAVE);
    expect(t.exits).toMatchObject([{ kind: 'shutdown', reason: 'triple-fault' }]);
    expect(t.record.i32(L.ACTIVITY)).toBe(L.ACTIVITY_SHUTDOWN);
  });

  it('leaves every register as it was when delivery fails', () => {
    const t = new TestProcessor().longMode().userMode();
    t.longGate(6);
    t.longGate(14, { ist: 1 });
    t.setU64(AT.tss + 4, 0x1ff000n);
    t.setU64(t.pte(0x1fe000), 0n);
    fault(t, 6, -1);
    // The page fault shows the user's state of the first instruction.
    expect(t.record.u64(L.RIP)).toBe(handler(14));
    expect(frame(t, 6).slice(0, 5)).toEqual([
      2n,
      BigInt(AT.code),
      BigInt(SEL.userCode64),
      BigInt(FLAG_RF | 2),
      BigInt(AT.stack),
    ]);
  });
});

describe('software interrupts', () => {
  it('check the privilege of the gate, without EXT', () => {
    const t = new TestProcessor().longMode().userMode();
    t.longGate(0x30);
    t.longGate(13);
    expect(t.call('int', 0x30)).toBe(REDISPATCH);
    expect(t.record.u64(L.RIP)).toBe(handler(13));
    expect(frame(t, 2)).toEqual([BigInt(0x30 * 8 + 2), BigInt(AT.code)]);
  });

  it('return behind the instruction', () => {
    const t = new TestProcessor().longMode().userMode();
    t.longGate(3, { dpl: 3 });
    t.call('int3');
    expect(t.record.u64(L.RIP)).toBe(handler(3));
    expect(frame(t, 1)).toEqual([BigInt(AT.code + 2)]);
    t.call('iret', 8);
    expect(t.record.u64(L.RIP)).toBe(BigInt(AT.code + 2));
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.u64(RSP)).toBe(BigInt(AT.stack));
    expect(t.record.segmentSelector(L.SEG.ss)).toBe(SEL.userData);
  });
});

describe('delivery in protected mode', () => {
  it('pushes a 32-bit frame on the same stack', () => {
    const t = new TestProcessor().protectedMode();
    t.gate(13);
    t.record.setEflags(FLAG_IF);
    fault(t, 13, 0x55);
    expect(frame32(t, 4)).toEqual([0x55, AT.code, SEL.code32, FLAG_IF | FLAG_RF | 2]);
    expect(t.record.u32(RSP)).toBe(AT.stack - 16);
    expect(t.record.eflags() & FLAG_IF).toBe(0);
  });

  it('pushes a 16-bit frame through a 16-bit gate', () => {
    const t = new TestProcessor().protectedMode();
    t.gate(6, { type: 7 });
    fault(t, 6, -1);
    expect(t.record.u32(RSP)).toBe(AT.stack - 6);
    expect(t.record.u32(L.RIP)).toBe(AT.handlers + 6 * 16);
  });

  it('switches stacks from user mode and back', () => {
    const t = new TestProcessor().protectedMode().userMode();
    t.gate(0x80, { dpl: 3 });
    t.call('int', 0x80);
    expect(t.cpu.cpl).toBe(0);
    expect(t.record.segmentSelector(L.SEG.ss)).toBe(SEL.data);
    expect(frame32(t, 5)).toEqual([AT.code + 2, SEL.userCode32, 2, AT.stack, SEL.userData]);
    expect(t.call('iret', 4)).toBe(REDISPATCH);
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.u32(RSP)).toBe(AT.stack);
    expect(t.record.u32(L.RIP)).toBe(AT.code + 2);
    // DS and ES of the kernel must not be left to the user.
    expect(t.record.segmentAttributes(L.SEG.ds)).toBe(0);
  });

  it.each([
    ['null', 0, 1],
    ['of another privilege', SEL.userData, (SEL.userData & ~3) | 1],
    ['read-only', SEL.readOnly, SEL.readOnly | 1],
  ])('raises #TS for an inner stack that is %s', (_name, ss, error) => {
    const t = new TestProcessor().protectedMode().userMode();
    t.gate(6);
    t.gate(10, { selector: SEL.conforming });
    t.view.setUint32(AT.tss + 8, ss, true);
    fault(t, 6, -1);
    expect(t.record.u32(L.RIP)).toBe(AT.handlers + 10 * 16);
    expect(frame32(t, 1)).toEqual([error]);
    expect(t.cpu.cpl).toBe(3);
  });

  it('leaves virtual-8086 mode with its segments on the stack, and returns to it', () => {
    const t = new TestProcessor().protectedMode();
    t.gate(13);
    const words = [0x1234, 0x2000, FLAG_VM | 2, 0x100, 0x3000, 0x1111, 0x2222, 0x3333, 0x4444];
    t.record.setPair(RSP, AT.stack - words.length * 4, 0);
    words.forEach((word, i) => {
      t.view.setUint32(AT.stack - (words.length - i) * 4, word, true);
    });
    t.call('iret', 4);
    expect(t.cpu.isV86).toBe(true);
    expect(t.cpu.cpl).toBe(3);
    expect(t.record.u32(L.segmentOffset(L.SEG.ss))).toBe(0x30000);
    expect(t.record.u32(L.segmentOffset(L.SEG.gs))).toBe(0x44440);
    expect(t.record.u32(L.RIP)).toBe(0x1234);
    fault(t, 13, 0);
    expect(frame32(t, 10)).toEqual([
      0,
      0x1234,
      0x2000,
      FLAG_VM | FLAG_RF | 2,
      0x100,
      0x3000,
      0x1111,
      0x2222,
      0x3333,
      0x4444,
    ]);
    expect(t.cpu.isV86).toBe(false);
    expect(t.record.segmentSelector(L.SEG.ds)).toBe(0);
  });
});

describe('delivery in real mode', () => {
  it('goes through the vector table and returns by IRET', () => {
    const t = new TestProcessor();
    t.record.setPair(L.RIP, 0x100, 0);
    t.record.setPair(L.NEXT_RIP, 0x102, 0);
    t.record.setPair(RSP, 0, 0);
    t.record.setEflags(FLAG_IF);
    t.view.setUint32(0x21 * 4, 0x12340056, true);
    t.cpu.record.setI32(L.IDTR + 8, 0x3ff);
    t.call('int', 0x21);
    expect(t.record.u32(L.RIP)).toBe(0x56);
    expect(t.record.u32(L.segmentOffset(L.SEG.cs))).toBe(0x12340);
    expect(t.record.u16(RSP)).toBe(0xfffa);
    expect(t.view.getUint16(0xfffa, true)).toBe(0x102);
    expect(t.view.getUint16(0xfffc, true)).toBe(0xf000);
    expect(t.view.getUint16(0xfffe, true)).toBe(FLAG_IF | 2);
    expect(t.record.eflags() & FLAG_IF).toBe(0);
    t.call('iret', 2);
    expect(t.record.u32(L.RIP)).toBe(0x102);
    expect(t.record.segmentSelector(L.SEG.cs)).toBe(0xf000);
    expect(t.record.eflags()).toBe(FLAG_IF | 2);
  });
});

describe('interrupts', () => {
  function withInterrupt(flags: number): TestProcessor {
    const t = new TestProcessor().longMode();
    t.longGate(0x40);
    t.longGate(2);
    t.record.setEflags(flags);
    t.cpu.services.apic.enterVirtualWire();
    t.cpu.services.apic.accept({
      mode: 0, vector: 0x40, destination: 0, logical: false, level: false,
    }); // biome-ignore format: a plain record
    return t;
  }

  it('are taken when IF allows, showing the next instruction, without RF', () => {
    const t = withInterrupt(FLAG_IF);
    expect(t.cpu.stopRequested).toBe(true);
    expect(takeInterrupt(t.cpu)).toBe(true);
    expect(t.record.u64(L.RIP)).toBe(handler(0x40));
    expect(frame(t, 3)).toEqual([BigInt(AT.code), BigInt(SEL.code64), BigInt(FLAG_IF | 2)]);
    expect(takeInterrupt(t.cpu)).toBe(false);
    expect(t.record.i32(L.INTERRUPT_PENDING)).toBe(0);
  });

  it('wait for IF, and for the instruction after STI', () => {
    const t = withInterrupt(0);
    expect(t.cpu.stopRequested).toBe(false);
    expect(takeInterrupt(t.cpu)).toBe(false);
    expect(t.record.i32(L.INTERRUPT_PENDING)).toBe(1);
    expect(t.call('sti')).toBe(LEAVE);
    expect(t.record.u64(L.RIP)).toBe(BigInt(AT.code + 2));
    expect(takeInterrupt(t.cpu)).toBe(false);
    t.record.setPair(L.RIP, AT.code + 3, 0);
    expect(takeInterrupt(t.cpu)).toBe(true);
  });

  it('end HLT', () => {
    const t = withInterrupt(0);
    t.cpu.record.setEflags(FLAG_IF, FLAG_IF);
    expect(t.call('hlt')).toBe(LEAVE);
    expect(t.exits).toEqual([]);
    expect(takeInterrupt(t.cpu)).toBe(true);
    expect(frame(t, 1)).toEqual([BigInt(AT.code + 2)]);
    expect(t.record.i32(L.ACTIVITY)).toBe(L.ACTIVITY_RUNNING);
    const halted = new TestProcessor().longMode();
    halted.call('hlt');
    expect(halted.exits).toMatchObject([{ kind: 'hlt', interruptible: false }]);
    expect(takeInterrupt(halted.cpu)).toBe(false);
    expect(halted.cpu.wakes).toBe(false);
  });

  it('are second to NMI, which blocks itself until IRET', () => {
    const t = withInterrupt(FLAG_IF);
    t.cpu.nmi();
    expect(takeInterrupt(t.cpu)).toBe(true);
    expect(t.record.u64(L.RIP)).toBe(handler(2));
    t.cpu.nmi();
    expect(takeInterrupt(t.cpu)).toBe(false);
    expect(t.call('iret', 8)).toBe(LEAVE);
    expect(takeInterrupt(t.cpu)).toBe(true);
    expect(t.record.u64(L.RIP)).toBe(handler(2));
  });
});
