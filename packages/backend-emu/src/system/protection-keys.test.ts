/** RDPKRU and WRPKRU: when they exist, and what they refuse. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestProcessor } from '../cpu/test-processor.js';
import { EXECUTE, READ, WRITE } from '../mmu/walk.js';
import { FAULT, NEXT } from './outcome.js';

const PKE = 0x6a0 | (1 << 22);

function machine(): TestProcessor {
  const t = new TestProcessor().longMode();
  t.call('movToCr', 4, PKE);
  return t;
}

const set = (t: TestProcessor, rax: number, rcx: number, rdx: number) => {
  t.record.setPair(L.gprOffset(0), rax, -1);
  t.record.setPair(L.gprOffset(1), rcx, -1);
  t.record.setPair(L.gprOffset(2), rdx, -1);
};

describe('PKRU', () => {
  it('is written and read at any privilege; upper halves of the registers do not count', () => {
    const t = machine().userMode();
    set(t, 0x89abcdef | 0, 0, 0);
    expect(t.call('wrpkru')).toBe(NEXT);
    set(t, -1, 0, -1);
    expect(t.call('rdpkru')).toBe(NEXT);
    expect(t.record.u64(L.gprOffset(0))).toBe(0x89abcdefn);
    expect(t.record.u64(L.gprOffset(2))).toBe(0n);
  });

  it('is #GP(0) where ECX, or EDX of a write, is not zero', () => {
    const t = machine();
    set(t, 1, 1, 0);
    expect([t.call('rdpkru'), t.fault]).toEqual([FAULT, [13, 0]]);
    expect([t.call('wrpkru'), t.fault]).toEqual([FAULT, [13, 0]]);
    set(t, 1, 0, 1);
    expect([t.call('wrpkru'), t.fault]).toEqual([FAULT, [13, 0]]);
    expect(t.record.i32(L.PKRU)).toBe(0);
    expect(t.call('rdpkru')).toBe(NEXT);
  });

  it('is #UD without CR4.PKE, which a processor without keys refuses', () => {
    const t = machine();
    t.call('movToCr', 4, 0x6a0);
    set(t, 1, 1, 0);
    expect([t.call('rdpkru'), t.fault]).toEqual([FAULT, [6, -1]]);
    expect([t.call('wrpkru'), t.fault]).toEqual([FAULT, [6, -1]]);
    const without = new TestProcessor(',-pku').longMode();
    expect([without.call('movToCr', 4, PKE), without.fault]).toEqual([FAULT, [13, 0]]);
  });

  it('decides about data at once, and leaves decoded code reachable', () => {
    const t = machine();
    const page = 0x20000;
    t.setU64(t.pte(page), BigInt(page) | 7n | (3n << 59n));
    const can = (access: number) => t.cpu.mmu.translate(page, 0, access, 3) >= 0;
    const generation = t.record.i32(L.GENERATION);
    const rights = [0, 0x80, 0x40, 0].map((pkru) => {
      set(t, pkru, 0, 0);
      t.call('wrpkru');
      return [can(READ), can(WRITE), can(EXECUTE)];
    });
    expect(rights).toEqual([
      [true, true, true],
      [true, false, true],
      [false, false, true],
      [true, true, true],
    ]);
    expect(t.record.i32(L.GENERATION)).toBe(generation);
  });

  it('is cleared by RESET and kept by INIT', () => {
    const t = machine();
    set(t, 0x55, 0, 0);
    t.call('wrpkru');
    t.cpu.init();
    t.cpu.applyInit();
    expect(t.record.i32(L.PKRU)).toBe(0x55);
    t.cpu.reset();
    expect(t.record.i32(L.PKRU)).toBe(0);
  });
});
