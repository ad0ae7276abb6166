/** Whatever tables and arguments a guest makes: no host exception, and a fault changes nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { MODE_SIZE_MASK } from '../cpu/mode.js';
import { AT, TestProcessor } from '../cpu/test-processor.js';
import { deliverFault } from './exceptions.js';
import { systemFunctions } from './functions.js';
import { FAULT, LEAVE } from './outcome.js';

/** What a fault may change besides memory: itself, and run-time words. */
const VOLATILE: readonly (readonly [number, number])[] = [
  [L.CUR_OP, 4],
  [L.FAULT_VECTOR, 8],
  [L.FAULT_ADDRESS, 8],
  [L.GENERATION, 4],
  [L.INTERRUPT_PENDING, 4],
  [L.ARG0, 32],
  [L.BOUNCE, 64],
  // General detect: DR6.BD and DR7.GD change with the fault.
  [L.DR + 6 * 8, 16],
];

function stableState(t: TestProcessor): Uint8Array {
  const bytes = t.record.bytes.slice(0, L.RECORD_SIZE);
  for (const [offset, size] of VOLATILE) bytes.fill(0, offset, offset + size);
  return bytes;
}

/** Places in the record that differ. */
function differences(a: Uint8Array, b: Uint8Array): string[] {
  return Array.from(a.keys())
    .filter((offset) => a[offset] !== b[offset])
    .map((offset) => offset.toString(16));
}

const word = fc.integer().map((value) => value >>> 0);
/** Mostly plausible descriptors: random type, DPL, flags; small bases and limits. */
const descriptor = fc
  .record({ access: fc.nat(255), flags: fc.nat(15), limit: word, base: fc.nat(0x1fffff) })
  .map(({ access, flags, limit, base }) => {
    const low = BigInt(limit & 0xffff) | (BigInt(base & 0xffffff) << 16n);
    return low | (BigInt(access | 0x80) << 40n) | (BigInt((flags << 4) | (limit & 15)) << 48n);
  });
const argument = fc.oneof(
  fc.nat(0xff).map(BigInt),
  word.map(BigInt),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(BigInt(AT.code), BigInt(AT.stack), BigInt(AT.gdt), 0x1000n - 4n),
);
const size = fc.constantFrom(2n, 4n, 8n);
const MODES = ['real', 'protected', 'user', 'v86', 'long', 'longUser', 'compat'] as const;

const scenario = fc.record({
  name: fc.constantFrom(...Object.keys(systemFunctions)),
  mode: fc.constantFrom(...MODES),
  gdt: fc.array(descriptor, { minLength: 32, maxLength: 32 }),
  idt: fc.array(descriptor, { minLength: 16, maxLength: 16 }),
  stack: fc.array(fc.oneof(fc.nat(0xff), word), { minLength: 24, maxLength: 24 }),
  registers: fc.array(argument, { minLength: 16, maxLength: 16 }),
  args: fc.array(argument, { minLength: 4, maxLength: 4 }),
  size,
  flags: word,
  cr4: fc.nat(0x3fffff),
});

/** The argument that is an operand size, by function. */
const SIZE_ARGUMENT: Readonly<Record<string, number>> = {
  popSeg: 1,
  retFar: 1,
  jmpFar: 2,
  callFar: 2,
  iret: 0,
  popf: 1,
  lgdt: 1,
  lidt: 1,
  sgdt: 1,
  sidt: 1,
  sysret: 0,
  rdrand: 0,
  rdseed: 0,
  ins: 2,
  outs: 2,
};

function build(mode: (typeof MODES)[number]): TestProcessor {
  const t = new TestProcessor();
  switch (mode) {
    case 'real':
      t.record.setPair(L.gprOffset(4), AT.stack, 0);
      return t;
    case 'protected':
      return t.protectedMode();
    case 'user':
      return t.protectedMode().userMode();
    case 'v86':
      t.protectedMode().userMode();
      t.record.setEflags(1 << 17);
      t.cpu.modeChanged();
      return t;
    case 'long':
      return t.longMode();
    case 'longUser':
      return t.longMode().userMode();
    case 'compat':
      return t.longMode().userMode(0x1b);
  }
}

const SAVED_MEMORY = 0x40000;
const built = new Map(
  MODES.map((mode) => {
    const t = build(mode);
    const memory = t.physical.bytes.slice(0, SAVED_MEMORY);
    return [mode, { t, memory, state: t.cpu.snapshot() }] as const;
  }),
);

function prepare(mode: (typeof MODES)[number]): TestProcessor {
  const { t, memory, state } = built.get(mode)!;
  t.physical.bytes.set(memory);
  t.cpu.restore(state);
  t.exits.length = 0;
  return t;
}

function words(t: TestProcessor, at: number, values: readonly number[]): void {
  for (const [index, value] of values.entries()) t.view.setUint32(at + index * 4, value, true);
}

function quads(t: TestProcessor, at: number, values: readonly bigint[]): void {
  for (const [index, value] of values.entries()) t.setU64(at + index * 8, value);
}

describe('system functions', () => {
  it('stand any guest', () => {
    fc.assert(
      fc.property(scenario, (s) => {
        const t = prepare(s.mode);
        quads(t, AT.gdt, [0n, ...s.gdt.slice(1)]);
        quads(t, AT.idt, s.idt);
        words(t, AT.stack, s.stack);
        for (const [index, value] of s.registers.entries()) {
          if (index !== 4) t.record.setU64(L.gprOffset(index), value);
        }
        t.record.setI32(L.segmentOffset(L.SEG.ldtr) + L.SEG_ATTRIBUTES - 2, 0x82 << 16);
        t.record.setI32(L.segmentOffset(L.SEG.ldtr) + L.SEG_LIMIT, 0xff);
        t.record.setPair(L.segmentOffset(L.SEG.ldtr), AT.gdt, 0);
        t.record.setEflags(s.flags, 0x7dd5);
        t.record.setI32(L.CR4, (s.cr4 & ~0x1030) | t.record.i32(L.CR4));
        t.cpu.modeChanged();
        const args = [...s.args];
        const at = SIZE_ARGUMENT[s.name];
        if (at !== undefined) args[at] = s.size;
        if (s.name === 'in' || s.name === 'out') args[1] = s.size === 8n ? 1n : s.size;
        if (s.name === 'ins' || s.name === 'outs') {
          args[0] = s.size === 8n ? 1n : s.size;
          args[1] = s.args[1] & 1n;
          args[3] = BigInt(t.cpu.is64 ? L.ZERO : L.segmentOffset(L.SEG.ds));
        }
        if (['movToSeg', 'popSeg', 'loadFar'].includes(s.name))
          args[0] = [0n, 2n, 3n, 4n, 5n][Number(s.args[0] % 5n)];
        if (s.name === 'loadFar') args[3] = (s.size << 8n) | (s.args[3] & 15n);
        if (s.name.startsWith('mov') && s.name !== 'movToSeg') args[0] = s.args[0] & 15n;
        const before = stableState(t);
        const outcome = t.call(s.name, ...args);
        expect([0, 1, 2, 3]).toContain(outcome);
        if (outcome === FAULT) {
          expect(differences(stableState(t), before)).toEqual([]);
          expect(t.fault[0]).toBeGreaterThanOrEqual(0);
          expect([1, 2, 3]).toContain(deliverFault(t.cpu) === LEAVE ? 3 : 2);
        }
        expect(t.cpu.cpl).toBeLessThan(4);
        expect(t.record.i32(L.MODE) & MODE_SIZE_MASK).toBeLessThan(3);
        const user = t.cpu.cpl === 3;
        expect(t.record.u32(L.TLB)).toBe(user ? L.TLB_USER : L.TLB_SUPERVISOR);
      }),
      { numRuns: 4000 },
    );
  });
});
