/**
 * IRET among what may come before and behind it: interrupts, NMIs, traps and breakpoints. A run in
 * which emitted code returns is, slice by slice, that of the system function.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MODE_FIXED } from '../apic/registers.js';
import { interceptBit } from '../cpu/intercept-bits.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';
import type { JitMode } from '../jit/mode.js';

const RSP = L.gprOffset(4);
const DR7 = L.DR + 7 * 8;
const USER_STACK = 0x8000;
const KERNEL_STACK = 0xa000;
const SUPERVISOR_PAGES = [0x4000, 0x6000, 0x7000, 0x9000, 0xa000, 0xb000, 0xc000, 0xd000];
const ACCESS = { smap: 1 << 21, smep: 1 << 20 };
const CR0_AM = 1 << 18;
const DB = 1;
const NMI = 2;
const SYSTEM_CALL = 0x80;
const IRETQ = '48cf';
/** Exceptions after which the kernel begins anew. */
const FATAL = [0, 4, 6, 8, 10, 11, 12, 13, 14, 17];

/** Programs at the target of the returns; each comes back by INT 80h. */
const PROGRAMS = [
  '909090909090909090909090909090cd80ebec',
  // pause; inc rbx
  '90f390909048ffc390cd8090909090ebe0',
  // sti; cli
  '9090fb9090fa9090cd8090ebf0cd80',
  // popfq
  '9d90909090cd80cd80cd80909090cd80',
];
/** Handlers, each up to its IRETQ: what they do to the flags of their frame, and to IF. */
const DEBUG_HANDLERS = ['', '4881642410fffeffff', '48814c241000000100'];
const NMI_HANDLERS = ['', '90', 'fb', '48814c241000020000'];
const INTERRUPT_HANDLERS = ['', 'fb90', '48ffc3', 'fb'];

type Event = 'none' | 'interrupt' | 'nmi' | 'end' | 'raise' | 'lower' | 'flush';

/** Mostly the first of them. */
function usually<T>(first: fc.Arbitrary<T>, ...others: T[]): fc.Arbitrary<T> {
  const rare = fc.constantFrom(...others);
  return fc.oneof({ weight: 9, arbitrary: first }, { weight: 1, arbitrary: rare });
}

const segments = usually<readonly [cs: number, ss: number]>(
  fc.constantFrom([SEL.code64, SEL.data], [SEL.code64, 0], [SEL.userCode64, SEL.userData]),
  [SEL.userCode32, SEL.userData],
  [SEL.conforming | 3, SEL.userData],
  [SEL.code64, SEL.notPresent],
  [SEL.code64 | 1, SEL.data | 1],
  [SEL.userCode64, 3],
);
const frame = fc.record({
  rip: usually<number>(
    fc.nat(12).map((n) => AT.userCode + n),
    2 ** 47,
    0x1fffff0,
    AT.code,
  ),
  segments,
  flags: usually(
    fc.constantFrom(2, 0x202, 0x10202, 0x10002, 0x246, 0x3202),
    ...[0x102, 0x302, 0x10302, 0x40202, 0x4002, 0x180202],
  ),
  rsp: usually(fc.constant(USER_STACK), USER_STACK - 8, -8, 2 ** 60),
});
const program = fc.record({
  frames: fc.array(frame, { minLength: 1, maxLength: 5 }),
  user: fc.constantFrom(...PROGRAMS),
  handlers: fc.record({
    debug: fc.constantFrom(...DEBUG_HANDLERS),
    nmi: fc.constantFrom(...NMI_HANDLERS),
    interrupt: fc.constantFrom(...INTERRUPT_HANDLERS),
  }),
  /** On code among the targets; on data in the kernel's frames. */
  breaks: fc.oneof(
    { weight: 4, arbitrary: fc.constant({ code: false, data: false }) },
    { weight: 2, arbitrary: fc.record({ code: fc.boolean(), data: fc.boolean() }) },
  ),
  rights: usually(fc.constant(0), ACCESS.smap, ACCESS.smap | ACCESS.smep),
  aligned: fc.boolean(),
  slices: fc.array(
    fc.record({
      count: fc.integer({ min: 1, max: 60 }),
      event: usually<Event>(
        fc.constantFrom<Event>('none', 'none', 'none', 'interrupt', 'end'),
        ...(['nmi', 'raise', 'lower', 'flush'] as const),
      ),
    }),
    { minLength: 5, maxLength: 30 },
  ),
});
type Program = typeof program extends fc.Arbitrary<infer T> ? T : never;

function bytes(value: bigint, count: number): string {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt.asUintN(64, value));
  return buffer.subarray(0, count).toString('hex');
}

/** Pushes the frames in turn, one each time that it is entered, and returns by it. */
function kernel({ frames }: Program): string {
  const returns = frames.map(({ rip, segments: [cs, ss], flags, rsp }) => {
    const pushes = [ss, rsp, flags, cs, rip].map((each) => `48b8${bytes(BigInt(each), 8)}50`);
    return pushes.join('') + IRETQ;
  });
  const size = bytes(BigInt(returns[0]!.length / 2), 1);
  // inc r15; mov eax,r15d; xor edx,edx; mov ecx,count; div ecx; imul rdx,rdx,size
  const choose = `49ffc74489f831d2b9${bytes(BigInt(frames.length), 4)}f7f1486bd2${size}`;
  // lea rax,[behind]; add rax,rdx; jmp rax
  return `${choose}488d05050000004801d0ffe0${returns.join('')}`;
}

/** Begins the kernel anew on its stack. */
function restart(at: number): string {
  return `bc${bytes(BigInt(KERNEL_STACK), 4)}e9${bytes(BigInt(AT.code - (at + 10)), 4)}`;
}

function prepared(from: Program, jit: JitMode): TestComputer {
  const t = new TestComputer('', jit).longMode().userMode().longMode();
  const { record, cpu } = t;
  t.load(AT.code, kernel(from)).load(AT.userCode, from.user + 'cd80'.repeat(20));
  for (let vector = 0; vector < 256; vector++) {
    const at = AT.handlers + vector * 16;
    const anew = vector === SYSTEM_CALL || FATAL.includes(vector);
    const { debug, nmi, interrupt } = from.handlers;
    const handler = vector === DB ? debug : vector === NMI ? nmi : interrupt;
    t.longGate(vector, { dpl: 3, ist: vector === NMI ? 1 : 0 });
    t.load(at, anew ? restart(at) : handler + IRETQ);
  }
  if (from.rights !== 0) {
    for (const page of SUPERVISOR_PAGES) t.setU64(t.pte(page), BigInt(page | 3));
  }
  record.setPair(L.CR4, record.lo(L.CR4) | from.rights, 0);
  if (from.aligned) record.setPair(L.CR0, record.lo(L.CR0) | CR0_AM, 0);
  cpu.mmu.reconfigure();
  cpu.mmu.tlb.flushAll();
  record.setPair(L.DR, AT.userCode + 3, 0);
  record.setPair(L.DR + 8, KERNEL_STACK - 40, 0);
  record.setPair(DR7, 0x400 | (from.breaks.code ? 2 : 0) | (from.breaks.data ? 0xf00008 : 0), 0);
  cpu.breakpointsChanged();
  cpu.modeChanged();
  record.setPair(RSP, KERNEL_STACK, 0);
  return t;
}

function happen({ cpu }: TestComputer, event: Event, vector: number): void {
  const { apic } = cpu.services;
  const message = { mode: MODE_FIXED, vector, destination: 0, logical: false, level: false };
  if (event === 'nmi') cpu.nmi();
  else if (event === 'interrupt') apic.accept(message);
  else if (event === 'end') apic.endInterrupt();
  else if (event === 'raise') apic.setTaskPriority(0x80);
  else if (event === 'lower') apic.setTaskPriority(0);
  else if (event === 'flush') cpu.mmu.tlb.flushAll();
}

/** What is seen after each slice, memory at the end, and how often functions were called. */
function run(from: Program, jit: JitMode, intercepted: number): { seen: unknown[]; calls: number } {
  const t = prepared(from, jit);
  const { record, cpu, vcpu } = t;
  record.setI32(L.INTERCEPTED, intercepted);
  let calls = 0;
  const call = cpu.callSystem.bind(cpu);
  cpu.callSystem = (fn) => {
    calls++;
    return call(fn);
  };
  const seen: unknown[] = from.slices.map(({ count, event }, index) => {
    happen(t, event, 0x31 + ((index * 19) % 0x4e));
    const end = t.run(count);
    const words = [L.NMI_BLOCKED, L.MODE, L.CPL, L.TLB].map((offset) => record.i32(offset));
    const between = [cpu.debug.snapshot(), cpu.shadow.covers()];
    return [end, vcpu.executed, cpu.readState(), record.eflags(), words, between];
  });
  seen.push(Buffer.from(t.physical.bytes.subarray(0, AT.tables)).toString('latin1'));
  return { seen, calls };
}

describe('IRET among events', () => {
  it.each(['off', 'stress'] as const)('is that of the system function, --jit %s', (jit) => {
    let saved = 0;
    fc.assert(
      fc.property(program, (from) => {
        const emitted = run(from, jit, 0);
        // No extension is there to be asked: the function does it.
        const called = run(from, 'off', interceptBit('iret'));
        expect(emitted.seen).toEqual(called.seen);
        saved += called.calls - emitted.calls;
      }),
      { numRuns: 15 },
    );
    expect(saved).toBeGreaterThan(0);
  });
});
