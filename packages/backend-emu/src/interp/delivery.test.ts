/** Delivery in 64-bit mode: emitted code does what TypeScript does, or leaves it to that. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';
import { EVENT_EXTERNAL, EVENT_FAULT } from '../system/event.js';
import { deliver } from '../system/exceptions.js';

const RSP = L.gprOffset(4);
const TOP = 0xe000;
const PF = 14;
/** RSP0 and the stacks of the IST, as the tests' TSS has them. */
const TSS_FIELDS = [0x4, 0x24, 0x2c];

interface Start {
  readonly vector: number;
  readonly error: number;
  readonly event: number;
  readonly gate: Parameters<TestComputer['longGate']>[1];
  /** A bit changed of what lies in memory, or none. */
  readonly changed: readonly [at: 'gate' | 'code', bit: number] | null;
  readonly user: boolean;
  readonly rsp: bigint;
  readonly stacks: bigint;
  readonly flags: number;
  readonly limits: readonly [idt: number, gdt: number, tss: number];
  /** The TLB has what is needed. */
  readonly warm: boolean;
  /** The other privilege was in use before. */
  readonly seen: boolean;
  readonly resumes: boolean;
  readonly pending: boolean;
}

/** Mostly the first of them. */
function usually<T>(first: T, ...others: T[]): fc.Arbitrary<T> {
  const rare = fc.constantFrom(...others);
  return fc.oneof({ weight: 12, arbitrary: fc.constant(first) }, { weight: 1, arbitrary: rare });
}

const start: fc.Arbitrary<Start> = fc.record({
  vector: fc.constantFrom(PF, 29, 3, 0x30, 255),
  error: fc.constantFrom(-1, 0, 2, 0x400, 0x7b),
  event: fc.constantFrom(EVENT_FAULT, EVENT_EXTERNAL),
  gate: fc.record({
    type: usually(14, 15, 12, 5),
    dpl: fc.constantFrom(0, 3),
    ist: fc.constantFrom(0, 0, 1, 2, 7),
    selector: usually<number>(SEL.code64, SEL.userCode64, SEL.data, 0, SEL.conforming, SEL.ldt),
    present: usually(true, false),
  }),
  changed: fc.oneof(
    { weight: 6, arbitrary: fc.constant(null) },
    fc.tuple(fc.constantFrom('gate' as const, 'code' as const), fc.nat(127)),
  ),
  user: fc.boolean(),
  rsp: usually(0x8800n, 0x8ffcn, 0x9008n, 0x8010n, 8n, -16n, 1n << 50n),
  stacks: usually(0xa000n, 0xa7ffn, 0xa020n, 0xa028n, 1n << 60n),
  flags: usually(0x2, 0x246, 0x8d7, 0x4302, 0x40202, 0x3202),
  limits: fc.tuple(usually(0xfff, 0x1d9, 0xf), usually(0xff, 0x17), usually(0x67, 0xa, 0x2a)),
  warm: usually(true, false),
  seen: usually(true, false),
  resumes: fc.boolean(),
  pending: fc.boolean(),
});

function prepared(from: Start): TestComputer {
  const t = new TestComputer('', 'off').longMode();
  if (from.seen) t.userMode().longMode();
  if (from.user) t.userMode();
  const { record, cpu } = t;
  t.longGate(from.vector, from.gate);
  const gate = AT.idt + from.vector * 16;
  if (from.changed !== null) {
    const [what, bit] = from.changed;
    const at = what === 'gate' ? gate + (bit >> 6) * 8 : AT.gdt + SEL.code64;
    t.setU64(at, t.u64(at) ^ (1n << BigInt(bit & 63)));
  }
  for (const field of TSS_FIELDS) t.setU64(AT.tss + field, BigInt.asUintN(64, from.stacks));
  record.setU64(RSP, BigInt.asUintN(64, from.rsp));
  const [idt, gdt, tss] = from.limits;
  record.setI32(L.IDTR + 8, idt);
  record.setI32(L.GDTR + 8, gdt);
  record.setI32(L.segmentOffset(L.SEG.tr) + L.SEG_LIMIT, tss);
  cpu.setEflags(from.flags, 0x3f7fd5);
  record.setPair(L.RIP, 0x12345678, 0x7abc);
  record.setPair(L.FAULT_ADDRESS, 0x89abcdef | 0, 0x1234);
  if (from.resumes) cpu.debug.setResumeFlag();
  record.setI32(L.INTERRUPT_PENDING, from.pending ? 1 : 0);
  if (!from.warm) return t;
  for (const at of [gate, AT.gdt, AT.tss]) cpu.mmu.translate(at, 0, 0, 0);
  for (const { at } of [{ at: from.rsp - 1n }, { at: from.stacks - 1n }]) {
    const page = Number(BigInt.asUintN(64, at)) & ~0xfff;
    if (at < TOP && page > 0) cpu.mmu.translate(page, 0, 1, 0);
  }
  return t;
}

/** All that can be seen, and what emitted code goes by. */
function seen(t: TestComputer, outcome: number): unknown {
  const { record, cpu } = t;
  const words = [
    ...[L.CPL, L.TLB, L.JUMP_CACHE, L.MODE, L.FAULT_VECTOR, L.ACTIVITY],
    ...[L.INTERRUPT_PENDING, L.NMI_BLOCKED],
  ];
  return {
    outcome,
    state: cpu.readState(),
    eflags: record.eflags(),
    words: words.map((offset) => record.i32(offset)),
    debug: cpu.debug.snapshot(),
    current: record.i32(L.GENERATION) === record.i32(L.CODE_GENERATIONS + (cpu.cpl === 3 ? 4 : 0)),
    memory: Buffer.from(t.physical.bytes.slice(0, TOP)).toString('latin1'),
  };
}

function delivered(t: TestComputer, { vector, error, event }: Start): unknown {
  const { record } = t;
  const outcome = deliver(t.cpu, vector, error, event, record.lo(L.RIP), record.hi(L.RIP));
  return seen(t, outcome);
}

describe('delivery in 64-bit mode', () => {
  it('is the same by emitted code and by TypeScript', () => {
    let usual = 0;
    fc.assert(
      fc.property(start, (from) => {
        const emitted = prepared(from);
        const { deliverUsual } = emitted.cpu;
        emitted.cpu.deliverUsual = (...event) => {
          const done = deliverUsual(...event);
          usual += done;
          return done;
        };
        const other = prepared(from);
        other.cpu.deliverUsual = () => 0;
        expect(delivered(emitted, from)).toEqual(delivered(other, from));
      }),
      { numRuns: 150 },
    );
    expect(usual).toBeGreaterThan(20);
  });

  const plain: Start = {
    ...{ vector: 29, error: 0x72, event: EVENT_FAULT, gate: {}, changed: null, user: false },
    ...{ rsp: 0x8808n, stacks: 0xa000n, flags: 0x246, limits: [0xfff, 0xff, 0x67] as const },
    ...{ warm: true, seen: true, resumes: false, pending: false },
  };

  it.each([
    ['within the kernel', {}, 0x8800 - 48],
    ['without an error code', { error: -1 }, 0x8800 - 40],
    ['by a stack of the IST', { gate: { ist: 1 } }, 0xa000 - 48],
    ['from a program', { user: true }, 0xa000 - 48],
  ])('is done by emitted code %s', (_, changes, rsp) => {
    const t = prepared({ ...plain, ...changes });
    const { deliverUsual } = t.cpu;
    let done = 0;
    t.cpu.deliverUsual = (...event) => {
      done = deliverUsual(...event);
      return done;
    };
    delivered(t, { ...plain, ...changes });
    expect([done, t.cpu.cpl, t.record.lo(RSP)]).toEqual([1, 0, rsp]);
    expect(t.rip).toBe(AT.handlers + 29 * 16);
    expect(t.record.eflags()).toBe(0x46);
  });
});
