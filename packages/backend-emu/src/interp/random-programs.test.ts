/**
 * Random programs on machines that execute them in different ways: with sequences and dropped
 * flags, by single instructions, translated. They are in the same state wherever they are looked
 * at.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { PAGE_SIZE } from '../mmu/physical.js';
import { type TestMachine, testMachine } from './test-machine.js';

const FULL = process.env.CLOISTER_FULL === '1';
/** Programs to try. */
const FUSED_RUNS = FULL ? 5000 : 150;
const RUNS = FULL ? 13_000 : 60;
const LIMIT_MS = FULL ? 3_600_000 : 120_000;
const CODE = 0x1000;
const DATA = 0x8000;
const STACK = 0x9800;
const UNMAPPED = 0x40000000;
/** What a program may have written, by accident as well: all that its machine has. */
const CLEARED = 0x3f0000;
/** Registers that programs compute with; RBX, RDI and R15 hold the addresses above. */
const WORKING = [0, 1, 2, 6];

const reg = fc.constantFrom(...WORKING);
const byte = fc.nat(255);
const wide = fc.boolean().map((w) => (w ? [0x48] : []));
const modrm = (r: number, m: number): number => 0xc0 | (r << 3) | m;
const memory = (r: number, base: number): number[] => [0x40 | (r << 3) | base];

/** [REX.W] opcode r/m, r with both operands registers. */
const registers = (...opcodes: number[][]) =>
  fc
    .tuple(wide, fc.constantFrom(...opcodes), reg, reg)
    .map(([rex, opcode, a, b]) => [...rex, ...opcode, modrm(a, b)]);

const arithmetic = registers([0x01], [0x29], [0x31], [0x21], [0x09], [0x11], [0x19]);
const comparisons = registers([0x39], [0x85], [0x0f, 0xaf]);
const moves = registers([0x89], [0x0f, 0xb6], [0x8b]);
const conditional = fc
  .tuple(fc.nat(15), reg, reg)
  .map(([cc, a, b]) => [0x48, 0x0f, 0x40 + cc, modrm(a, b)]);
const immediate = fc
  .tuple(wide, fc.nat(7), reg, byte)
  .map(([rex, kind, r, value]) => [...rex, 0x83, modrm(kind, r), value]);
const shift = fc
  .tuple(wide, fc.constantFrom(0, 1, 4, 5, 7), reg, fc.constantFrom(0, 1, 7, 32, 63))
  .map(([rex, kind, r, count]) => [...rex, 0xc1, modrm(kind, r), count]);
const step = fc.tuple(wide, fc.nat(1), reg).map(([rex, k, r]) => [...rex, 0xff, modrm(k, r)]);
const branch = fc
  .tuple(fc.nat(15), fc.integer({ min: -12, max: 12 }))
  .map(([cc, by]) => [0x70 + cc, by & 0xff]);
const stack = fc.tuple(fc.constantFrom(0x50, 0x58), reg).map(([op, r]) => [op + r]);
/** Loads, stores and updates: of data, mostly; of code, to come or passed; where nothing is. */
const access = fc
  .tuple(
    wide,
    fc.constantFrom(0x8b, 0x89, 0x01, 0x03, 0x39),
    reg,
    fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant(3), fc.nat(127)) },
      { weight: 1, arbitrary: fc.tuple(fc.constant(7), fc.nat(127)) },
    ),
  )
  .map(([rex, op, r, [base, displacement]]) => [...rex, op, ...memory(r, base), displacement]);
const faulting = fc.constantFrom([0x49, 0x8b, 0x07], [0x49, 0x01, 0x07], [0x41, 0x80, 0x3f, 0]);

/** Flags as a whole, single bits, exchanges, products, narrow parts of registers, calls. */
const whole = fc.oneof(
  registers([0x0f, 0xa3], [0x0f, 0xab], [0x0f, 0xb3], [0x0f, 0xbb], [0x0f, 0xbc], [0x0f, 0xbd]),
  registers([0x87], [0x0f, 0xb1], [0x0f, 0xc1], [0x0f, 0xa5], [0x0f, 0xad]),
  fc.tuple(wide, reg, reg).map(([rex, a, b]) => [0xf3, ...rex, 0x0f, 0xb8, modrm(a, b)]),
  fc
    .tuple(wide, fc.constantFrom(0, 1, 2, 3, 4, 5, 7), reg)
    .map(([rex, kind, r]) => [...rex, 0xd3, modrm(kind, r)]),
  fc
    .tuple(wide, fc.constantFrom(2, 3, 4, 5), reg)
    .map(([rex, kind, r]) => [...rex, 0xf7, modrm(kind, r)]),
  fc.tuple(fc.nat(15), reg).map(([cc, r]) => [0x0f, 0x90 + cc, modrm(0, r)]),
  fc
    .tuple(fc.constantFrom(0x00, 0x10, 0x18, 0x28, 0x30, 0x38, 0x88), fc.nat(7), fc.nat(7))
    .map(([op, a, b]) => [op, modrm(a & 4 ? 4 | (a & 2) : a & 2, b & 4 ? 4 | (b & 2) : b & 2)]),
  fc
    .tuple(fc.constantFrom(0x01, 0x29, 0x39, 0x11, 0xd1), reg, reg)
    .map(([op, a, b]) => [0x66, op, modrm(op === 0xd1 ? 4 : a, b)]),
  fc.constantFrom([0x9e], [0x9f], [0x9c, 0x9d], [0x9c, 0x58], [0xf5], [0xf8], [0xf9], [0x48, 0x99]),
  fc.constantFrom([0xe8, 0, 0, 0, 0, 0x58], [0xe8, 1, 0, 0, 0, 0x90, 0x59], [0x0f, 0xc8]),
);
/** XMM0 to XMM3: integers, doubles, conversions, and what moves them. */
const vectors = fc
  .tuple(
    fc.constantFrom(
      ...[
        [0x66, 0x0f, 0xd4],
        [0x66, 0x0f, 0xef],
        [0x66, 0x0f, 0x62],
        [0xf2, 0x0f, 0x58],
      ],
      ...[
        [0xf2, 0x0f, 0x59],
        [0xf2, 0x0f, 0x5c],
        [0x66, 0x0f, 0x2e],
        [0x66, 0x48, 0x0f, 0x6e],
      ],
      ...[
        [0x66, 0x48, 0x0f, 0x7e],
        [0xf2, 0x48, 0x0f, 0x2a],
        [0xf2, 0x48, 0x0f, 0x2c],
      ],
    ),
    fc.nat(2),
    fc.nat(2),
    fc.option(fc.nat(6), { nil: null }),
  )
  .map(([opcode, a, b, at]) =>
    at === null ? [...opcode, modrm(a, b)] : [0x0f, 0x10 | (b & 1), ...memory(a, 3), at * 16],
  );

/** Addresses by FS and GS, of 32 bits, by RIP; frames, LOOP, jumps to registers, locked updates. */
const seldom = fc.oneof(
  fc
    .tuple(fc.constantFrom(0x64, 0x65, 0x67, 0x3e), fc.constantFrom(0x8b, 0x89, 0x01), reg, byte)
    .map(([prefix, op, r, at]) => [prefix, 0x48, op, ...memory(r, 3), at & 0x7f]),
  fc
    .tuple(fc.constantFrom(0x8b, 0x89, 0x03), reg, byte)
    .map(([op, r, at]) => [0x48, op, 0x05 | (r << 3), at, 0x70, 0, 0]),
  fc
    .tuple(reg, reg, fc.nat(3))
    .map(([r, i, s]) => [0x48, 0x8d, 0x44 | (r << 3), (s << 6) | (i << 3) | 3, 8]),
  fc.tuple(fc.nat(3), fc.integer({ min: -8, max: 8 })).map(([op, by]) => [0xe0 + op, by & 0xff]),
  fc
    .tuple(wide, fc.integer({ min: 4, max: 7 }), reg, byte)
    .map(([rex, kind, r, bit]) => [...rex, 0x0f, 0xba, modrm(kind, r), bit]),
  fc
    .tuple(wide, fc.constantFrom(0xa4, 0xac), reg, reg, fc.constantFrom(0, 1, 31, 40))
    .map(([rex, op, a, b, n]) => [...rex, 0x0f, op, modrm(a, b), n]),
  fc
    .tuple(wide, fc.nat(7), reg, fc.constantFrom(0, 1, 9, 33))
    .map(([rex, kind, r, n]) => [...rex, 0xc1, modrm(kind, r), n]),
  fc
    .tuple(fc.constantFrom([0xc1], [0xb1]), reg, byte)
    .map(([op, r, at]) => [0xf0, 0x48, 0x0f, ...op, ...memory(r, 3), at & 0x7f]),
  fc.tuple(fc.nat(15), byte).map(([cc, at]) => [0x0f, 0x90 + cc, ...memory(0, 3), at & 0x7f]),
  fc
    .tuple(fc.nat(7), byte, byte)
    .map(([kind, at, value]) => [0x80, ...memory(kind, 3), at & 0x7f, value]),
  fc
    .tuple(fc.constantFrom(0, 6), byte)
    .map(([kind, at]) => [kind === 0 ? 0x8f : 0xff, ...memory(kind, 3), at & 0x7f]),
  fc.constantFrom(
    ...[[0xc8, 0x10, 0, 0, 0xc9], [0x48, 0x8d, 0x05, 2, 0, 0, 0, 0xff, 0xe0], [0xd7], [0x98]],
    ...[[0x48, 0x8d, 0x05, 2, 0, 0, 0, 0xff, 0xd0, 0x58], [0xfa], [0xfb], [0xfc], [0xfd]],
    ...[
      [0x48, 0x0f, 0xc7, 0x4b, 0x10],
      [0x0f, 0xae, 0x5b, 4],
      [0x48, 0x99],
      [0x6a, 0xf0],
    ],
  ),
);

const harmless = [
  { weight: 4, arbitrary: arithmetic },
  { weight: 3, arbitrary: immediate },
  { weight: 3, arbitrary: moves },
  { weight: 3, arbitrary: shift },
  { weight: 3, arbitrary: comparisons },
  { weight: 3, arbitrary: branch },
  { weight: 2, arbitrary: access },
  { weight: 1, arbitrary: step },
  { weight: 1, arbitrary: stack },
  { weight: 1, arbitrary: conditional },
  { weight: 3, arbitrary: whole },
  { weight: 3, arbitrary: seldom },
  { weight: 1, arbitrary: vectors },
];

/** One instruction, as bytes. */
const instruction = fc.oneof(...harmless, { weight: 1, arbitrary: faulting });

/** What a loop may repeat: few accesses leave the data, and nothing faults by design. */
const loopBody = fc.array(fc.oneof(...harmless), { minLength: 1, maxLength: 40 });

/** A jump back over `bytes` bytes of code. */
function jumpBack(bytes: number): number[] {
  const distance = -(bytes + 5);
  return [0xe9, ...[0, 8, 16, 24].map((shift) => (distance >> shift) & 0xff)];
}

/** Clears the machine and puts `code`, ended by HLT, where it begins. */
function start(machine: TestMachine, code: readonly number[], seed: number): void {
  const { record, physical } = machine;
  for (let page = 0; page < CLEARED; page += PAGE_SIZE) {
    physical.bytes.fill(0, page, page + PAGE_SIZE);
    physical.written(page, PAGE_SIZE);
  }
  for (let i = 0; i < 16; i++) record.setPair(L.gprOffset(i), seed * (i + 1), seed >> i);
  record.setPair(L.gprOffset(3), DATA, 0);
  record.setPair(L.gprOffset(4), STACK, 0);
  record.setPair(L.gprOffset(7), CODE, 0);
  record.setPair(L.gprOffset(15), UNMAPPED, 0);
  record.setPair(L.FLAG_RES, seed, 0);
  record.setPair(L.FLAG_CV, 0, seed);
  record.setPair(L.FLAG_ADJ, 0, 0);
  record.setPair(L.segmentOffset(L.SEG.fs), 0x40, 0);
  record.setPair(L.segmentOffset(L.SEG.gs), 0x80, 0);
  record.setPair(L.SHADOW_RIP, -1, -1);
  record.setI32(L.EFLAGS, 2);
  record.setI32(L.MXCSR, 0x1f80);
  for (let i = 0; i < 8; i++) record.setPair(L.XMM + i * 8, seed * i, seed >> i);
  record.setI32(L.FAULT_VECTOR, -1);
  machine.interpreter.executed = 0;
  machine.load(CODE, [...code, 0xf4]);
}

/** Runs `count` instructions, `slice` at a time, or up to a fault; what can be seen then. */
function outcome(machine: TestMachine, count: number, slice: number): unknown {
  const { record, physical, interpreter } = machine;
  const end = interpreter.executed + count;
  while (interpreter.executed < end && record.i32(L.FAULT_VECTOR) < 0) interpreter.run(slice);
  return {
    registers: [...record.words.slice(L.GPR >> 2, (L.GPR >> 2) + 32)],
    vectors: [...record.words.slice(L.XMM >> 2, (L.XMM >> 2) + 16)],
    mxcsr: record.i32(L.MXCSR),
    flags: statusFlags(record.words) | record.i32(L.EFLAGS),
    rip: record.lo(L.RIP),
    shadow: record.lo(L.SHADOW_RIP),
    executed: interpreter.executed,
    vector: record.i32(L.FAULT_VECTOR),
    memory: new TextDecoder('latin1').decode(physical.bytes.subarray(CODE, STACK + 0x100)),
  };
}

describe('fused blocks', () => {
  it(
    'end as single instructions do, at any instruction',
    () => {
      const whole = testMachine();
      const single = testMachine(undefined, false);
      const program = fc.array(instruction, { minLength: 1, maxLength: 40 });
      const slices = fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 8 });
      fc.assert(
        fc.property(program, fc.integer(), slices, (lines, seed, lengths) => {
          start(whole, lines.flat(), seed);
          start(single, lines.flat(), seed);
          for (const length of lengths) {
            const expected = outcome(single, length, 1);
            expect(outcome(whole, length, length)).toEqual(expected);
          }
        }),
        { numRuns: FUSED_RUNS },
      );
    },
    LIMIT_MS,
  );
});

describe('translated code', () => {
  const translated = testMachine(undefined, true, 'stress');
  const interpreted = testMachine(undefined, true, 'off');

  let programs = 0;

  function compare(code: readonly number[], seed: number, lengths: readonly number[]): void {
    // What is overwritten too often is seldom translated, even here.
    if (++programs % 100 === 0) translated.opCache.reset();
    start(translated, code, seed);
    start(interpreted, code, seed);
    for (const length of lengths) {
      const expected = outcome(interpreted, length, length);
      expect(outcome(translated, length, length)).toEqual(expected);
    }
  }

  const slices = (max: number) => fc.array(fc.integer({ min: 1, max }), { maxLength: 8 });

  it(
    'ends as the interpreter does, at any instruction',
    () => {
      const program = fc.array(instruction, { minLength: 1, maxLength: 40 });
      fc.assert(
        fc.property(program, fc.integer(), slices(30), (lines, seed, lengths) => {
          compare(lines.flat(), seed, lengths);
        }),
        { numRuns: RUNS },
      );
    },
    LIMIT_MS,
  );

  it(
    'does so in loops',
    () => {
      const before = translated.record.u64(L.REGION_INSTRUCTIONS);
      fc.assert(
        fc.property(loopBody, fc.integer(), slices(400), (lines, seed, lengths) => {
          const body = lines.flat();
          compare([...body, ...jumpBack(body.length)], seed, lengths);
        }),
        { numRuns: RUNS },
      );
      const inRegions = translated.record.u64(L.REGION_INSTRUCTIONS) - before;
      expect(inRegions).toBeGreaterThan(BigInt(RUNS) * 100n);
    },
    LIMIT_MS,
  );
});
