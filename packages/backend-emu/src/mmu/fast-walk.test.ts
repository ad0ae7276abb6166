/**
 * The page walk in emitted code against the one in TypeScript: the same addresses, TLB entries,
 * accessed and dirty bits, flags of frames and faults, over random tables, rights and frames.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { CpuRecord } from '../cpu/record.js';
import * as R from '../cpu/registers.js';
import { Mmu } from './mmu.js';
import { PhysicalMemory } from './physical.js';
import {
  type Counts,
  CPU,
  compare,
  FRAMES,
  type Machine,
  machine,
  PAGE,
  RAM,
  ROM,
  select,
} from './test-walks.js';
import { READ, WRITE } from './walk.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const TABLES_TRIED = FULL ? 12_000 : 200;
const FULL_LIMIT_MS = 900_000;
const SIZE = FRAMES * PAGE;
const OTHER_CPU = CPU + L.CPU_STRIDE;

/** Maps the first pages of the address space to frames from 20 on; others lead to the root. */
function mapped({ record, physical, mmu }: Machine): void {
  physical.bytes.fill(0);
  physical.takeDirty();
  for (let i = 0; i < 3; i++) setEntry(physical, i * PAGE, (i + 1) * PAGE);
  for (let i = 0; i < 40; i++) setEntry(physical, 3 * PAGE + i * 8, (20 + i) * PAGE);
  physical.written(0, 4 * PAGE);
  record.setPair(L.CR0, R.CR0_PG | R.CR0_PE, 0);
  record.setPair(L.CR3, 0, 0);
  record.setPair(L.CR4, R.CR4_PAE, 0);
  record.setPair(L.EFER, R.EFER_LME | R.EFER_LMA, 0);
  record.setI32(L.TLB, L.TLB_SUPERVISOR);
  mmu.reconfigure();
}

function setEntry({ view }: PhysicalMemory, at: number, gpa: number): void {
  view.setBigUint64(RAM + at, BigInt(gpa) | 7n, true);
}

describe('the page walk in emitted code', () => {
  it(
    'does what the one in TypeScript does, over random tables',
    () => {
      const counts: Counts = { found: 0, emitted: 0, beside: 0, faults: 0 };
      const machines = [false, true].map((large) => [machine(large), machine(large)] as const);
      fc.assert(
        fc.property(fc.integer(), (seed) => {
          const [fast, slow] = machines[seed & 1];
          compare(fast, slow, seed, counts);
        }),
        { numRuns: TABLES_TRIED },
      );
      process.stdout.write(`walks in emitted code: ${JSON.stringify(counts)}\n`);
      expect(counts.found).toBeGreaterThan(counts.faults / 20);
      expect(counts.emitted).toBeGreaterThan(counts.found / 2);
      expect(counts.beside).toBeGreaterThan(0);
    },
    FULL ? FULL_LIMIT_MS : undefined,
  );

  it('is left to TypeScript where pages have to be asked about', () => {
    const m = machine(true);
    mapped(m);
    const a = { lo: 0, hi: 0, kind: READ, bytes: 8, user: false, override: false };
    select(m, a);
    const found = () => m.reach(CPU, 0n, READ, 8);
    expect(found()).toBe(RAM + 20 * PAGE);
    // A data breakpoint, wherever it is.
    m.record.setPair(L.DR, 0x5000, 0);
    m.record.setPair(L.DR + 7 * 8, 0x30002, 0);
    m.mmu.breakpointsChanged();
    expect(found()).toBe(0);
    m.record.setPair(L.DR + 7 * 8, 0, 0);
    m.mmu.breakpointsChanged();
    expect(found()).toBe(RAM + 20 * PAGE);
    // Alignment checks, legacy paging, none.
    m.record.setI32(L.TLB, L.TLB_EMPTY);
    expect(found()).toBe(0);
    select(m, a);
    m.record.setPair(L.EFER, 0, 0);
    m.mmu.reconfigure();
    expect(found()).toBe(0);
    m.record.setPair(L.CR0, R.CR0_PE, 0);
    m.mmu.reconfigure();
    expect(found()).toBe(0);
    // A memory whose tables lie elsewhere.
    const buffer = m.record.buffer;
    const apart = new PhysicalMemory({ buffer, ramBase: RAM, size: SIZE });
    const features = { physicalBits: 46, gigabytePages: true, pse36: true, linearBits: 48 };
    expect(new Mmu(m.record, apart, features).physical.tables.inMemory).toBe(false);
    expect(m.record.i32(L.WALK_REFUSED)).toBe(1);
  });

  it('follows slots and the map, and says no write that has to be told', () => {
    const m = machine(true);
    mapped(m);
    const { physical, mmu } = m;
    const find = (page: number, kind: number) => m.reach(CPU, BigInt(page * PAGE), kind, 8);
    const home = (frame: number) => RAM + frame * PAGE;
    expect(find(0, READ)).toBe(home(20));
    expect(find(0, WRITE)).toBe(0);
    physical.written(20 * PAGE, 1);
    expect(find(0, WRITE)).toBe(home(20));
    expect(mmu.known(0, 0, WRITE, 0)).toBe(home(20));
    // Moved, with the entry for it in a table that nobody has written since.
    physical.remap(20 * PAGE, 33 * PAGE);
    expect(mmu.known(0, 0, READ, 0)).toBe(-1);
    expect(find(0, READ)).toBe(home(33));
    physical.takeDirty();
    expect(mmu.known(0, 0, READ, 0)).toBe(-1);
    expect(find(0, READ)).toBe(home(33));
    expect(find(1, READ)).toBe(0);
    physical.written(0, 4 * PAGE);
    expect(find(1, READ)).toBe(home(21));
    // ROM, then nothing where it was, then RAM there.
    const rom = ROM - 20;
    expect([find(rom, READ), find(rom, WRITE)]).toEqual([home(ROM), 0]);
    physical.removeSlot(1);
    expect(mmu.known(rom * PAGE, 0, READ, 0)).toBe(-1);
    expect(find(rom, READ)).toBe(0);
    const slot = { id: 2, gpa: ROM * PAGE, size: PAGE, name: 'ram', encryptable: false };
    physical.addSlot({ ...slot, readOnly: false });
    physical.written(ROM * PAGE, 1);
    expect([find(rom, READ), find(rom, WRITE)]).toEqual([home(ROM), home(ROM)]);
  });

  it('takes no part in a write that code of another processor forbids', () => {
    const m = machine(true);
    mapped(m);
    const { physical, mmu, record } = m;
    const other = new CpuRecord(record.buffer, OTHER_CPU);
    const features = { physicalBits: 46, gigabytePages: true, pse36: true, linearBits: 57 };
    const others = { ...m, record: other, mmu: new Mmu(other, physical, features) };
    mapped(others);
    physical.written(20 * PAGE, 1);
    expect(m.reach(CPU, 0n, WRITE, 8)).toBe(RAM + 20 * PAGE);
    expect(mmu.known(0, 0, WRITE, 0)).toBe(RAM + 20 * PAGE);
    // What the other one executes lies in two lines.
    physical.markCode(20, 60, 66);
    expect(mmu.known(0, 0, WRITE, 0)).toBe(-1);
    const written = [0, 48, 56, 57, 64, 120, 121, 128].map((offset) =>
      [m.reach(CPU, BigInt(offset), WRITE, 8), m.reach(OTHER_CPU, BigInt(offset), WRITE, 8)].map(
        (host) => host !== 0,
      ),
    );
    expect(written).toEqual([...Array(7).fill([false, false]), [true, true]]);
    expect(m.reach(CPU, 128n, WRITE, 0)).toBe(0);
    expect(mmu.known(0, 0, WRITE, 0)).toBe(-1);
    physical.clearCode(20);
    expect(m.reach(CPU, 56n, WRITE, 8)).toBe(RAM + 20 * PAGE + 56);
    // Code in a table: its accessed bits are not set without a word.
    physical.markCode(3, 0, 8);
    expect(m.reach(CPU, BigInt(PAGE), READ, 8)).toBe(0);
  });
});
