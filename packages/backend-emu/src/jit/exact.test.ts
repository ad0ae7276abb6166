/**
 * Interruptions of regions are exact: an interrupt before each of their instructions, a single step
 * behind each, and code that changes while it executes leave what the interpreter leaves.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FLAG_TF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import type { JitMode } from './mode.js';

const FULL = process.env.CLOISTER_FULL === '1';
const TORTURES = FULL ? 3000 : 40;
const LIMIT_MS = FULL ? 1_800_000 : 120_000;

const [RAX, RCX, RBX, RDI, R14] = [0, 1, 3, 7, 14].map((i) => L.gprOffset(i));
const DATA = 0x20000;
const LOG = 0x30000;
const ROUNDS = 6;

/** A loop of sums, memory, carries, flags that are used late, vectors and a call. */
const LOOP = [
  ...['48 01 c8', '48 89 03', '48 13 13', '48 d1 e2', '48 31 d6', '48 39 c6', '40 0f 92 c5'],
  ...['66 48 0f 6e c0', '66 0f d4 c8', 'e8 06 00 00 00', '48 ff c9', '75 d7', 'f4'],
  // What it calls: add [rbx+8], rsi; ret
  ...['48 01 73 08', 'c3'],
];
/** Instructions of a round: those up to the branch back, and the two that are called. */
const ROUND = 14;

/** Writes down where it interrupted: push rax; mov rax, [rsp+8]; mov [r14], rax; add r14, 8 … */
const HANDLER = '50 48 8b 44 24 08 49 89 06 49 83 c6 08 58 48 cf';
const HANDLER_LENGTH = 6;

function computer(jit: JitMode, vector: number): TestComputer {
  const t = new TestComputer('', jit).longMode();
  t.longGate(vector);
  // A page has to be known for a region to reach into it: nop
  t.load(AT.userCode + 0x800, '90');
  t.record.setPair(L.RIP, AT.userCode + 0x800, 0);
  t.run(1);
  return t.load(AT.handlers + 16 * vector, HANDLER);
}

function begin(t: TestComputer, rounds: number, base: number = AT.code): void {
  for (let i = 0; i < 16; i++) {
    if (i !== 4) t.record.setPair(L.gprOffset(i), i * 0x01234567, i);
  }
  t.record.setPair(RBX!, DATA, 0);
  t.record.setPair(RCX!, rounds, 0);
  t.record.setPair(R14!, LOG, 0);
  t.record.setPair(L.RIP, base, 0);
  t.record.setPair(L.GPR + 4 * 8, AT.stack, 0);
  t.record.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  for (let at = 0; at < 8; at++) t.record.setPair(L.XMM + at * 8, at, at);
  t.physical.bytes.fill(0, DATA, DATA + 64);
  t.physical.bytes.fill(0, LOG, LOG + 0x1000);
}

function state(t: TestComputer): unknown {
  const { words } = t.record;
  return {
    registers: [...words.slice(L.GPR >> 2, (L.GPR >> 2) + 32)],
    vectors: [...words.slice(L.XMM >> 2, (L.XMM >> 2) + 16)],
    rip: t.rip,
    executed: t.vcpu.executed,
    memory: Buffer.from(t.physical.bytes.subarray(DATA, DATA + 64)).toString('hex'),
    log: logged(t),
  };
}

function logged(t: TestComputer): number[] {
  const found: number[] = [];
  for (let at = LOG; t.u64(at) !== 0n; at += 8) found.push(Number(t.u64(at)));
  return found;
}

/** Addresses of the loop's instructions and of those that it calls, HLT left out. */
function addresses(base: number): number[] {
  const found = LOOP.map((_, i) => base + bytesOf(LOOP.slice(0, i)));
  found.splice(LOOP.indexOf('f4'), 1);
  return found.sort();
}

/** Where the loop lies: in one page, or what it calls in the next. */
const BASES = [AT.code, AT.userCode - bytesOf(LOOP.slice(0, LOOP.indexOf('f4') + 1))];

function bytesOf(code: readonly string[]): number {
  return code.join('').replaceAll(' ', '').length / 2;
}

describe('regions', () => {
  it.each(BASES)('are interrupted before each of their instructions, at %i', (base) => {
    const translated = computer('stress', 2).load(base, LOOP.join(' '));
    const interpreted = computer('off', 2).load(base, LOOP.join(' '));
    const places = new Set<number>();
    for (let before = 0; before < 3 * ROUND; before++) {
      for (const t of [translated, interpreted]) {
        begin(t, ROUNDS, base);
        t.run(before);
        t.vcpu.nmi();
        t.run(HANDLER_LENGTH + 2 * ROUND - (before % 3));
      }
      expect(state(translated)).toEqual(state(interpreted));
      const log = logged(translated);
      expect(log).toHaveLength(1);
      places.add(log[0]!);
    }
    expect([...places].sort()).toEqual(addresses(base));
    const inside = Number(translated.record.u64(L.REGION_INSTRUCTIONS));
    expect(inside).toBeGreaterThan(20 * ROUND);
  });

  it.each(BASES)('are stepped through, at %i', (base) => {
    const translated = computer('stress', 1).load(base, LOOP.join(' '));
    const interpreted = computer('off', 1).load(base, LOOP.join(' '));
    for (const t of [translated, interpreted]) {
      // At full speed first, so that there is a region to step through.
      begin(t, ROUNDS, base);
      t.run(4 * ROUND);
      begin(t, ROUNDS, base);
      t.record.setI32(L.EFLAGS, t.record.i32(L.EFLAGS) | FLAG_TF);
      t.run(3 * ROUND * (1 + HANDLER_LENGTH));
      expect(logged(t)).toHaveLength(3 * ROUND);
      t.record.setI32(L.EFLAGS, t.record.i32(L.EFLAGS) & ~FLAG_TF);
    }
    expect(state(translated)).toEqual(state(interpreted));
    expect(new Set(logged(translated))).toEqual(new Set(addresses(base)));
  });
});

/**
 * Parts of loops that change their own code: every immediate operand of ADD EAX or of a store that
 * is patched, whole instructions replaced by others of their length, in this page and the next.
 */
const PART = 16;
const patch = fc.record({
  kind: fc.constantFrom('add', 'byte', 'double', 'opcode', 'move'),
  /** Which part it writes to: of those before, behind, and itself. */
  target: fc.nat(11),
  value: fc.nat(255),
});

/** mov-, inc- and xor-instructions with addresses of 32 bits, padded with NOP to `PART` bytes. */
function partOf(
  { kind, target, value }: { kind: string; target: number; value: number },
  index: number,
  base: number,
  count: number,
): number[] {
  const place = base + (target % count) * PART;
  const at = (address: number) => [0, 8, 16, 24].map((shift) => (address >> shift) & 0xff);
  const add = [0x05, value, index, 0, 0];
  const code: Record<string, number[]> = {
    add: [...add],
    // inc byte [place + 1]: what that part adds, or where it writes
    byte: [...add, 0xfe, 0x04, 0x25, ...at(place + 1)],
    // xor dword [place + 1], value
    double: [...add, 0x81, 0x34, 0x25, ...at(place + 1), value & 0x3f, 0, 0, 0],
    // xor byte [place], 0x30: ADD EAX becomes XOR EAX and back
    opcode: [...add, 0x80, 0x34, 0x25, ...at(place), 0x30],
    move: [...add, 0xc6, 0x04, 0x25, ...at(place + 2), value],
  };
  const bytes = code[kind]!;
  return [...bytes, ...Array<number>(PART - bytes.length).fill(0x90)];
}

describe('code that changes itself', () => {
  it(
    `is the new code from its next instruction on, in ${TORTURES} loops over one page or two`,
    () => {
      const machines = [computer('stress', 2), computer('on', 2), computer('off', 2)];
      fc.assert(
        fc.property(
          fc.array(patch, { minLength: 1, maxLength: 12 }),
          fc.boolean(),
          fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 5 }),
          (patches, crossing, slices) => {
            const base = crossing ? AT.userCode - PART * Math.ceil(patches.length / 2) : AT.code;
            const parts = patches.flatMap((each, i) => partOf(each, i, base, patches.length));
            const back = parts.length + 3 + 6;
            const displacement = [0, 8, 16, 24].map((shift) => (-back >> shift) & 0xff);
            // dec rcx; jnz to the start; hlt
            const code = [...parts, 0x48, 0xff, 0xc9, 0x0f, 0x85, ...displacement, 0xf4];
            const states = machines.map((t) => {
              begin(t, 30);
              t.record.setPair(RAX!, 0, 0);
              t.record.setPair(RDI!, 0, 0);
              t.record.setPair(L.RIP, base, 0);
              t.load(base, Buffer.from(code).toString('hex'));
              const first = t.vcpu.executed;
              return slices.map((count) => {
                t.run(count);
                const bytes = t.physical.bytes.subarray(base, base + code.length);
                const { executed, ...rest } = state(t) as { executed: number };
                const hex = Buffer.from(bytes).toString('hex');
                return { ...rest, executed: executed - first, code: hex };
              });
            });
            expect(states[0]).toEqual(states[2]);
            expect(states[1]).toEqual(states[2]);
          },
        ),
        { numRuns: TORTURES },
      );
      const inside = Number(machines[0]!.record.u64(L.REGION_INSTRUCTIONS));
      expect(inside).toBeGreaterThan(TORTURES);
    },
    LIMIT_MS,
  );
});
