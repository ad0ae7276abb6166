/**
 * Debug exceptions against the host's own processor: the same programs under the same debug
 * registers and RFLAGS.TF trap at the same places, for the same causes, with the same RF and TF.
 *
 * The emulated handler does what Linux's does: DR6 is cleared, and RF set where a breakpoint on
 * code has trapped. ICEBP is left out: KVM, on which the host may run, shows RIP before it on AMD.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as L from '../../packages/backend-emu/src/cpu/layout.js';
import { TestComputer } from '../../packages/backend-emu/src/cpu/test-computer.js';
import { AT } from '../../packages/backend-emu/src/cpu/test-processor.js';
import { hostIsAmd } from './host.js';
import { oracleProblem } from './oracle.js';
import { NativeTracer, type TracedProgram, type Trap } from './tracer.js';

const problem = oracleProblem();
const CODE = 0x200800;
const DATA = 0x300000;
const STACK = DATA + 0x1800;
const RF = 0x10000;
const TF = 0x100;
const PLAIN = 0x202;
const SS = 0x2b;
const USER_PAGE = 7;
const MOST = 128;
const full = process.env.CLOISTER_FULL === '1';

const X = 0;
const W = 1;
const RW = 3;
const LENGTH: Readonly<Record<number, number>> = { 1: 0, 2: 1, 8: 2, 4: 3 };

/** Kinds and lengths of breakpoints on data. */
const KINDS: readonly (readonly [number, number])[] = full
  ? [[W, 1], [W, 2], [W, 4], [W, 8], [RW, 1], [RW, 2], [RW, 4], [RW, 8]]
  : [[W, 4], [RW, 1]]; // biome-ignore format: a table

/** AMD's processors take breakpoints on the code behind a load of SS. */
const VENDOR = new Set(['one behind MOV SS', 'data of MOV SS, then code']);

type Point = readonly [kind: number, at: number, bytes?: number];

interface Case {
  readonly code: string;
  readonly points: readonly Point[];
  readonly traced: boolean;
  readonly gpr?: readonly number[];
  readonly data?: number;
}

/** RAX a stack segment's selector, RCX 3, RSI and RDI in the data, RBP on the stack. */
const GPR = [SS, 3, 0, DATA + 0x900, STACK, STACK + 0x40, DATA + 0x100, DATA + 0x200];

function program({ code, points, traced, gpr, data }: Case): TracedProgram {
  const bytes = code.match(/[0-9a-f]{2}/g) ?? [];
  const control = points.reduce((dr7, [kind, , length = 1], index) => {
    return dr7 | (1 << (index * 2)) | ((kind | (LENGTH[length] << 2)) << (16 + index * 4));
  }, 0);
  return {
    code: new Uint8Array(bytes.map((byte) => Number.parseInt(byte, 16))),
    breakpoints: [0, 1, 2, 3].map((index) => points[index]?.[1] ?? 0),
    dr7: control >>> 0,
    gpr: gpr ?? GPR,
    rflags: traced ? PLAIN | TF : PLAIN,
    data: data ?? 0,
  };
}

/** What the emulated processor makes of it. */
function emulate({ code, breakpoints, dr7, gpr, rflags, data }: TracedProgram): Trap[] {
  const t = new TestComputer().longMode();
  // Code and data where they are natively: behind the second entry of the page directory.
  t.setU64(AT.tables + 0x2008, BigInt(0x70000 | USER_PAGE));
  t.setU64(0x70000, BigInt(0x50000 | USER_PAGE));
  t.setU64(0x70000 + 256 * 8, BigInt(0x60000 | USER_PAGE));
  t.setU64(0x70000 + 257 * 8, BigInt(0x61000 | USER_PAGE));
  t.physical.bytes.fill(0xcc, 0x50000, 0x51000);
  t.physical.bytes.set(code, 0x50800);
  for (let i = 0; i < 0x2000; i += 4) t.view.setUint32(0x60000 + i, data, true);
  // The selectors of Linux's user mode: data at 28, 64-bit code at 30.
  t.setDescriptor(0x28, 0x00cff3000000ffffn);
  t.setDescriptor(0x30, 0x00affb000000ffffn);
  t.userMode();
  t.record.setU16(L.segmentOffset(L.SEG.cs) + L.SEG_SELECTOR, 0x33);
  t.record.setU16(L.segmentOffset(L.SEG.ss) + L.SEG_SELECTOR, SS);
  for (const vector of [1, 3, 13]) {
    t.longGate(vector, { dpl: 3, selector: 0x08 });
    t.load(AT.handlers + vector * 16, '90 48 cf');
  }
  gpr.forEach((value, index) => {
    t.record.setU64(L.gprOffset(index), BigInt(value));
  });
  breakpoints.forEach((at, index) => {
    t.record.setU64(L.DR + index * 8, BigInt(at));
  });
  t.record.setPair(L.DR + 56, dr7 | 0x400, 0);
  t.record.setU64(L.RIP, BigInt(CODE));
  t.cpu.mmu.reconfigure();
  t.cpu.breakpointsChanged();
  t.cpu.setEflags(rflags, TF | 0x200);
  return collect(t, CODE + code.length);
}

function collect(t: TestComputer, end: number): Trap[] {
  const traps: Trap[] = [];
  const dr6 = L.DR + 48;
  for (let i = 0; i < MOST; i++) {
    t.run(1);
    // In the handler's second instruction, whether a trap or a fault led there.
    const handler = [1, 3, 13].find((vector) => t.rip === AT.handlers + vector * 16 + 1);
    if (handler === undefined) continue;
    const frame = t.record.u32(L.gprOffset(4));
    const [rip, rflags] = [t.u32(frame), t.u32(frame + 16)];
    const causes = t.record.i32(dr6) & 0xe00f;
    if (handler === 13 || (handler === 3 && rip === end + 1)) return traps;
    if ((causes & t.cpu.mmu.breakpoints.codeAt(rip, 0)) !== 0) {
      t.view.setUint32(frame + 16, rflags | RF, true);
    }
    traps.push({ rip, causes, rflags: t.u32(frame + 16) });
    t.record.setI32(dr6, 0xffff0ff0 | 0);
  }
  return traps;
}

function shown(traps: readonly Trap[] | null): readonly string[] | null {
  if (traps === null) return null;
  return traps.map(({ rip, causes, rflags }) => {
    const flags = `${(rflags & TF) !== 0 ? ' TF' : ''}${(rflags & RF) !== 0 ? ' RF' : ''}`;
    return `+${(rip - CODE).toString(16)} ${causes.toString(16)}${flags}`;
  });
}

/** Instructions that touch [rdi] in some way. */
const ACCESSES: Readonly<Record<string, string>> = {
  'mov [rdi], al': '88 07',
  'mov al, [rdi]': '8a 07',
  'mov [rdi], rax': '48 89 07',
  'mov [rdi+1], eax': '89 47 01',
  'mov [rdi-1], ax': '66 89 47 ff',
  'inc byte [rdi]': 'fe 07',
  'cmp [rdi], al': '38 07',
  'xchg [rdi], eax': '87 07',
  'lock cmpxchg [rdi], ecx': 'f0 0f b1 0f',
  'push [rdi]': 'ff 37',
  'pop [rdi]': '8f 07',
  'movups [rdi-8], xmm0': '0f 11 47 f8',
  'movsb from [rsi]': 'a4',
  'rep movsb': 'f3 a4',
  'rep stosd': 'f3 ab',
  'scasb': 'ae',
  'cmpsb': 'a6',
  'bts [rdi], ecx': '0f ab 0f',
  'fild dword [rdi]': 'db 07',
  'fistp dword [rdi]': 'db e3 d9 ee db 1f',
  'lea rax, [rdi]': '48 8d 07',
  'prefetch [rdi]': '0f 18 0f',
  'call, ret': 'e8 02 00 00 00 eb 01 c3',
  'xlat': 'd7',
}; // biome-ignore format: names stand by their bytes

const NAMED: Readonly<Record<string, Case>> = {
  'a step each': { code: '90 90 eb 00 90', points: [], traced: true },
  'no step between MOV SS and the next': { code: '8e d0 90 90', points: [], traced: true },
  'no step in two loads of SS': { code: '8e d0 8e d0 90 90', points: [], traced: true },
  'steps in REP MOVSB': { code: 'f3 a4 90', points: [], traced: true },
  'steps in REPE CMPSB': { code: 'f3 a6 90', points: [], traced: true },
  'steps in REPNE SCASB': { code: 'f2 ae 90', points: [], traced: true, data: 0x01010101 },
  'steps in REP LODSB': { code: 'f3 ac 90', points: [], traced: true },
  'steps in REP STOSD': { code: 'f3 ab 90', points: [], traced: true },
  'REP with nothing to do': {
    code: 'f3 a4 90', points: [], traced: true, gpr: [SS, 0, 0, 0, STACK, 0, DATA, DATA],
  },
  'the end of steps by POPF': { code: '9d 90 90', points: [], traced: true, data: PLAIN },
  'the begin of steps by POPF': { code: '9d 90 90', points: [], traced: false, data: PLAIN | TF },
  'PUSHF sees TF': { code: '9c 58 90', points: [], traced: true },
  'INT3 under TF': { code: '90 cc 90 90', points: [], traced: true },
  'a breakpoint on code': { code: '90 90 90', points: [[X, CODE + 1]], traced: false },
  'two on one instruction': {
    code: '90 90 90', points: [[X, CODE + 1], [X, CODE + 1]], traced: false,
  },
  'one in the middle of an instruction': {
    code: 'b8 01 00 00 00 90', points: [[X, CODE + 2]], traced: false,
  },
  'one on code under TF': { code: '90 90 90', points: [[X, CODE + 1]], traced: true },
  'one behind MOV SS': { code: '8e d0 90 90', points: [[X, CODE + 2]], traced: false },
  'one on REP MOVSB': { code: '90 f3 a4 90', points: [[X, CODE + 1]], traced: false },
  'one on REPE CMPSB': { code: '90 f3 a6 90', points: [[X, CODE + 1]], traced: false },
  'one on REPE CMPSB under TF': { code: '90 f3 a6 90', points: [[X, CODE + 1]], traced: true },
  'one on REP STOSB, data in it': {
    code: '90 f3 aa 90', points: [[X, CODE + 1], [W, DATA + 0x201]], traced: false,
  },
  'one on REPE CMPSB, data in it': {
    code: '90 f3 a6 90', points: [[X, CODE + 1], [RW, DATA + 0x201]], traced: false,
  },
  'one on REP MOVSB under TF': { code: '90 f3 a4 90', points: [[X, CODE + 1]], traced: true },
  'one in a loop': { code: '90 e2 fd 90', points: [[X, CODE]], traced: false },
  'data of MOV SS': {
    code: '8e 17 90 90', points: [[RW, DATA + 0x200, 2]], traced: false, data: SS,
  },
  'data of MOV SS under TF': {
    code: '8e 17 90 90', points: [[RW, DATA + 0x200, 2]], traced: true, data: SS,
  },
  'data of MOV SS and of the next': {
    code: '8e 17 88 07 90', points: [[RW, DATA + 0x200, 2], [W, DATA + 0x200]], traced: false,
    data: SS,
  },
  'MOV SS in a loop': { code: '8e d0 e2 fc 90', points: [[X, CODE]], traced: true },
  'LSS, then code': { code: '0f b2 27 90 90', points: [[X, CODE + 3]], traced: true, data: SS },
  'data of MOV SS, then code': {
    code: '8e 17 90 90', points: [[RW, DATA + 0x200, 2], [X, CODE + 2], [X, CODE + 3]],
    traced: false, data: SS,
  },
  'data and step': { code: '88 07 90', points: [[W, DATA + 0x200]], traced: true },
  'data, then code': {
    code: '88 07 90', points: [[W, DATA + 0x200], [X, CODE + 2]], traced: false,
  },
  'data across a page': {
    code: '48 89 87 fd 0d 00 00 90', points: [[W, DATA + 0x1000, 4]], traced: false,
  },
  'eight bytes': { code: '88 47 07 90', points: [[W, DATA + 0x200, 8]], traced: false },
  'behind eight bytes': { code: '88 47 08 90', points: [[W, DATA + 0x200, 8]], traced: false },
}; // biome-ignore format: a table

/** Whether the host sets breakpoints and none traps, as where its debug registers are emulated. */
function ignoresBreakpoints(): boolean {
  const tracer = new NativeTracer();
  try {
    const [traps] = tracer.run([program(NAMED['a breakpoint on code']!)]);
    return traps?.length === 0;
  } finally {
    tracer.dispose();
  }
}

const ignored = problem === null && ignoresBreakpoints();
const without = ignored ? ' (the host ignores breakpoints)' : '';

describe.skipIf(problem !== null)(`debug exceptions, natively ${problem ?? ''}`, () => {
  let tracer: NativeTracer;
  beforeAll(() => {
    tracer = new NativeTracer();
  });
  afterAll(() => tracer.dispose());

  /** Compares the cases whose breakpoints the host grants. */
  function compare(cases: Readonly<Record<string, Case>>): void {
    const asked = Object.entries(cases).filter(([name]) => hostIsAmd || !VENDOR.has(name));
    const programs = asked.map(([, each]) => program(each));
    const native = tracer
      .run(programs)
      .map((traps, i) => (ignored && asked[i]![1].points.length > 0 ? null : shown(traps)));
    const granted = asked.map(([name], i) => ({ name, i })).filter(({ i }) => native[i] !== null);
    const table = (traps: (index: number) => readonly string[] | null) =>
      Object.fromEntries(granted.map(({ name, i }) => [name, traps(i)]));
    if (granted.length < asked.length) {
      process.stderr.write(`the host refuses ${asked.length - granted.length} breakpoints\n`);
    }
    const free = asked.filter(([, { points }]) => points.length === 0);
    expect(granted.length).toBeGreaterThanOrEqual(free.length);
    expect(table((index) => shown(emulate(programs[index])))).toEqual(table((i) => native[i]));
  }

  it(`steps and breakpoints on code${without}`, () => compare(NAMED));

  it.skipIf(ignored)('breakpoints on data, by kind and length, for every way to touch it', () => {
    const cases: Record<string, Case> = {};
    for (const [name, code] of Object.entries(ACCESSES)) {
      for (const [kind, bytes] of KINDS) {
        for (const traced of full ? [false, true] : [false]) {
          const point = [kind, DATA + 0x200, bytes] as const;
          const source = [kind, DATA + 0x101, 1] as const;
          const label = `${name}, R/W ${kind}, ${bytes} bytes${traced ? ', TF' : ''}`;
          cases[label] = { code: `${code} 90`, points: [point, source], traced };
        }
      }
    }
    compare(cases);
  });
});
