/** Control registers that govern paging: PCID, five levels, PAE's top entries; and INVPCID. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import * as R from '../cpu/registers.js';
import { AT, TestProcessor } from '../cpu/test-processor.js';
import { READ } from '../mmu/walk.js';
import { FAULT, NEXT, REDISPATCH } from './outcome.js';

const CR4 = 0x6a0;
const NO_FLUSH = 1n << 63n;
const PAGE = 0x20000;
const DESCRIPTOR = 0x8000;
const GP = [13, 0];

function long(features = ''): TestProcessor {
  return new TestProcessor(features).longMode();
}

/** `long`, with PCIDs switched on and PCID `pcid` current. */
function withPcid(pcid = 0): TestProcessor {
  const t = long();
  t.call('movToCr', 4, CR4 | R.CR4_PCIDE);
  t.call('movToCr', 3, AT.tables | pcid);
  return t;
}

/** Whether the translation of `page` is cached, without making it so. */
function cached(t: TestProcessor, page: number): boolean {
  return t.cpu.mmu.tlb.probe(page, 0, READ, 0) >= 0;
}

describe('process-context identifiers', () => {
  it('are switched on in long mode from PCID 0 only', () => {
    const t = long();
    expect(t.call('movToCr', 4, CR4 | R.CR4_PCIDE)).toBe(REDISPATCH);
    expect(t.call('movToCr', 4, CR4)).toBe(REDISPATCH);
    t.call('movToCr', 3, AT.tables | 0x18);
    expect([t.call('movToCr', 4, CR4 | R.CR4_PCIDE), t.fault]).toEqual([FAULT, GP]);
    const legacy = new TestProcessor().protectedMode();
    expect([legacy.call('movToCr', 4, R.CR4_PCIDE), legacy.fault]).toEqual([FAULT, GP]);
    const without = long(',-pcid,-invpcid');
    expect([without.call('movToCr', 4, CR4 | R.CR4_PCIDE), without.fault]).toEqual([FAULT, GP]);
  });

  it('forbid to leave long mode', () => {
    const t = withPcid();
    t.record.setU16(L.segmentOffset(L.SEG.cs) + L.SEG_ATTRIBUTES, 0xc9b);
    t.cpu.modeChanged();
    expect([t.call('movToCr', 0, 0x33), t.fault]).toEqual([FAULT, GP]);
    expect(t.record.i32(L.EFER) & R.EFER_LMA).not.toBe(0);
    t.call('movToCr', 4, CR4);
    expect(t.call('movToCr', 0, 0x33)).toBe(REDISPATCH);
  });

  it('take bit 63 of a new CR3 and never keep it; without them it is reserved', () => {
    const t = withPcid();
    expect(t.call('movToCr', 3, BigInt(AT.tables | 5) | NO_FLUSH)).toBe(REDISPATCH);
    expect(t.record.u64(L.CR3)).toBe(BigInt(AT.tables | 5));
    for (const bit of [46n, 51n, 52n, 62n]) {
      const value = BigInt(AT.tables) | NO_FLUSH | (1n << bit);
      expect([t.call('movToCr', 3, value), t.fault], `bit ${bit}`).toEqual([FAULT, GP]);
    }
    const without = long();
    expect([without.call('movToCr', 3, BigInt(AT.tables) | NO_FLUSH), without.fault]).toEqual([
      FAULT,
      GP,
    ]);
  });

  it('never see the translations of another, but global ones', () => {
    const t = withPcid(1);
    t.setU64(t.pte(PAGE), BigInt(PAGE) | 0x103n);
    for (const value of [BigInt(AT.tables | 2), BigInt(AT.tables | 1) | NO_FLUSH]) {
      t.cpu.mmu.translate(PAGE, 0, READ, 0);
      t.cpu.mmu.translate(PAGE + 4096, 0, READ, 0);
      t.call('movToCr', 3, value);
      expect([cached(t, PAGE), cached(t, PAGE + 4096)]).toEqual([true, false]);
    }
  });
});

describe('a state that is written', () => {
  it('brings its task priority to the APIC', () => {
    const t = long();
    t.cpu.writeState({ ...t.cpu.readState(), cr8: 5n });
    expect(t.cpu.services.apic.taskPriority).toBe(5);
    expect(t.cpu.readState().cr8).toBe(5n);
    t.call('movFromCr', 8);
    expect(t.record.u64(L.ARG0)).toBe(5n);
  });
});

describe('INVPCID', () => {
  const invpcid = (t: TestProcessor, type: number | bigint, first: bigint, address = 0n) => {
    t.setU64(DESCRIPTOR, first);
    t.setU64(DESCRIPTOR + 8, address);
    return t.call('invpcid', DESCRIPTOR, type);
  };

  it.each([
    ['one address of this PCID', 0, 7n, [true, true, false]],
    ['one address of another PCID', 0, 6n, [true, true, true]],
    ['this PCID', 1, 7n, [true, false, false]],
    ['another PCID', 1, 6n, [true, true, true]],
    ['all PCIDs and global translations', 2, 0n, [false, false, false]],
    ['all PCIDs', 3, 0n, [true, false, false]],
  ] as const)('drops %s', (_, type, pcid, left) => {
    const t = withPcid(7);
    t.setU64(t.pte(PAGE), BigInt(PAGE) | 0x103n);
    const pages = [PAGE, PAGE + 0x1000, PAGE + 0x2000];
    for (const page of pages) t.cpu.mmu.translate(page, 0, READ, 0);
    expect(invpcid(t, type, pcid, BigInt(PAGE + 0x2123))).toBe(NEXT);
    expect(pages.map((page) => cached(t, page))).toEqual(left);
  });

  it.each([1, 3])('drops pages marked global too with type %i while CR4.PGE is clear', (type) => {
    const t = withPcid(7);
    t.call('movToCr', 4, (CR4 | R.CR4_PCIDE) & ~R.CR4_PGE);
    t.setU64(t.pte(PAGE), BigInt(PAGE) | 0x103n);
    t.cpu.mmu.translate(PAGE, 0, READ, 0);
    expect(invpcid(t, type, 7n)).toBe(NEXT);
    expect(cached(t, PAGE)).toBe(false);
  });

  it.each([
    ['a type above 3', 4, 0n, 0n],
    ['a type in 64 bits', 1n << 32n, 0n, 0n],
    ['reserved bits', 2, 0x1000n, 0n],
    ['reserved bits in the upper half', 3, 1n << 63n, 0n],
    ['a non-canonical address', 0, 1n, 1n << 47n],
  ] as const)('is #GP(0) for %s', (_, type, first, address) => {
    const t = withPcid(1);
    expect([invpcid(t, type, first, address), t.fault]).toEqual([FAULT, GP]);
  });

  it('takes PCID 0 alone while they are off, where it names one', () => {
    const t = long();
    expect([invpcid(t, 0, 1n), t.fault]).toEqual([FAULT, GP]);
    expect([invpcid(t, 1, 1n), t.fault]).toEqual([FAULT, GP]);
    expect(invpcid(t, 1, 0n)).toBe(NEXT);
    expect(invpcid(t, 2, 1n)).toBe(NEXT);
  });

  it('is privileged before it reads memory', () => {
    const t = withPcid().userMode();
    expect([t.call('invpcid', 1n << 60n, 9), t.fault]).toEqual([FAULT, GP]);
  });
});

describe('canonical addresses', () => {
  const WIDE = 1n << 50n;

  it('of bases follow the processor, those of accesses CR4.LA57', () => {
    for (const features of ['', ',+la57']) {
      const t = long(features);
      t.setU64(DESCRIPTOR, 0xffffn | (WIDE << 16n));
      t.setU64(DESCRIPTOR + 8, WIDE >> 48n);
      const outcome = features === '' ? FAULT : NEXT;
      expect(t.call('lgdt', DESCRIPTOR, 8)).toBe(outcome);
      expect(t.call('wideBase', WIDE)).toBe(outcome);
      expect(t.cpu.services.msrs.write(0xc0000101, 0, Number(WIDE >> 32n))).toBe(outcome === NEXT);
      expect(t.cpu.mmu.translate(0, Number(WIDE >> 32n), READ, 0)).toBe(-1);
      expect(t.fault).toEqual(GP);
    }
  });

  it('LA57 does not change in long mode', () => {
    const t = long(',+la57');
    expect([t.call('movToCr', 4, CR4 | R.CR4_LA57), t.fault]).toEqual([FAULT, GP]);
    const legacy = new TestProcessor(',+la57').protectedMode();
    expect(legacy.call('movToCr', 4, R.CR4_LA57 | R.CR4_PAE)).toBe(REDISPATCH);
  });
});

describe("PAE's top entries", () => {
  function pae(): TestProcessor {
    const t = new TestProcessor().protectedMode();
    t.call('movToCr', 4, R.CR4_PAE);
    t.setU64(AT.tables, BigInt(AT.tables + 0x1000) | 1n);
    t.setU64(AT.tables + 0x1000, 0x83n);
    t.call('movToCr', 3, AT.tables);
    return t;
  }

  it('are loaded with CR3 and when paging is switched on, not when memory changes', () => {
    const t = pae();
    expect(t.call('movToCr', 0, 0x80000033n)).toBe(REDISPATCH);
    expect(t.record.u64(L.PDPTE)).toBe(BigInt(AT.tables + 0x1000) | 1n);
    t.setU64(AT.tables, 0n);
    t.cpu.mmu.tlb.flushAll();
    expect(t.cpu.mmu.translate(PAGE, 0, READ, 0)).toBeGreaterThan(0);
    t.call('movToCr', 3, AT.tables);
    expect(t.cpu.mmu.translate(PAGE, 0, READ, 0)).toBe(-1);
  });

  it('are read from memory when the state is replaced', () => {
    const t = pae();
    t.call('movToCr', 0, 0x80000033n);
    const state = t.cpu.readState();
    const other = new TestProcessor().protectedMode();
    other.setU64(AT.tables, BigInt(AT.tables + 0x1000) | 1n);
    other.setU64(AT.tables + 0x1000, 0x83n);
    other.cpu.writeState(state);
    expect(other.cpu.mmu.translate(PAGE, 0, READ, 0)).toBeGreaterThan(0);
  });

  it.each([1n, 2n, 5n, 6n, 7n, 8n, 46n, 52n, 62n, 63n])('have reserved bit %i', (bit) => {
    const t = pae();
    t.setU64(AT.tables + 24, 1n << bit);
    expect(t.call('movToCr', 0, 0x80000033n)).toBe(REDISPATCH);
    t.setU64(AT.tables + 24, (1n << bit) | 1n);
    expect([t.call('movToCr', 3, AT.tables), t.fault]).toEqual([FAULT, GP]);
  });
});
