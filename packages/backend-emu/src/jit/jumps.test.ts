/**
 * Jumps and calls by an operand, as interpreters of byte codes have them: what they lead to often
 * is in their region, and all else, flags of every kind on the way included, is as interpreted.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import type { JitMode } from './mode.js';

const FULL = process.env.CLOISTER_FULL === '1';
const RUNS = FULL ? 1500 : 25;
const LIMIT_MS = FULL ? 1_800_000 : 120_000;

const RSI = L.gprOffset(6);
const TABLE = 0x20000;
const FUNCTIONS = 0x20800;
const CODES = 0x21000;
const PART = 32;
/** movzx eax, byte [rsi]; lea rsi, [rsi+1]; jmp [rax*8+TABLE]: no flag changes. */
const DISPATCH = [0x0f, 0xb6, 0x06, 0x48, 0x8d, 0x76, 0x01, 0xff, 0x24, 0xc5, 0, 0, 2, 0];
/** What the codes do, each before it goes on to the next. */
const HANDLERS = [
  [0x48, 0x01, 0xcb], // add rbx, rcx
  [0x48, 0x11, 0xda], // adc rdx, rbx
  [0x48, 0x83, 0xe9, 0x03], // sub rcx, 3
  [0x48, 0xff, 0xc2], // inc rdx
  [0x48, 0x31, 0xd3], // xor rbx, rdx
  [0x19, 0xd1], // sbb ecx, edx
  [0x0f, 0x92, 0xc3], // setc bl
  [0x66, 0xff, 0xca], // dec dx
  [0x0f, 0x9a, 0xc1], // setp cl
  [0xff, 0x14, 0xc5, 0, 8, 2, 0], // call [rax*8+FUNCTIONS]
  [0x40, 0x0f, 0x98, 0xc7, 0xff, 0x14, 0xc5, 0, 8, 2, 0], // sets dil; call [rax*8+FUNCTIONS]
];
const RESTART = HANDLERS.length;
/** cmp bl, cl; ret and test rdx, rdx; ret */
const CALLED = [
  [0x38, 0xcb, 0xc3],
  [0x48, 0x85, 0xd2, 0xc3],
];

/** Handlers lie in two pages, each with its own dispatch. */
function placeOf(index: number): number {
  return (index % 2 === 0 ? AT.code : AT.userCode) + PART * (2 + (index >> 1));
}

function computer(jit: JitMode): TestComputer {
  const t = new TestComputer('', jit).longMode();
  const load = (at: number, bytes: readonly number[]) =>
    t.load(at, Buffer.from(bytes).toString('hex'));
  load(AT.code, DISPATCH);
  // mov esi, CODES
  const handlers = [...HANDLERS, [0xbe, 0, 0x10, 2, 0]];
  for (const [index, code] of handlers.entries()) {
    load(placeOf(index), [...code, ...DISPATCH]);
    t.setU64(TABLE + 8 * index, BigInt(placeOf(index)));
  }
  for (const [index, code] of CALLED.entries()) {
    load(AT.userCode + 0x800 + PART * index, code);
    t.setU64(FUNCTIONS + 8 * (9 + index), BigInt(AT.userCode + 0x800 + PART * index));
  }
  return t;
}

function begin(t: TestComputer, codes: readonly number[]): void {
  for (let i = 0; i < 16; i++) t.record.setPair(L.gprOffset(i), i * 0x01234567, i);
  t.record.setPair(RSI, CODES, 0);
  t.record.setPair(L.GPR + 4 * 8, AT.stack, 0);
  t.record.setPair(L.RIP, AT.code, 0);
  t.load(CODES, Buffer.from([...codes, RESTART]).toString('hex'));
}

function state(t: TestComputer, first: number): unknown {
  return {
    registers: [...t.record.words.slice(L.GPR >> 2, (L.GPR >> 2) + 32)],
    flags: statusFlags(t.record.words),
    rip: t.rip,
    executed: t.vcpu.executed - first,
  };
}

const codesArbitrary = fc.array(fc.nat(HANDLERS.length - 1), { minLength: 1, maxLength: 40 });
const slicesArbitrary = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 8 });

describe('jumps by an operand', () => {
  it(
    `lead where they do interpreted, in ${RUNS} programs`,
    () => {
      const machines = [computer('stress'), computer('off')];
      fc.assert(
        fc.property(codesArbitrary, slicesArbitrary, (codes, slices) => {
          const [translated, interpreted] = machines.map((t) => {
            begin(t, codes);
            const first = t.vcpu.executed;
            return slices.map((count) => {
              t.run(count);
              return state(t, first);
            });
          });
          expect(translated).toEqual(interpreted);
        }),
        { numRuns: RUNS },
      );
    },
    LIMIT_MS,
  );

  it('stay in the region of the loop that they are in', () => {
    const codes = HANDLERS.map((_, index) => (index * 5) % 7);
    const machines = [computer('on'), computer('off')];
    for (const t of machines) begin(t, codes);
    const lengths = [1_000_000, 1, 7, 300, 100_000];
    const [translated, interpreted] = machines.map((t) =>
      lengths.map((count) => {
        t.run(count);
        return state(t, 0);
      }),
    );
    expect(translated).toEqual(interpreted);
    const { record } = machines[0]!;
    const inside = Number(record.u64(L.REGION_INSTRUCTIONS));
    expect(inside).toBeGreaterThan(500_000);
    expect(Number(record.u64(L.REGION_EXITS))).toBeLessThan(inside / 1000);
  });
});

describe('a jump that two blocks have, each with a target of its own', () => {
  /**
   * 0: inc rdx; add r8, rcx (20 times); mov eax, X; test dl, 1; jz A; mov eax, Y; jmp B
   * A: add rbx, rcx
   * B: add rdi, rbx; jmp rax
   * X: add rbx, 3; jmp 0
   * Y: xor rbx, rdi; jmp 0
   */
  function loop(jit: JitMode): TestComputer {
    const t = new TestComputer('', jit).longMode();
    const head = [0x48, 0xff, 0xc2, ...Array.from({ length: 20 }, () => [0x49, 0x01, 0xc8]).flat()];
    const a = head.length + 17;
    const [b, x, y] = [a + 3, a + 8, a + 14];
    const to = (place: number) => [0xb8, place, AT.code >> 8, AT.code >> 16, 0];
    const code = [
      ...[...head, ...to(x), 0xf6, 0xc2, 0x01, 0x74, 7, ...to(y), 0xeb, b - a],
      ...[0x48, 0x01, 0xcb],
      ...[0x48, 0x01, 0xdf, 0xff, 0xe0],
      ...[0x48, 0x83, 0xc3, 0x03, 0xeb, 0x100 - (x + 6)],
      ...[0x48, 0x31, 0xfb, 0xeb, 0x100 - (y + 5)],
    ];
    t.load(AT.code, Buffer.from(code).toString('hex'));
    begin(t, []);
    return t;
  }

  it('is taken as interpreted, from a region that one of the targets is no part of', () => {
    const machines = [loop('on'), loop('off')];
    const lengths = [300_000, 1, 7, 300_000, 1, 1, 1, 500_000];
    const [translated, interpreted] = machines.map((t) =>
      lengths.map((count) => {
        t.run(count);
        return state(t, 0);
      }),
    );
    expect(translated).toEqual(interpreted);
    expect(Number(machines[0]!.record.u64(L.REGION_INSTRUCTIONS))).toBeGreaterThan(300_000);
  });
});

describe('a return that functions share', () => {
  const CALLED_AT = 0x30800;
  const CODE = 0x30000;
  const RETURN = 0x40000;
  const near = (from: number, to: number) => {
    const by = to - from - 4;
    return [by & 0xff, (by >> 8) & 0xff, (by >> 16) & 0xff, by >> 24];
  };

  /** A loop that calls seven functions, which all jump to a return in another page. */
  function loop(jit: JitMode): TestComputer {
    const t = new TestComputer('', jit).longMode();
    const load = (at: number, bytes: readonly number[]) =>
      t.load(at, Buffer.from(bytes).toString('hex'));
    const calls = Array.from({ length: 7 }, (_, i) => {
      const place = CALLED_AT + PART * i;
      // add rbx, rcx; jmp RETURN
      load(place, [0x48, 0x01, 0xcb, 0xe9, ...near(place + 4, RETURN)]);
      return [0xe8, ...near(CODE + 5 * i + 1, place)];
    }).flat();
    // dec rcx; jmp to the start
    const back = CODE + calls.length + 4;
    load(CODE, [...calls, 0x48, 0xff, 0xc9, 0xe9, ...near(back, CODE)]);
    load(RETURN, [0xc3]);
    t.record.setPair(L.RIP, CODE, 0);
    return t;
  }

  it('is in their region, although the TLB has forgotten its page', () => {
    const machines = [loop('on'), loop('off')];
    const run = (times: number) => {
      for (const t of machines) {
        for (let i = 0; i < times; i++) {
          t.cpu.mmu.tlb.forgetRights();
          t.run(997);
        }
      }
    };
    const { record } = machines[0]!;
    const counts = () =>
      [L.REGION_INSTRUCTIONS, L.REGION_EXITS].map((at) => Number(record.u64(at)));
    run(3000);
    const before = counts();
    run(1000);
    const [inside, exits] = counts().map((count, i) => count - before[i]!);
    expect(state(machines[0]!, 0)).toEqual(state(machines[1]!, 0));
    expect(inside).toBeGreaterThan(800_000);
    expect(exits).toBeLessThan(inside! / 500);
  });
});
