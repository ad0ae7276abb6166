/** IRET in 64-bit mode: emitted code does what the system function does, or leaves it to that. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { interceptBit } from '../cpu/intercept-bits.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';

const IRETQ = '48cf';
const RSP = L.gprOffset(4);
const TOP = 0xe000;

/** What an IRET begins with; the frame's fields in their order. */
interface Start {
  readonly frame: readonly [rip: bigint, cs: number, flags: number, rsp: bigint, ss: number];
  readonly rsp: bigint;
  readonly flags: number;
  readonly user: boolean;
  /** A descriptor of the GDT with a bit changed, or none. */
  readonly changed: readonly [selector: number, bit: number] | null;
  readonly limit: number;
  readonly dataAttributes: number;
  /** The TLB has what is needed. */
  readonly warm: boolean;
  /** The other privilege was in use before. */
  readonly seen: boolean;
  readonly state: readonly [field: number, value: number] | null;
}

/** Mostly the first of them. */
function usually<T>(first: T, ...others: T[]): fc.Arbitrary<T> {
  const rare = fc.constantFrom(...others);
  return fc.oneof({ weight: 9, arbitrary: fc.constant(first) }, { weight: 1, arbitrary: rare });
}

const selectors = fc.constantFrom(
  ...[
    [SEL.code64, SEL.data],
    [SEL.code64, 0],
    [SEL.userCode64, SEL.userData],
  ],
);
const frame = fc
  .tuple(
    selectors,
    fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, fc.nat(0xffff)),
    fc.oneof(
      { weight: 9, arbitrary: fc.constant(null) },
      fc.constantFrom(0, 3, SEL.readOnly, SEL.notPresent, SEL.userData, SEL.ldt),
      fc.nat(0xffff),
    ),
    usually(BigInt(AT.userCode), -1n, 1n << 47n, 1n << 56n),
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(0x202, 0x246, 0x10202, 0x10a97, 0x3246) },
      { weight: 1, arbitrary: fc.integer() },
    ),
    usually(0x8000n, -8n, 1n << 60n),
  )
  .map(([[cs, ss], otherCs, otherSs, rip, flags, rsp]) => {
    return [rip, otherCs ?? cs, flags, rsp, otherSs ?? ss] as const;
  });

const start: fc.Arbitrary<Start> = fc.record({
  frame,
  rsp: usually(0x8800n, 0x8fe0n, 0x1ff_fff0n, -16n, 1n << 50n),
  flags: usually(0x2, 0x202, 0x8d7, 0x4002, 0x40002, 0x3002),
  user: usually(false, true),
  changed: fc.oneof(
    { weight: 6, arbitrary: fc.constant(null) },
    fc.tuple(
      fc.constantFrom(SEL.code64, SEL.userCode64, SEL.data, SEL.userData),
      fc.integer({ min: 0, max: 63 }),
    ),
  ),
  limit: usually(0xff, 0x2e, 0x17, 0),
  dataAttributes: usually(0, 0xc93, 0xcf3, 0xc9f, 0xcd3),
  warm: usually(true, false),
  seen: usually(true, false),
  state: fc.oneof(
    { weight: 9, arbitrary: fc.constant(null) },
    fc.tuple(fc.constantFrom(L.INTERRUPT_PENDING, L.NMI_BLOCKED, L.DEBUG_PENDING), fc.constant(1)),
  ),
});

function prepared(from: Start): TestComputer {
  const t = new TestComputer('', 'off').longMode().load(AT.code, IRETQ);
  if (from.seen) t.userMode().longMode();
  if (from.user) t.userMode();
  const { record, cpu } = t;
  if (from.changed !== null) {
    const [selector, bit] = from.changed;
    const at = AT.gdt + (selector & ~7);
    t.setU64(at, t.u64(at) ^ (1n << BigInt(bit)));
  }
  const at = Number(BigInt.asUintN(64, from.rsp));
  for (const [i, value] of from.frame.entries()) {
    if (at < TOP - 40) t.setU64(at + i * 8, BigInt(value));
  }
  record.setU64(RSP, BigInt.asUintN(64, from.rsp));
  record.setI32(L.GDTR + 8, from.limit);
  for (const index of [L.SEG.es, L.SEG.ds, L.SEG.fs, L.SEG.gs]) {
    record.setU16(L.segmentOffset(index) + L.SEG_ATTRIBUTES, from.dataAttributes);
  }
  cpu.setEflags(from.flags, 0x3f7fd5);
  if (from.warm) {
    for (const page of [AT.gdt, at & ~0xfff]) if (page < TOP) cpu.mmu.translate(page, 0, 0, 0);
  }
  if (from.state !== null) record.setI32(...from.state);
  record.setPair(L.NEXT_RIP, AT.code + 2, 0);
  return t;
}

/** All that can be seen, and what emitted code goes by. */
function seen(t: TestComputer): unknown {
  const { record, cpu } = t;
  const words = [
    ...[L.CPL, L.TLB, L.JUMP_CACHE, L.MODE, L.FAULT_VECTOR, L.NMI_BLOCKED],
    ...[L.INTERRUPT_PENDING, L.ACTIVITY],
  ];
  return {
    state: cpu.readState(),
    eflags: record.eflags(),
    words: words.map((offset) => record.i32(offset)),
    // Of a fault that is pending.
    error: record.i32(L.FAULT_VECTOR) < 0 ? null : record.i32(L.FAULT_ERROR),
    debug: cpu.debug.snapshot(),
    current: record.i32(L.GENERATION) === record.i32(L.CODE_GENERATIONS + (cpu.cpl === 3 ? 4 : 0)),
    memory: Buffer.from(t.physical.bytes.slice(0, TOP)).toString('latin1'),
  };
}

describe('IRET in 64-bit mode', () => {
  it('does the same as emitted code and as a function', () => {
    let withoutCall = 0;
    fc.assert(
      fc.property(start, (from) => {
        const emitted = prepared(from);
        let calls = 0;
        const call = emitted.cpu.callSystem.bind(emitted.cpu);
        emitted.cpu.callSystem = (fn) => {
          calls++;
          return call(fn);
        };
        // Without the vCPU's loop around it: what a fault or a trap leads to is not asked.
        const end = emitted.vcpu.interpreter.run(1);
        if (calls === 0) withoutCall++;
        const called = prepared(from);
        // As in the run: the boundary behind the instruction.
        called.cpu.debug.boundary = () => 1;
        const outcome = called.call('iret', 8);
        expect(end === 'fault').toBe(outcome === 1);
        expect(end === 'leave').toBe(outcome === 3);
        const after = seen(emitted);
        expect(after).toEqual(seen(called));
      }),
      { numRuns: 100 },
    );
    expect(withoutCall).toBeGreaterThan(20);
  });

  const usual = (cs: number, ss: number): TestComputer =>
    prepared({
      frame: [BigInt(AT.userCode), cs, 0x10246, 0x8000n, ss],
      ...{ rsp: 0x8800n, flags: 2, user: false, changed: null, limit: 0xff, dataAttributes: 0 },
      ...{ warm: true, seen: true, state: null },
    });

  it('is left to an extension that intercepts it', () => {
    const calls = (intercepted: number): number => {
      const t = usual(SEL.code64, SEL.data);
      t.record.setI32(L.INTERCEPTED, intercepted);
      let count = 0;
      const call = t.cpu.callSystem.bind(t.cpu);
      t.cpu.callSystem = (fn) => {
        count++;
        return call(fn);
      };
      t.vcpu.interpreter.run(1);
      return count;
    };
    expect(calls(interceptBit('iret'))).toBe(1);
    expect(calls(~interceptBit('iret'))).toBe(0);
  });

  it.each([
    ['to the kernel', SEL.code64, SEL.data],
    ['to the kernel, without a stack segment', SEL.code64, 0],
    ['to a program', SEL.userCode64, SEL.userData],
  ])('returns %s without a call, with RF for the next instruction', (_, cs, ss) => {
    const t = usual(cs, ss);
    t.cpu.callSystem = () => {
      throw new Error('called');
    };
    t.vcpu.interpreter.run(1);
    expect([t.rip, t.cpu.cpl, t.record.lo(RSP)]).toEqual([AT.userCode, cs & 3, 0x8000]);
    expect(t.cpu.debug.resumeFlag).toBe(0x10000);
    expect(t.record.eflags()).toBe(0x246);
  });
});
