/** Vector and x87 instructions run by the interpreter: what unit tests of the parts do not show. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { fpuTraps } from '../fpu/traps.js';
import { type TestMachine, testMachine } from '../interp/test-machine.js';

const HLT = 0xf4;
const DATA = 0x200000;
const IE = 1;
const ZE = 4;
const PE = 0x20;

interface Setup {
  readonly cr0?: number;
  readonly cr4?: number;
  readonly mxcsr?: number;
}

function machine(code: readonly number[], { cr0, cr4, mxcsr }: Setup = {}): TestMachine {
  const m = testMachine();
  const { view } = m.record;
  view.setUint32(L.CR0, cr0 ?? 0x80000033, true);
  view.setUint32(L.CR4, cr4 ?? 0x620, true);
  view.setUint32(L.MXCSR, mxcsr ?? 0x1f80, true);
  view.setUint16(L.FCW, 0x37f, true);
  view.setUint16(L.FTW, 0xffff, true);
  const traps = fpuTraps(view.getUint32(L.CR0, true), view.getUint32(L.CR4, true), 0);
  view.setUint32(L.FPU_TRAPS, traps, true);
  m.record.setPair(L.gprOffset(7), DATA, 0);
  m.load(0x1000, [...code, HLT]);
  return m;
}

/** Runs to the HLT, or to the exception whose vector it gives. */
function run(m: TestMachine): number {
  m.interpreter.run(1000);
  return m.systemCalls.at(-1) === 'hlt' ? -1 : m.record.i32(L.FAULT_VECTOR);
}

function setDouble(m: TestMachine, register: number, low: number, high = 0): void {
  m.record.view.setFloat64(L.XMM + register * 16, low, true);
  m.record.view.setFloat64(L.XMM + register * 16 + 8, high, true);
}

function double(m: TestMachine, register: number, half = 0): number {
  return m.record.view.getFloat64(L.XMM + register * 16 + half * 8, true);
}

const flags = (m: TestMachine): number => m.record.u32(L.MXCSR) & 0x3f;

const ADDSD = [0xf2, 0x0f, 0x58, 0xc1];
const MULSD = [0xf2, 0x0f, 0x59, 0xc1];
const DIVSD = [0xf2, 0x0f, 0x5e, 0xc1];

describe('SSE', () => {
  it('adds scalars, keeps the upper half and notes inexactness only when there is any', () => {
    const m = machine(ADDSD);
    setDouble(m, 0, 1, 7);
    setDouble(m, 1, 2, 9);
    expect(run(m)).toBe(-1);
    expect([double(m, 0), double(m, 0, 1)]).toEqual([3, 7]);
    expect(flags(m)).toBe(0);
    const inexact = machine(ADDSD);
    setDouble(inexact, 0, 1);
    setDouble(inexact, 1, 2 ** -60);
    expect(run(inexact)).toBe(-1);
    expect(double(inexact, 0)).toBe(1);
    expect(flags(inexact)).toBe(PE);
  });

  it('finds inexact products and quotients', () => {
    for (const [code, a, b, expected] of [
      [MULSD, 3, 5, 0],
      [MULSD, 1 + 2 ** -40, 1 + 2 ** -40, PE],
      [DIVSD, 6, 3, 0],
      [DIVSD, 1, 3, PE],
      [DIVSD, 1, 0, ZE],
      [DIVSD, 0, 0, IE],
    ] as const) {
      const m = machine(code);
      setDouble(m, 0, a);
      setDouble(m, 1, b);
      expect(run(m)).toBe(-1);
      expect(flags(m)).toBe(expected);
    }
  });

  it('rounds as MXCSR says', () => {
    const up = machine(ADDSD, { mxcsr: 0x5f80 });
    setDouble(up, 0, 1);
    setDouble(up, 1, 2 ** -60);
    run(up);
    expect(double(up, 0)).toBe(1 + 2 ** -52);
  });

  it('raises #XM, or #UD where the system does not expect it, and leaves the registers', () => {
    for (const [cr4, vector] of [
      [0x620, 19],
      [0x220, 6],
    ] as const) {
      const m = machine(DIVSD, { mxcsr: 0x1d80, cr4 });
      setDouble(m, 0, 1);
      expect(run(m)).toBe(vector);
      expect(double(m, 0)).toBe(1);
      expect(flags(m)).toBe(ZE);
    }
  });

  it('gives the first operand of two NaNs, made quiet', () => {
    const m = machine(ADDSD);
    m.record.view.setBigUint64(L.XMM, 0xfff0000000001234n, true);
    m.record.view.setBigUint64(L.XMM + 16, 0x7ff8000000005678n, true);
    run(m);
    expect(m.record.u64(L.XMM)).toBe(0xfff8000000001234n);
    expect(flags(m)).toBe(IE);
  });

  it('faults on unaligned 16-byte operands but for the unaligned moves', () => {
    expect(run(machine([0x0f, 0x28, 0x47, 1]))).toBe(13);
    expect(run(machine([0x0f, 0x58, 0x47, 8]))).toBe(13);
    expect(run(machine([0x0f, 0x10, 0x47, 1]))).toBe(-1);
    expect(run(machine([0xf2, 0x0f, 0x58, 0x47, 1]))).toBe(-1);
  });

  it('is undefined without OSFXSR and unavailable with TS', () => {
    expect(run(machine(ADDSD, { cr4: 0x20 }))).toBe(6);
    expect(run(machine(ADDSD, { cr0: 0x8000003b }))).toBe(7);
    expect(run(machine(ADDSD, { cr0: 0x80000037 }))).toBe(6);
  });

  it('converts what does not fit to the indefinite integer', () => {
    // cvttsd2si eax, xmm0; cvttsd2si rcx, xmm1
    const m = machine([0xf2, 0x0f, 0x2c, 0xc0, 0xf2, 0x48, 0x0f, 0x2c, 0xc9]);
    setDouble(m, 0, 3e9);
    setDouble(m, 1, 3e9);
    run(m);
    expect(m.record.u64(L.gprOffset(0))).toBe(0x80000000n);
    expect(m.record.u64(L.gprOffset(1))).toBe(3000000000n);
    expect(flags(m)).toBe(IE);
  });
});

describe('MMX', () => {
  it('shares the x87 registers', () => {
    // fld1; movd mm3, eax
    const m = machine([0xd9, 0xe8, 0x0f, 0x6e, 0xd8]);
    m.record.setPair(L.gprOffset(0), 0x12345678, 0);
    expect(run(m)).toBe(-1);
    expect(m.record.u64(L.ST + 3 * 16)).toBe(0x12345678n);
    expect(m.record.u16(L.ST + 3 * 16 + 8)).toBe(0xffff);
    expect(m.record.u16(L.FTW)).toBe(0);
    expect(m.record.u16(L.FSW) & 0x3800).toBe(0);
  });
});

describe('x87', () => {
  const fld1 = [0xd9, 0xe8];
  const fldz = [0xd9, 0xee];

  it('keeps 64 bits of a third, and reports it', () => {
    // fld1; fld1; fadd st,st; fadd st, st1; fdivp st1: 1/3
    const m = machine([...fld1, ...fld1, 0xdc, 0xc0, 0xd8, 0xc1, 0xde, 0xf9]);
    expect(run(m)).toBe(-1);
    expect(m.record.u64(L.ST + 7 * 16)).toBe(0xaaaaaaaaaaaaaaabn);
    expect(m.record.u16(L.ST + 7 * 16 + 8)).toBe(0x3ffd);
    expect(m.record.u16(L.FSW) & 0x3f).toBe(PE);
  });

  it('defers an unmasked exception to the next waiting instruction', () => {
    // fldcw [rdi]; fld1; fldz; fdivp; fnstsw ax; fwait
    const code = [0xd9, 0x2f, ...fld1, ...fldz, 0xde, 0xf9, 0xdf, 0xe0, 0x9b];
    const m = machine(code);
    m.physical.view.setUint16(m.physical.ramBase + DATA, 0x37b, true);
    expect(run(m)).toBe(16);
    expect(m.record.lo(L.RIP)).toBe(0x1000 + code.length - 1);
    expect(m.record.u64(L.gprOffset(0)) & 0x80ffn).toBe(0x8084n);
  });

  it('stores 80 bits, integers and decimals', () => {
    // fild dword [rdi]; fld st; fbstp [rdi+16]; fstp tbyte [rdi+32]
    const m = machine([0xdb, 0x07, 0xd9, 0xc0, 0xdf, 0x77, 16, 0xdb, 0x7f, 32]);
    const { view, ramBase } = m.physical;
    view.setInt32(ramBase + DATA, -1234567, true);
    expect(run(m)).toBe(-1);
    expect(view.getUint32(ramBase + DATA + 16, true)).toBe(0x1234567);
    expect(view.getUint16(ramBase + DATA + 24, true)).toBe(0x8000);
    expect(view.getUint16(ramBase + DATA + 40, true)).toBe(0xc013);
    expect(m.record.u16(L.FTW)).toBe(0xffff);
  });

  it('overflows and underflows its stack', () => {
    const pushes = Array.from({ length: 9 }, () => fld1).flat();
    const over = machine(pushes);
    run(over);
    expect(over.record.u16(L.FSW) & 0x241).toBe(0x241);
    const under = machine([0xd9, 0xfa]);
    run(under);
    expect(under.record.u16(L.FSW) & 0x241).toBe(0x041);
  });

  it('saves and restores its state', () => {
    // fld1; fldz; fnsave [rdi]; frstor [rdi]; fnstenv [rdi+0x80]
    const m = machine([...fld1, ...fldz, 0xdd, 0x37, 0xdd, 0x27, 0xd9, 0xb7, 0x80, 0, 0, 0]);
    expect(run(m)).toBe(-1);
    const { view, ramBase } = m.physical;
    // Register 7 is valid, register 6 zero, the others empty.
    expect(view.getUint32(ramBase + DATA + 0x88, true)).toBe(0xffff1fff);
    expect(view.getUint16(ramBase + DATA + 28 + 8, true)).toBe(0);
    expect(view.getUint16(ramBase + DATA + 38 + 8, true)).toBe(0x3fff);
    expect(m.record.u16(L.FSW) >> 11).toBe(6);
  });
});
