/**
 * Two machines whose page walks are compared: tables, rights, frames and accesses at random.
 */
import * as L from '../cpu/layout.js';
import { CpuRecord } from '../cpu/record.js';
import * as R from '../cpu/registers.js';
import { type Reach, reachIn } from './fast-walk.js';
import { frameTableBytes } from './frame-tables.js';
import { Mmu } from './mmu.js';
import { FRAME_CODE, FRAME_DIRTY, PhysicalMemory } from './physical.js';
import { EXECUTE, READ, WRITE } from './walk.js';

const ACCESSES = 400;

export const PAGE = 4096;
export const CPU = 0x1000;
export const RAM = CPU + 2 * L.CPU_STRIDE + PAGE;
export const FRAMES = 64;
const SIZE = FRAMES * PAGE;
const LOW_PAGES = 256;
/** Frames that hold page tables, and where the last slot, of ROM, begins. */
export const TABLE_FRAMES = 12;
export const ROM = 56;
const APIC = 40;
const AC = 1 << 18;

export interface Machine {
  readonly record: CpuRecord;
  readonly physical: PhysicalMemory;
  readonly mmu: Mmu;
  readonly reach: Reach;
}

/** With a table of verdicts, `markHi` being the bit in 51:32 by which pages are told apart. */
export function machine(gigabytePages: boolean, markHi?: number): Machine {
  const verdicts = markHi !== undefined;
  const bytes = RAM + SIZE + frameTableBytes(LOW_PAGES, FRAMES, verdicts);
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
  const { buffer } = memory;
  const physical = new PhysicalMemory({
    ...{ buffer, ramBase: RAM, size: SIZE, tables: RAM + SIZE, lowPages: LOW_PAGES },
    verdicts,
  });
  const common = { readOnly: false, name: 'ram', encryptable: false };
  const rom = { ...common, id: 1, gpa: ROM * PAGE, size: SIZE - ROM * PAGE, readOnly: true };
  physical.addSlot({ ...common, id: 0, gpa: 0, size: ROM * PAGE });
  physical.addSlot(rom);
  const record = new CpuRecord(buffer, CPU);
  const tableBitsHi = markHi ?? 0;
  const features = { physicalBits: 46, tableBitsHi, gigabytePages, pse36: true, linearBits: 57 };
  const mmu = new Mmu(record, physical, features);
  return { record, physical, mmu, reach: reachIn(memory, verdicts) };
}

/** Random numbers that a seed fixes (xorshift). */
export function dice(seed: number) {
  let x = seed | 1;
  const next = (below: number): number => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
  return { next, one: (of: number): boolean => next(of) === 0 };
}

export type Dice = ReturnType<typeof dice>;

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
export function prepare(m: Machine, seed: number): void {
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

export interface Access {
  readonly lo: number;
  readonly hi: number;
  readonly kind: number;
  readonly bytes: number;
  readonly user: boolean;
  readonly override: boolean;
}

/** Few indices a level, so that pages are met again. */
export function access({ next, one }: Dice): Access {
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
export function select({ record, mmu }: Machine, { user, override }: Access): number {
  record.setI32(L.CPL, user ? 3 : 0);
  record.setI32(L.EFLAGS, 2 | (override ? AC : 0));
  const supervisor = mmu.overrides ? L.TLB_OVERRIDE : L.TLB_SUPERVISOR;
  record.setI32(L.TLB, user ? L.TLB_USER : supervisor);
  return user ? 3 : 0;
}

export const linear = (lo: number, hi: number): bigint => (BigInt(hi) << 32n) | BigInt(lo >>> 0);

/** What is left of a machine after accesses: memory, what is known of frames, TLBs. */
function image({ record, physical }: Machine): string {
  const { buffer } = record;
  const { map, lines, cached, keyTags, flags } = physical.tables;
  const parts: [number, number][] = [
    [RAM, SIZE],
    ...[map, lines, cached, keyTags, flags].map((table): [number, number] => [
      table.byteOffset,
      table.byteLength,
    ]),
    [CPU + L.TLB_FILLS, L.TLB_LARGE + L.TLB_LARGE_BITS / 8 - L.TLB_FILLS],
    [CPU + L.TLB_SUPERVISOR, 2 * L.TLB_ENTRIES * L.TLB_ENTRY_SIZE],
    [CPU + L.TLB_OVERRIDE, L.TLB_ENTRIES * L.TLB_ENTRY_SIZE],
    [CPU + L.TLB_NOTES, 2 * L.TLB_NOTES_SIZE],
  ];
  const text = new TextDecoder('latin1');
  return parts.map(([at, length]) => text.decode(new Uint8Array(buffer, at, length))).join();
}

/** Where the reference finds an access, or the fault that it raises. */
function reference({ record, mmu }: Machine, a: Access, who: number): number | string {
  const host = mmu.fill(a.lo, a.hi, a.kind, who);
  if (host >= 0) return host;
  return `${host} ${record.i32(L.FAULT_VECTOR)} ${record.i32(L.FAULT_ERROR)} ${mmu.gpa}`;
}

export interface Counts {
  found: number;
  emitted: number;
  beside: number;
  faults: number;
}

/** Runs accesses over the tables of `seed` both ways, and has things happen to both in between. */
export function compare(
  fast: Machine,
  slow: Machine,
  seed: number,
  counts: Counts,
  happen: (happening: number, machine: Machine) => void = () => {},
): void {
  prepare(fast, seed);
  prepare(slow, seed);
  for (const each of [fast, slow]) happen(0, each);
  const random = dice(seed ^ 0x5bd1e995);
  for (let i = 0; i < ACCESSES; i++) {
    const a = access(random);
    const happening = 1 + random.next(2 ** 20);
    for (const each of [fast, slow]) happen(happening, each);
    const who = select(fast, a);
    select(slow, a);
    const want = reference(slow, a, who);
    const host = fast.reach(CPU, linear(a.lo, a.hi), a.kind, a.bytes);
    const got = host !== 0 ? host >>> 0 : reference(fast, a, who);
    require(got === want, () => ({ seed, i, a, got, want }));
    if (typeof want === 'string') counts.faults++;
    else counts.found++;
    if (host !== 0) counts.emitted++;
    if (host !== 0 && a.kind === WRITE) counts.beside += written(fast, slow, a, host);
  }
  require(image(fast) === image(slow), () => ({ seed, left: 'otherwise' }));
}

function require(holds: boolean, told: () => unknown): void {
  if (!holds) throw new Error(JSON.stringify(told()));
}

/** What comes of a write to `host` without a call: whether it went to a page with code. */
function written(fast: Machine, slow: Machine, a: Access, host: number): number {
  const frame = Math.floor((host - RAM) / PAGE);
  const flags = fast.physical.flags[frame];
  require((flags & FRAME_DIRTY) !== 0, () => ({ a, written: 'for the first time' }));
  if ((flags & FRAME_CODE) === 0) return 0;
  let hits = 0;
  slow.physical.onCodeWrite = () => hits++;
  slow.physical.noteWrite(host, a.bytes);
  require(hits === 0 && a.bytes > 0, () => ({ a, written: 'code' }));
  return 1;
}
