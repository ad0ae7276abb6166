/**
 * Sequences and dropped flags change nothing: programs are in the same state wherever they are
 * looked at, as where every instruction executes by its own handler, one at a time.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import * as R from '../isa/op-record.js';
import { PAGE_SIZE } from '../mmu/physical.js';
import { effectsOf } from './effects.js';
import { enumerateHandlers, formOfHandler, handlerOfCase } from './handlers.js';
import { sequences } from './sequences.js';
import { type TestMachine, testMachine } from './test-machine.js';

/** Programs to try. */
const RUNS = process.env.CLOISTER_FULL === '1' ? 5000 : 150;
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

const instruction = fc.oneof(
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
  { weight: 1, arbitrary: faulting },
);

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
  record.setI32(L.EFLAGS, 2);
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
    flags: statusFlags(record.words),
    rip: record.lo(L.RIP),
    executed: interpreter.executed,
    vector: record.i32(L.FAULT_VECTOR),
    memory: Buffer.from(physical.bytes.subarray(CODE, STACK + 0x100)).toString('latin1'),
  };
}

describe('fused blocks', () => {
  it('end as single instructions do, at any instruction', () => {
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
      { numRuns: RUNS },
    );
  });

  it('put off flags that the next instruction overwrites, and drop those that nothing sees', () => {
    const machine = testMachine();
    const handlersOf = (code: readonly number[]): string[] => {
      machine.load(CODE, code);
      machine.interpreter.run(100);
      const { handlers } = machine.opCache;
      const halves = new Uint16Array(machine.record.buffer);
      const mode = machine.record.i32(L.MODE);
      let record = machine.opCache.block(machine.physical.ramBase + CODE, mode, () => -1);
      const names: string[] = [];
      for (;;) {
        const items = handlers.cases[halves[(record + R.OP_HANDLER) >> 1] - handlerOfCase(0)];
        if (items === undefined) return names;
        names.push(items.map((it) => `${it.info.form.mnemonic} ${it.flagUse}`).join(', '));
        record += items.length * R.OP_SIZE;
      }
    };
    // mov rax, rcx; shl rax, 13; xor rax, rcx; cmp rax, rcx; jne; hlt
    expect(
      handlersOf([
        ...[0x48, 0x89, 0xc8, 0x48, 0xc1, 0xe0, 0x0d, 0x48, 0x31, 0xc8],
        ...[0x48, 0x39, 0xc8, 0x75, 0, 0xf4],
      ]),
    ).toEqual(['MOV store, SHL defer, XOR drop', 'CMP store, JNZ store']);
    // The same with a count of zero, which leaves the flags alone.
    expect(handlersOf([0x48, 0x89, 0xc8, 0x48, 0xc1, 0xe0, 0, 0x48, 0x31, 0xc8, 0xf4])).toEqual([
      'MOV store',
      'SHL store',
      'XOR store',
    ]);
    // add rax, rcx; hlt: the flags can be seen.
    expect(handlersOf([0x48, 0x01, 0xc8, 0xf4])).toEqual(['ADD store']);
  });
});

describe('sequences', () => {
  it('are made of forms with cases of their own, each but the last going on to the next', () => {
    const handlers = enumerateHandlers();
    const hot = new Map(
      handlers.cases
        .filter(({ length }) => length === 1)
        .map(([{ info }]) => [info.key.trim(), info]),
    );
    for (const forms of sequences()) {
      for (const [index, form] of forms.entries()) {
        const info = hot.get(form);
        expect(info, form).toBeDefined();
        if (index < forms.length - 1) expect(info?.description.ends, form).not.toBe(true);
      }
    }
  });

  it('have the handler of their first instruction to fall back on', () => {
    const handlers = enumerateHandlers();
    for (const [{ info, plain }] of handlers.cases) {
      expect(formOfHandler(handlers, plain)).toBe(info);
    }
  });
});

describe('effects', () => {
  const handlers = enumerateHandlers();
  const effects = (key: string): unknown => {
    const form = handlers.cases.find(([{ info }]) => info.key.trim() === key)?.[0].info;
    return form && effectsOf(form);
  };
  const none = {
    readsFlags: false,
    writesFlags: false,
    observes: false,
    needsCount: false,
    addresses: false,
  };

  it('are found from the descriptions', () => {
    expect(effects('MOV.64 r64,r64')).toEqual(none);
    expect(effects('ADD.64 r64,r64')).toEqual({ ...none, writesFlags: true });
    expect(effects('ADC.64 r64,r64')).toEqual({ ...none, writesFlags: true, readsFlags: true });
    expect(effects('INC.32 r32')).toEqual({ ...none, writesFlags: true, readsFlags: true });
    expect(effects('SHL.64 r64,i8')).toEqual({ ...none, writesFlags: true, needsCount: true });
    // By CL: a count of zero leaves the flags alone.
    expect(effects('SHL.64 r64,r8')).toEqual({ ...none, readsFlags: true });
    expect(effects('ROL.64 r64,i8')).toMatchObject({ writesFlags: false, readsFlags: true });
    expect(effects('CMP.64 r64,m64')).toEqual({
      ...none,
      writesFlags: true,
      observes: true,
      addresses: true,
    });
    expect(effects('JZ.64 j64')).toMatchObject({ readsFlags: true, observes: true });
    expect(effects('PUSHF.64')).toMatchObject({ readsFlags: true, observes: true });
    expect(effects('CLI.32')).toMatchObject({ observes: true });
  });
});
