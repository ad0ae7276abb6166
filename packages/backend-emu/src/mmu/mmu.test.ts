/** The TLB against the walk, and accesses off the fast path. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { AT, RAM_BASE, RAM_SIZE, TestProcessor } from '../cpu/test-processor.js';
import { IMPLICIT, TRANSLATE_FAULT, TRANSLATE_MMIO } from './mmu.js';
import { FRAME_CODE, FRAME_DIRTY } from './physical.js';
import { tlbIndex } from './tlb.js';
import { EXECUTE, READ, WRITE } from './walk.js';

const PAGE = 0x20000;
const P = 1n;
const W = 2n;
const U = 4n;
const D = 0x40n;
const NX = 1n << 63n;

/** Whether emitted code would find `size` bytes by the tag of `access`. */
function hits(t: TestProcessor, lo: number, hi: number, access: number, user: boolean, size = 1) {
  const entry = (user ? L.TLB_USER : t.record.u32(L.TLB)) + tlbIndex(lo) * L.TLB_ENTRY_SIZE;
  const tag = t.record.u64(entry + access * 8);
  const va = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  return BigInt.asUintN(64, va ^ tag) <= BigInt(4096 - size);
}

const tags = (t: TestProcessor, lo: number, user = false) =>
  [READ, WRITE, EXECUTE].map((access) => hits(t, lo, 0, access, user));

function page(bits: bigint): TestProcessor {
  const t = new TestProcessor().longMode();
  t.setU64(t.pte(PAGE), BigInt(PAGE) | bits);
  return t;
}

describe('the TLB', () => {
  it('matches nothing when empty, at any address', () => {
    const t = new TestProcessor().longMode();
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.nat(2), fc.boolean(), (lo, hi, access, user) => {
        expect(hits(t, lo, hi, access, user)).toBe(false);
      }),
    );
    for (const [lo, hi] of [
      [0, 0],
      [-1, -1],
      [-4096, -1],
      [4095, 0],
      [-1, 0],
    ]) {
      for (const access of [READ, WRITE, EXECUTE])
        expect(hits(t, lo, hi, access, true)).toBe(false);
    }
  });

  it('gives a write tag only to dirty pages that were written', () => {
    const t = page(P | W);
    const { mmu } = t.cpu;
    expect(mmu.translate(PAGE + 5, 0, READ, 0)).toBe(RAM_BASE + PAGE + 5);
    expect(tags(t, PAGE)).toEqual([true, false, true]);
    expect(mmu.translate(PAGE + 5, 0, WRITE, 0)).toBe(RAM_BASE + PAGE + 5);
    expect(tags(t, PAGE)).toEqual([true, true, true]);
    expect(t.u64(t.pte(PAGE)) & D).toBe(D);
    expect(tags(t, PAGE, true)).toEqual([false, false, false]);
  });

  it('misses where an access would cross the page', () => {
    const t = page(P | W);
    t.cpu.mmu.translate(PAGE, 0, READ, 0);
    expect(hits(t, PAGE + 4088, 0, READ, false, 8)).toBe(true);
    expect(hits(t, PAGE + 4089, 0, READ, false, 8)).toBe(false);
  });

  it('keeps user and supervisor rights apart', () => {
    const t = page(P | W | U | NX);
    t.record.setPair(L.CR4, 0x6a0 | (1 << 20) | (1 << 21), 0);
    t.cpu.mmu.reconfigure();
    t.cpu.modeChanged();
    expect(t.cpu.mmu.translate(PAGE, 0, WRITE, 3)).toBe(RAM_BASE + PAGE);
    expect(tags(t, PAGE, true)).toEqual([true, true, false]);
    expect(t.cpu.mmu.translate(PAGE, 0, READ, 0)).toBe(TRANSLATE_FAULT);
    expect(t.fault).toEqual([14, 1]);
    // With EFLAGS.AC explicit accesses pass, implicit ones do not.
    t.cpu.setEflags(1 << 18, 1 << 18);
    expect(t.cpu.mmu.translate(PAGE, 0, READ, 0)).toBe(RAM_BASE + PAGE);
    expect(tags(t, PAGE)).toEqual([true, true, false]);
    expect(t.cpu.mmu.translate(PAGE, 0, READ, IMPLICIT)).toBe(TRANSLATE_FAULT);
    t.cpu.setEflags(0, 1 << 18);
    expect(tags(t, PAGE)).toEqual([false, false, false]);
  });

  it('never gives a write tag to a page with code, and takes it back', () => {
    const t = page(P | W);
    const { physical, mmu } = t.cpu;
    const writes: number[][] = [];
    physical.onCodeWrite = (...write) => writes.push(write);
    mmu.translate(PAGE, 0, WRITE, 0);
    physical.markCode(PAGE >> 12);
    expect(tags(t, PAGE)).toEqual([true, false, true]);
    t.cpu.memory.write32(PAGE + 8, 0, 1, 0);
    expect(tags(t, PAGE)).toEqual([true, false, true]);
    expect(writes).toEqual([[PAGE >> 12, 8, 4]]);
    physical.clearCode(PAGE >> 12);
    t.cpu.memory.write32(PAGE + 8, 0, 1, 0);
    expect(tags(t, PAGE)).toEqual([true, true, true]);
    expect(writes).toHaveLength(1);
  });

  it('drops pages, whole large pages, and all but global ones', () => {
    const t = page(P | W);
    const { mmu } = t.cpu;
    t.setU64(AT.tables + 0x2000 + 8, 0x83n); // 2 MiB onto address 0
    mmu.translate(PAGE, 0, READ, 0);
    mmu.translate(0x200000, 0, READ, 0);
    mmu.translate(0x210000, 0, READ, 0);
    const generation = t.record.i32(L.GENERATION);
    t.call('invlpg', 0x2f0123);
    expect(hits(t, 0x200000, 0, READ, false)).toBe(false);
    expect(hits(t, 0x210000, 0, READ, false)).toBe(false);
    expect(hits(t, PAGE, 0, READ, false)).toBe(true);
    expect(t.record.i32(L.GENERATION)).not.toBe(generation);
    t.call('invlpg', PAGE);
    expect(hits(t, PAGE, 0, READ, false)).toBe(false);

    t.setU64(t.pte(PAGE), BigInt(PAGE) | P | 0x100n);
    mmu.translate(PAGE, 0, READ, 0);
    mmu.translate(PAGE + 4096, 0, READ, 0);
    t.call('movToCr', 3, AT.tables);
    expect(hits(t, PAGE, 0, READ, false)).toBe(true);
    expect(hits(t, PAGE + 4096, 0, READ, false)).toBe(false);
    t.call('movToCr', 4, 0x620);
    expect(hits(t, PAGE, 0, READ, false)).toBe(false);
  });

  it('leaves the jump cache alone when the page dropped cannot hold what it leads to', () => {
    const t = page(P | W);
    const { tlb } = t.cpu.mmu;
    const bumps = (va: number) => {
      const before = t.record.i32(L.GENERATION);
      t.cpu.mmu.translate(va, 0, READ, 0);
      t.call('invlpg', va);
      expect(hits(t, va, 0, READ, false)).toBe(false);
      return t.record.i32(L.GENERATION) !== before;
    };
    tlb.flushAll();
    // Nothing has been looked up since: what is executing is not known.
    expect(bumps(PAGE)).toBe(true);
    tlb.noteCode(0x40000000, 0);
    expect(bumps(PAGE)).toBe(false);
    tlb.noteCode(0x3ffff000, 0);
    expect(bumps(PAGE)).toBe(true);
    tlb.noteCode(0x40000000, 0);
    expect(bumps(PAGE)).toBe(false);
  });

  it('agrees with the walk after any sequence of fills and flushes', () => {
    const t = new TestProcessor().longMode();
    const { mmu } = t.cpu;
    const step = fc.record({
      page: fc.nat(511),
      access: fc.nat(2),
      user: fc.boolean(),
      flush: fc.nat(30),
      bits: fc.nat(7),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 900 }), (steps) => {
        for (const { page: number, access, user, flush, bits } of steps) {
          const va = number << 12;
          if (flush === 0) mmu.tlb.flushAll();
          if (flush === 1) {
            t.setU64(t.pte(va), BigInt(va) | BigInt(bits));
            mmu.tlb.flushPage(va, 0);
          }
          if (flush === 2) mmu.switchTables();
          const fast = mmu.translate(va, 0, access, user ? 3 : 0);
          const slow = mmu.fill(va, 0, access, user ? 3 : 0);
          expect(fast).toBe(slow);
        }
        for (let i = 0; i < 512; i++) t.setU64(t.pte(i << 12), BigInt(i << 12) | 7n);
        mmu.tlb.flushAll();
      }),
      { numRuns: 20 },
    );
  });

  it('leaves global code, and no other, in the jump cache over a write to CR3', () => {
    const t = page(P | W | 0x100n);
    const { tlb } = t.cpu.mmu;
    const generation = () => t.record.i32(L.GENERATION);
    const run = (va: number, who: number) => {
      t.cpu.mmu.translate(va, 0, EXECUTE, who);
      tlb.noteCode(va, 0);
    };
    const kept = () => {
      const before = generation();
      t.call('movToCr', 3, AT.tables);
      return generation() === before;
    };
    tlb.flushAll();
    expect(kept()).toBe(false); // what is executing is not known
    run(PAGE, 0);
    expect(kept()).toBe(true);
    expect(kept()).toBe(true);
    run(PAGE + 0x1000, 0); // not global
    expect(kept()).toBe(false);
    run(PAGE, 0);
    tlb.flushPage(PAGE, 0);
    expect(kept()).toBe(false);
    // A page that is dropped and global again, and one that the TLB does not hold.
    run(PAGE, 0);
    tlb.noteCode(PAGE + 0x2000, 0);
    expect(kept()).toBe(false);

    t.setU64(t.pte(PAGE), BigInt(PAGE) | P | W | U | 0x100n);
    t.userMode();
    run(PAGE, 3);
    const before = generation();
    t.cpu.mmu.switchTables();
    expect(generation()).toBe(before);
    run(PAGE + 0x1000, 3);
    t.cpu.mmu.switchTables();
    expect(generation()).not.toBe(before);
  });

  it('counts the generations of supervisor and user code apart', () => {
    const t = page(P | W | U);
    const { tlb } = t.cpu.mmu;
    const supervisor = t.record.i32(L.GENERATION);
    tlb.nextGeneration(1);
    expect(t.record.i32(L.GENERATION)).toBe(supervisor);
    tlb.nextGeneration(1);
    t.userMode();
    const user = t.record.i32(L.GENERATION);
    tlb.nextGeneration(0);
    expect(t.record.i32(L.GENERATION)).toBe(user);
    t.cpu.setCpl(0);
    t.cpu.modeChanged();
    expect(t.record.i32(L.GENERATION)).not.toBe(supervisor);
  });

  it('agrees with the walk under SMAP, RFLAGS.AC and protection keys, whoever accesses', () => {
    const t = new TestProcessor().longMode();
    t.call('movToCr', 4, 0x6a0 | (1 << 21) | (1 << 22));
    const { mmu } = t.cpu;
    const step = fc.record({
      page: fc.nat(255),
      access: fc.nat(2),
      who: fc.constantFrom(0, 3, IMPLICIT),
      change: fc.nat(20),
      bits: fc.nat(7),
      key: fc.nat(15),
      pkru: fc.integer(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 600 }), (steps) => {
        for (const { page: number, access, who, change, bits, key, pkru } of steps) {
          const va = 0x40000 + (number << 12);
          if (change === 0) {
            const entry = BigInt(va) | BigInt(bits) | (BigInt(key) << 59n);
            t.setU64(t.pte(va), entry);
            t.call('invlpg', va);
          }
          if (change === 1) t.cpu.setEflags(1 << 18, 1 << 18);
          if (change === 2) t.cpu.setEflags(0, 1 << 18);
          if (change === 3) t.cpu.setPkru(pkru);
          const fast = mmu.translate(va, 0, access, who);
          const slow = mmu.fill(va, 0, access, who);
          expect(fast).toBe(slow);
          // What emitted code sees at CPL 0 is what it would be told.
          const allowed = mmu.fill(va, 0, access, 0) >= 0;
          if (hits(t, va, 0, access, false)) expect(allowed).toBe(true);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('fills more pages than it notes one by one, and still flushes them all', () => {
    const t = new TestProcessor().longMode();
    for (let i = 0; i < 512; i++) t.cpu.mmu.translate(i << 12, 0, READ, 0);
    t.cpu.mmu.tlb.flushAll();
    for (let i = 0; i < 512; i++) expect(hits(t, i << 12, 0, READ, false)).toBe(false);
  });
});

describe('accesses off the fast path', () => {
  it('cross pages, both checked before anything is written', () => {
    const t = page(P | W);
    t.setU64(t.pte(PAGE + 4096), BigInt(PAGE + 4096) | P);
    t.record.bytes.set([1, 2, 3, 4, 5, 6, 7, 8], L.BOUNCE);
    expect(t.cpu.memory.storeSlow(PAGE + 4092, 0, 8)).toBe(1);
    expect(t.fault).toEqual([14, 3]);
    expect(t.record.u64(L.FAULT_ADDRESS)).toBe(BigInt(PAGE + 4096));
    expect(t.u32(PAGE + 4092)).toBe(0);
    t.setU64(t.pte(PAGE + 4096), BigInt(PAGE + 0x3000) | P | W);
    expect(t.cpu.memory.storeSlow(PAGE + 4092, 0, 8)).toBe(0);
    expect(t.u32(PAGE + 4092)).toBe(0x04030201);
    expect(t.u32(PAGE + 0x3000)).toBe(0x08070605);
    t.record.bytes.fill(0, L.BOUNCE, L.BOUNCE + 8);
    expect(t.cpu.memory.loadSlow(PAGE + 4094, 0, 4)).toBe(0);
    expect(t.record.u32(L.BOUNCE)).toBe(0x06050403);
  });

  it('go to the sink where there is no memory, also half of an access', () => {
    const t = new TestProcessor().longMode();
    t.setU64(t.pte(PAGE), 0xf0000000n | P | W | U);
    t.onExit = (exit) => {
      if (exit.kind === 'mmio' && exit.direction === 'read') exit.data.fill(0x5a);
    };
    expect(t.cpu.memory.loadSlow(PAGE + 16, 0, 4)).toBe(0);
    expect(t.record.u32(L.BOUNCE)).toBe(0x5a5a5a5a);
    expect(t.cpu.memory.storeSlow(PAGE + 4094, 0, 4)).toBe(0);
    expect(t.u32(PAGE + 4096) & 0xffff).toBe(0x5a5a);
    expect(
      t.exits.map((exit) => exit.kind === 'mmio' && [exit.gpa, exit.size, exit.direction]),
    ).toEqual([
      [0xf0000010, 4, 'read'],
      [0xf0000ffe, 2, 'write'],
    ]);
    expect(t.cpu.mmu.translate(PAGE, 0, EXECUTE, 0)).toBe(TRANSLATE_MMIO);
    expect(t.cpu.mmu.gpa).toBe(0xf0000000);
  });

  it('turn writes to ROM into exits, and read-modify-writes read it first', () => {
    const t = new TestProcessor('cloister-v1').longMode();
    const { physical } = t;
    physical.removeSlot(0);
    const slot = { name: 'ram', encryptable: false };
    physical.addSlot({ ...slot, id: 0, gpa: 0, size: RAM_SIZE / 2, readOnly: false });
    physical.addSlot({ ...slot, id: 1, gpa: 0xfff00000, size: RAM_SIZE / 2, readOnly: true });
    t.longMode();
    t.setU64(t.pte(PAGE), 0xfff00000n | P | W | U);
    t.view.setUint32(RAM_SIZE / 2, 0x11223344, true);
    expect(t.cpu.memory.loadSlow(PAGE, 0, 4)).toBe(0);
    expect(t.record.u32(L.BOUNCE)).toBe(0x11223344);
    t.record.setI32(L.BOUNCE, 0);
    expect(t.cpu.memory.prepareRmw(PAGE, 0, 4)).toBe(0);
    expect(t.record.i32(L.RMW_PENDING)).toBe(1);
    expect(t.record.u32(L.BOUNCE)).toBe(0x11223344);
    t.record.setI32(L.BOUNCE, 7);
    t.cpu.memory.commitRmw();
    expect(t.exits).toMatchObject([{ kind: 'mmio', direction: 'write', gpa: 0xfff00000, size: 4 }]);
    expect(t.view.getUint32(RAM_SIZE / 2, true)).toBe(0x11223344);
    expect(tags(t, PAGE)).toEqual([true, false, true]);
  });

  it('reach the local APIC, not the sink', () => {
    const t = new TestProcessor().longMode();
    t.setU64(t.pte(PAGE), 0xfee00000n | P | W);
    t.cpu.memory.write32(PAGE + 0x80, 0, 0x20, 0);
    expect(t.cpu.memory.read32(PAGE + 0x80, 0, 0)).toBe(0x20);
    expect(t.cpu.services.apic.taskPriority).toBe(2);
    expect(t.record.u32(L.CR8)).toBe(2);
    expect(t.exits).toEqual([]);
  });

  it('fault on addresses that are not canonical, stacks with #SS', () => {
    const t = new TestProcessor().longMode();
    expect(t.cpu.memory.loadSlow(0, 0x8000, 8)).toBe(1);
    expect(t.fault).toEqual([13, 0]);
    expect(t.cpu.memory.storeSlow(0, 0x8000, 8, true)).toBe(1);
    expect(t.fault).toEqual([12, 0]);
    // Half canonical: the second page is not.
    t.setU64(AT.tables + 0xff * 8, BigInt(AT.tables + 0x1000) | 7n);
    t.setU64(AT.tables + 0x1000 + 511 * 8, 0x83n | U);
    expect(t.cpu.memory.loadSlow(-4, 0x7fff, 8)).toBe(1);
  });
});

describe('frames', () => {
  it('can be remapped, and translations follow', () => {
    const t = page(P | W);
    t.setU64(PAGE, 1n);
    t.setU64(PAGE + 4096, 2n);
    expect(t.cpu.memory.read32(PAGE, 0, 0)).toBe(1);
    t.physical.remap(PAGE, PAGE + 4096);
    expect(t.cpu.memory.read32(PAGE, 0, 0)).toBe(2);
    const changed = t.physical.remappedPages();
    expect(changed).toEqual([PAGE >> 12, (PAGE >> 12) + 1]);
    t.physical.remap(PAGE, PAGE);
    t.physical.restoreRemapped(changed);
    expect(t.physical.locate(PAGE)).toBe(PAGE + 4096);
    expect(() => t.physical.remap(PAGE + 1, PAGE)).toThrow(/cannot map/);
    expect(() => t.physical.remap(RAM_SIZE, PAGE)).toThrow(/cannot map/);
  });

  it('keep an exact log of pages written', () => {
    const t = page(P | W | D);
    const { physical, mmu, memory } = t.cpu;
    physical.takeDirty();
    mmu.translate(PAGE, 0, READ, 0);
    expect([...physical.takeDirty()]).not.toContain(PAGE >> 12);
    memory.write8(PAGE, 0, 1, 0);
    expect([...physical.takeDirty()]).toContain(PAGE >> 12);
    expect(hits(t, PAGE, 0, WRITE, false)).toBe(false);
    expect([...physical.takeDirty()]).toEqual([]);
    physical.written(PAGE + 9, 3);
    expect(physical.flags[PAGE >> 12] & (FRAME_DIRTY | FRAME_CODE)).toBe(FRAME_DIRTY);
  });
});
