/**
 * The page walk in emitted code against the one in TypeScript: the same addresses, TLB entries,
 * accessed and dirty bits, flags of frames and faults, over random tables, rights and frames.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { CpuRecord } from '../cpu/record.js';
import * as R from '../cpu/registers.js';
import { type Reach, reachIn } from './fast-walk.js';
import { frameTableBytes } from './frame-tables.js';
import { Mmu } from './mmu.js';
import { FRAME_CODE, FRAME_DIRTY, PhysicalMemory } from './physical.js';
import { EXECUTE, READ, WRITE } from './walk.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const TABLES_TRIED = FULL ? 12_000 : 200;
const ACCESSES = 400;
const FULL_LIMIT_MS = 900_000;

const PAGE = 4096;
const CPU = 0x1000;
const OTHER_CPU = CPU + L.CPU_STRIDE;
const RAM = 0xd2000;
const FRAMES = 64;
const SIZE = FRAMES * PAGE;
const LOW_PAGES = 256;
/** Frames that hold page tables, and where the last slot, of ROM, begins. */
const TABLE_FRAMES = 12;
const ROM = 56;
const APIC = 40;
const AC = 1 << 18;

interface Machine {
  readonly record: CpuRecord;
  readonly physical: PhysicalMemory;
  readonly mmu: Mmu;
  readonly reach: Reach;
}

function machine(gigabytePages: boolean): Machine {
  const bytes = RAM + SIZE + frameTableBytes(LOW_PAGES, FRAMES);
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
  const { buffer } = memory;
  const physical = new PhysicalMemory({
    ...{ buffer, ramBase: RAM, size: SIZE, tables: RAM + SIZE, lowPages: LOW_PAGES },
  });
  const common = { readOnly: false, name: 'ram', encryptable: false };
  const rom = { ...common, id: 1, gpa: ROM * PAGE, size: SIZE - ROM * PAGE, readOnly: true };
  physical.addSlot({ ...common, id: 0, gpa: 0, size: ROM * PAGE });
  physical.addSlot(rom);
  const record = new CpuRecord(buffer, CPU);
  const features = { physicalBits: 46, gigabytePages, pse36: true, linearBits: 57 };
  const mmu = new Mmu(record, physical, features);
  return { record, physical, mmu, reach: reachIn(memory) };
}

/** Random numbers that a seed fixes (xorshift). */
function dice(seed: number) {
  let x = seed | 1;
  const next = (below: number): number => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
  return { next, one: (of: number): boolean => next(of) === 0 };
}

type Dice = ReturnType<typeof dice>;

/** An entry that is ordinary, as a rule; one in `odd` has a bit that is not. */
function entry({ next, one }: Dice, odd: number): bigint {
  const frame = one(odd) ? next(LOW_PAGES + 8) : next(one(6) ? FRAMES : TABLE_FRAMES);
  let value = BigInt(frame * PAGE) | 7n | (BigInt(next(16)) << 5n);
  if (one(12)) value &= ~2n;
  if (one(12)) value &= ~4n;
  if (one(24)) value |= 1n << 63n;
  if (one(3)) value |= BigInt(next(16)) << 59n;
  if (!one(12)) value &= ~0x180n;
  if (one(odd)) value ^= 1n << BigInt(next(64));
  return value;
}

/** Control registers and memory as `seed` says. */
function prepare(m: Machine, seed: number): void {
  const random = dice(seed);
  const { next, one } = random;
  const { record, physical, mmu } = m;
  const odd = 8 + next(200);
  for (let at = 0; at < TABLE_FRAMES * PAGE; at += 8) {
    physical.view.setBigUint64(RAM + at, entry(random, odd), true);
  }
  for (let frame = 0; frame < FRAMES; frame++) {
    physical.flags[frame] = 0;
    physical.clearCode(frame);
    if (!one(6)) physical.markDirty(frame);
    const start = next(PAGE);
    if (one(8)) physical.markCode(frame, start, start + 1 + next(PAGE - start));
  }
  const bit = (mask: number): number => (one(2) ? mask : 0);
  record.setPair(L.CR0, R.CR0_PG | R.CR0_PE | bit(R.CR0_WP), 0);
  const cr4 = R.CR4_PAE | bit(R.CR4_SMEP) | bit(R.CR4_SMAP) | bit(R.CR4_PKE);
  record.setPair(L.CR4, cr4 | (one(3) ? R.CR4_LA57 : 0), 0);
  record.setPair(L.EFER, R.EFER_LME | R.EFER_LMA | (one(6) ? 0 : R.EFER_NXE), 0);
  record.setPair(L.CR3, next(TABLE_FRAMES) * PAGE, 0);
  record.setI32(L.PKRU, one(2) ? 0 : next(2 ** 31));
  mmu.apicPage = one(2) ? APIC : -1;
  mmu.reconfigure();
}

interface Access {
  readonly lo: number;
  readonly hi: number;
  readonly kind: number;
  readonly bytes: number;
  readonly user: boolean;
  readonly override: boolean;
}

/** Few indices a level, so that pages are met again. */
function access({ next, one }: Dice): Access {
  const index = () => BigInt(one(20) ? next(512) : next(3));
  let va = (index() << 30n) | (index() << 21n) | (index() << 12n) | BigInt(next(PAGE));
  va |= (one(2) ? index() : 510n + (index() % 2n)) << 39n;
  va = BigInt.asIntN(one(16) ? 57 : 48, va);
  return {
    lo: Number(BigInt.asIntN(32, va)),
    hi: Number(BigInt.asIntN(32, va >> 32n)),
    kind: [READ, WRITE, EXECUTE][next(3)],
    bytes: [0, 1, 2, 4, 8, 16][next(6)],
    user: one(2),
    override: one(2),
  };
}

/** Sets privilege and EFLAGS.AC; the TLB that emitted code uses then. */
function select({ record, mmu }: Machine, { user, override }: Access): number {
  record.setI32(L.CPL, user ? 3 : 0);
  record.setI32(L.EFLAGS, 2 | (override ? AC : 0));
  const supervisor = mmu.overrides ? L.TLB_OVERRIDE : L.TLB_SUPERVISOR;
  record.setI32(L.TLB, user ? L.TLB_USER : supervisor);
  return user ? 3 : 0;
}

const linear = (lo: number, hi: number): bigint => (BigInt(hi) << 32n) | BigInt(lo >>> 0);

/** What is left of a machine after accesses: memory, what is known of frames, TLBs. */
function image({ record, physical }: Machine): string {
  const { buffer } = record;
  const parts: [number, number][] = [
    [RAM, SIZE + LOW_PAGES * 4 + FRAMES * 9],
    [CPU + L.TLB_FILLS, L.TLB_LARGE + L.TLB_LARGE_BITS / 8 - L.TLB_FILLS],
    [CPU + L.TLB_SUPERVISOR, 2 * L.TLB_ENTRIES * L.TLB_ENTRY_SIZE],
    [CPU + L.TLB_OVERRIDE, L.TLB_ENTRIES * L.TLB_ENTRY_SIZE],
    [CPU + L.TLB_NOTES, 2 * L.TLB_NOTES_SIZE],
  ];
  expect(physical.memory.buffer).toBe(buffer);
  return parts.map(([at, length]) => Buffer.from(buffer, at, length).toString('latin1')).join();
}

/** Where the reference finds an access, or the fault that it raises. */
function reference({ record, mmu }: Machine, a: Access, who: number): number | string {
  const host = mmu.fill(a.lo, a.hi, a.kind, who);
  if (host >= 0) return host;
  return `${host} ${record.i32(L.FAULT_VECTOR)} ${record.i32(L.FAULT_ERROR)} ${mmu.gpa}`;
}

interface Counts {
  found: number;
  emitted: number;
  beside: number;
  faults: number;
}

/** Runs accesses over the tables of `seed` both ways. */
function compare(fast: Machine, slow: Machine, seed: number, counts: Counts): void {
  prepare(fast, seed);
  prepare(slow, seed);
  const random = dice(seed ^ 0x5bd1e995);
  for (let i = 0; i < ACCESSES; i++) {
    const a = access(random);
    const who = select(fast, a);
    select(slow, a);
    const want = reference(slow, a, who);
    const host = fast.reach(CPU, linear(a.lo, a.hi), a.kind, a.bytes);
    const got = host !== 0 ? host >>> 0 : reference(fast, a, who);
    if (got !== want) expect({ seed, i, a, got }).toEqual({ seed, i, a, got: want });
    if (typeof want === 'string') counts.faults++;
    else counts.found++;
    if (host !== 0) counts.emitted++;
    if (host !== 0 && a.kind === WRITE) counts.beside += written(fast, slow, a, host);
  }
  if (image(fast) !== image(slow)) expect(`tables of seed ${seed}`).toBe('left alike');
}

/** What comes of a write to `host` without a call: whether it went to a page with code. */
function written(fast: Machine, slow: Machine, a: Access, host: number): number {
  const frame = Math.floor((host - RAM) / PAGE);
  expect(fast.physical.flags[frame] & FRAME_DIRTY).toBe(FRAME_DIRTY);
  if ((fast.physical.flags[frame] & FRAME_CODE) === 0) return 0;
  let hits = 0;
  slow.physical.onCodeWrite = () => hits++;
  slow.physical.noteWrite(host, a.bytes);
  expect([hits, a.bytes > 0]).toEqual([0, true]);
  return 1;
}

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
