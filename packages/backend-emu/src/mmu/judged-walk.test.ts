/**
 * SEV-01, SEV-02, the processor's part: the page walk in emitted code under an extension whose
 * verdicts last, against the one in TypeScript, which asks the extension each time: frames under
 * keys that change, rights withheld, verdicts that change with a flush, pages remapped.
 */
import type { CpuExtension, ExtensionVcpu, FillRequest, FillVerdict } from '@cloister/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import * as R from '../cpu/registers.js';
import { TRANSLATE_MMIO } from './mmu.js';
import { FRAME_CACHED } from './physical.js';
import {
  type Counts,
  CPU,
  compare,
  dice,
  FRAMES,
  type Machine,
  machine,
  PAGE,
  RAM,
  ROM,
  TABLE_FRAMES,
} from './test-walks.js';
import { EXECUTE, READ, WRITE } from './walk.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const TABLES_TRIED = FULL ? 5000 : 200;
const FULL_LIMIT_MS = 900_000;

const MARK_BIT = 51;
const MARK_HI = 1 << (MARK_BIT - 32);
const MARK = 1n << BigInt(MARK_BIT);
const [KEY, OTHER_KEY] = [5, 6];
const VCPU = { index: 0, context: 0 } as unknown as ExtensionVcpu;

/** The address and the key mixed into each byte. */
const cipher = {
  encrypt: (tag: number, spa: number, frames: Uint8Array) => mix(tag, spa, frames),
  decrypt: (tag: number, spa: number, frames: Uint8Array) => mix(tag, spa, frames),
};

function mix(tag: number, spa: number, frames: Uint8Array): void {
  for (let i = 0; i < frames.length; i++) {
    frames[i] ^= (tag * 29 + (((spa + i) >> 12) + 1) * 7 + i) & 0xff;
  }
}

/** What an exception is due for, by what a page is. */
const REFUSED: Readonly<Record<number, FillRequest['access']>> = {
  2: 'write',
  3: 'walk',
  4: 'execute',
};

/** Decides by what a page is as SEV does: marked, tables and fetches under its key, else raw. */
class Judge implements CpuExtension {
  readonly name = 'judge';
  /** How often it was asked. */
  asked = 0;
  /** Changes what it says of pages. */
  version = 0;

  constructor(
    private readonly m: Machine,
    /** What a page is, of 0 to 31: something odd below 8. */
    private readonly kindOf: (page: number, version: number) => number,
    readonly lastingVerdicts = true,
  ) {}

  /** The key of a page. */
  keyOf(page: number): number {
    return this.kindOf(page, this.version) === 0 ? OTHER_KEY : KEY;
  }

  fill({ gpaLo, gpaHi, access, implicit }: FillRequest): FillVerdict {
    this.asked++;
    const page = (gpaHi & ~MARK_HI) * 0x100000 + (gpaLo >>> 12);
    const gpa = page * PAGE;
    const spa = this.m.physical.locate(gpa);
    const kind = this.kindOf(page, this.version);
    if (spa < 0 || kind === 1) return { kind: 'device', gpa };
    const exception = { vector: 29, errorCode: page & 0xff };
    if (access === REFUSED[kind]) return { kind: 'exception', exception };
    const meant = implicit || (gpaHi & MARK_HI) !== 0;
    let permissions = meant ? 7 : access === 'execute' ? 4 : 3;
    if (kind === 2 || kind === 5 || page >= ROM) permissions &= ~2;
    if (kind === 4 || kind === 6) permissions &= ~4;
    if (kind === 7) permissions &= ~1;
    const keyTag = meant || access === 'execute' ? this.keyOf(page) : 0;
    return { kind: 'page', gpa, spa, permissions, keyTag };
  }
}

function judged(kindOf: (page: number, version: number) => number, lasting = true) {
  const m = machine(true, MARK_HI);
  m.physical.keys.cipher = cipher;
  const judge = new Judge(m, kindOf, lasting);
  m.mmu.setFillPolicy(judge, VCPU);
  return { m, judge };
}

/** A few odd pages among many; which, changes with the version. */
function oddPages(page: number, version: number): number {
  const { next } = dice((page + 1) * 7919 + version * 104729);
  next(2);
  return next(page < TABLE_FRAMES ? 200 : 32);
}

/** What happens between two accesses; first of all, frames are under keys and entries marked. */
function happening(judge: Judge, number: number, { physical, mmu }: Machine): void {
  const { keys, view } = physical;
  const random = dice(number);
  const { next, one } = random;
  if (number === 0) {
    physical.restoreRemapped([]);
    judge.version++;
    mmu.flushVerdicts();
    for (let frame = 0; frame < FRAMES; frame++) {
      const own = judge.keyOf(frame);
      keys.tags[frame] = one(frame < TABLE_FRAMES ? 30 : 3) ? [0, KEY, OTHER_KEY][next(3)]! : own;
    }
    for (let at = 4; at < TABLE_FRAMES * PAGE; at += 8) {
      if (one(2)) view.setUint32(RAM + at, view.getUint32(RAM + at, true) ^ MARK_HI, true);
    }
    return;
  }
  const frame = next(FRAMES);
  const data = TABLE_FRAMES + next(FRAMES - TABLE_FRAMES);
  const kind = next(200);
  if (kind < 3) keys.require(frame, [0, KEY, OTHER_KEY][next(3)]!);
  else if (kind === 3) {
    judge.version++;
    mmu.flushVerdicts();
  } else if (kind === 4) physical.remap(data * PAGE, next(FRAMES) * PAGE);
  else if (kind < 7) physical.written(data * PAGE, PAGE);
  else if (kind === 7) physical.clearCode(frame);
  else if (kind === 8) physical.markCode(frame, 0, 1 + next(PAGE - 1));
  else if (kind === 9 && (physical.flags[data]! & FRAME_CACHED) === 0) {
    keys.owe(data, KEY, () => physical.bytes.fill(data, data * PAGE, data * PAGE + 64));
  } else if (kind === 10) {
    physical.flushAll();
    keys.release(OTHER_KEY);
  }
}

/** Entry `index` of the last of the first tables, for `page`. */
function map({ physical }: Machine, index: number, page: number, marked = true): void {
  const entry = BigInt(page * PAGE) | 0x67n | (marked ? MARK : 0n);
  physical.view.setBigUint64(RAM + 3 * PAGE + index * 8, entry, true);
}

/** The first virtual pages lead to the pages from 20 on, marked if even; all is under KEY. */
function mapped(m: Machine): void {
  const { record, physical, mmu } = m;
  for (let i = 0; i < 3; i++) {
    const entry = BigInt((i + 1) * PAGE) | 0x67n | MARK;
    physical.view.setBigUint64(RAM + i * PAGE, entry, true);
  }
  for (let i = 0; i < 40; i++) map(m, i, 20 + i, i % 2 === 0);
  physical.written(0, FRAMES * PAGE);
  physical.keys.tags.fill(KEY);
  record.setPair(L.CR0, R.CR0_PG | R.CR0_PE, 0);
  record.setPair(L.CR3, 0, MARK_HI);
  record.setPair(L.CR4, R.CR4_PAE, 0);
  record.setPair(L.EFER, R.EFER_LME | R.EFER_LMA | R.EFER_NXE, 0);
  record.setI32(L.TLB, L.TLB_SUPERVISOR);
  mmu.reconfigure();
}

const ORDINARY = 31;
const home = (frame: number) => RAM + frame * PAGE;

function ordinary(kindOf: (page: number, version: number) => number = () => ORDINARY) {
  const made = judged(kindOf);
  const { m } = made;
  mapped(m);
  return {
    ...made,
    ...m,
    /** By emitted code, 0 if it refuses; by TypeScript. */
    emitted: (page: number, kind: number) => m.reach(CPU, BigInt(page * PAGE), kind, 8),
    asking: (page: number, kind: number) => m.mmu.fill(page * PAGE, 0, kind, 0),
  };
}

describe('the page walk in emitted code under an extension', () => {
  it(
    'does what the one in TypeScript does, whatever the verdicts and keys',
    () => {
      const counts: Counts = { found: 0, emitted: 0, beside: 0, faults: 0 };
      // The reference remembers nothing.
      const [fast, slow] = [judged(oddPages), judged(oddPages, false)];
      fc.assert(
        fc.property(fc.integer(), (seed) => {
          for (const { judge } of [fast, slow]) judge.version = seed | 0;
          compare(fast.m, slow.m, seed, counts, (number, m) =>
            happening(m === fast.m ? fast.judge : slow.judge, number, m),
          );
        }),
        { numRuns: TABLES_TRIED },
      );
      process.stdout.write(`walks under an extension: ${JSON.stringify(counts)}\n`);
      expect(counts.found).toBeGreaterThan(counts.faults / 20);
      expect(counts.emitted).toBeGreaterThan(counts.found / 5);
      expect(counts.beside).toBeGreaterThan(0);
      expect(fast.judge.asked).toBeLessThan(slow.judge.asked);
    },
    FULL ? FULL_LIMIT_MS : undefined,
  );

  it('asks once, and for all that the verdict permits', () => {
    const { judge, emitted, asking } = ordinary();
    expect(emitted(0, READ)).toBe(0);
    expect(asking(0, READ)).toBe(home(20));
    const { asked } = judge;
    expect([READ, WRITE, EXECUTE].map((kind) => emitted(0, kind))).toEqual(Array(3).fill(home(20)));
    // Another page by the same tables; of a shared one the data, then what is fetched from it.
    expect([emitted(2, READ), asking(2, READ), emitted(2, READ)]).toEqual([0, home(22), home(22)]);
    expect([emitted(1, READ), asking(1, WRITE)]).toEqual([0, home(21)]);
    expect([emitted(1, READ), emitted(1, WRITE), emitted(1, EXECUTE)]).toEqual([
      ...[home(21), home(21), 0],
    ]);
    // For each of the two pages; what was said of the tables lasts.
    expect(judge.asked).toBe(asked + 2);
  });

  it('gives a shared page no right to execute, and a fetch none to its data', () => {
    const { mmu, emitted, asking } = ordinary();
    const known = () => [READ, WRITE, EXECUTE].map((kind) => mmu.known(PAGE, 0, kind, 0) >= 0);
    asking(1, READ);
    mmu.tlb.flushAll();
    expect([emitted(1, READ), ...known()]).toEqual([home(21), true, true, false]);
    asking(1, EXECUTE);
    mmu.tlb.flushAll();
    expect([emitted(1, EXECUTE), ...known()]).toEqual([home(21), false, false, true]);
  });

  it('sees no frame that is kept under another key since', () => {
    const { physical, emitted, asking } = ordinary();
    const { keys } = physical;
    // Both mappings lead to one frame.
    physical.remap(21 * PAGE, 20 * PAGE);
    const plain = Uint8Array.from({ length: PAGE }, (_, i) => i);
    keys.write(20 * PAGE, plain, KEY);
    asking(0, READ);
    for (let turn = 0; turn < 3; turn++) {
      expect(emitted(0, READ)).toBe(home(20));
      expect(physical.bytes[20 * PAGE + 9]).toBe(9);
      expect([emitted(1, WRITE), asking(1, WRITE), emitted(1, WRITE)]).toEqual([
        ...[0, home(20), home(20)],
      ]);
      const raw = new Uint8Array(PAGE);
      keys.read(20 * PAGE, raw, 0);
      expect(physical.bytes.subarray(20 * PAGE, 21 * PAGE)).toEqual(raw);
      expect(raw[9]).not.toBe(9);
      expect([emitted(0, READ), asking(0, READ)]).toEqual([0, home(20)]);
    }
    // The host takes it from under the guest, or owes what it holds.
    keys.require(20, 0);
    expect([emitted(0, READ), asking(0, READ), emitted(0, READ)]).toEqual([0, home(20), home(20)]);
    keys.require(20, 0);
    keys.owe(20, KEY, () => void physical.bytes.fill(7, 20 * PAGE, 21 * PAGE));
    expect([emitted(0, READ), asking(0, READ)]).toEqual([0, home(20)]);
    expect(physical.bytes[20 * PAGE]).toBe(7);
  });

  it('reads no table that is kept under another key', () => {
    const { m, physical, emitted, asking } = ordinary();
    asking(0, READ);
    asking(14, READ);
    expect([emitted(0, READ), emitted(14, READ)]).toEqual([home(20), home(34)]);
    physical.keys.require(3, 0);
    // What stands there now would lead elsewhere.
    map(m, 0, 34);
    expect(emitted(0, READ)).toBe(0);
    physical.keys.require(3, KEY);
    map(m, 0, 20);
    expect(emitted(0, READ)).toBe(home(20));
  });

  it('forgets with a flush by the extension, a slot, a page', () => {
    const kinds = new Map<number, number>();
    const { m, mmu, physical, judge, emitted, asking } = ordinary((page) => kinds.get(page) ?? 31);
    const ask = () => [asking(0, WRITE), emitted(0, WRITE)];
    expect(ask()).toEqual([home(20), home(20)]);
    // What it said holds until it says otherwise.
    kinds.set(20, 5);
    expect(emitted(0, WRITE)).toBe(home(20));
    mmu.flushVerdicts();
    expect(emitted(0, WRITE)).toBe(0);
    expect(ask()).toEqual([TRANSLATE_MMIO, 0]);
    expect([asking(0, READ), emitted(0, READ), emitted(0, WRITE)]).toEqual([
      ...[home(20), home(20), 0],
    ]);
    expect(mmu.known(0, 0, WRITE, 0)).toBe(-1);
    kinds.delete(20);
    mmu.flushVerdicts();
    expect(ask()).toEqual([home(20), home(20)]);
    physical.remap(20 * PAGE, 33 * PAGE);
    expect(emitted(0, WRITE)).toBe(0);
    expect(ask()).toEqual([home(33), home(33)]);
    // Another key for the page.
    kinds.set(20, 0);
    mmu.flushVerdicts();
    expect(ask()).toEqual([home(33), home(33)]);
    expect(physical.keys.tags[33]).toBe(OTHER_KEY);
    // A page of ROM, which goes.
    map(m, 0, ROM);
    expect([asking(0, READ), emitted(0, READ), emitted(0, WRITE)]).toEqual([
      ...[home(ROM), home(ROM), 0],
    ]);
    physical.removeSlot(1);
    expect(emitted(0, READ)).toBe(0);
    expect(asking(0, READ)).toBe(TRANSLATE_MMIO);
    expect(judge.asked).toBeGreaterThan(0);
  });

  it('is left to TypeScript where verdicts need not last', () => {
    const { m, judge } = judged(() => ORDINARY, false);
    mapped(m);
    const both = (page: number) => [
      m.mmu.fill(page * PAGE, 0, READ, 0),
      m.reach(CPU, BigInt(page * PAGE), READ, 8),
    ];
    expect(m.record.i32(L.WALK_REFUSED)).toBe(1);
    expect([...both(0), ...both(0)]).toEqual([home(20), 0, home(20), 0]);
    expect(judge.asked).toBe(10);
  });

  it('remembers nothing of a page that lies elsewhere than the map says', () => {
    const { judge, mmu, asking, emitted } = ordinary();
    const fill = judge.fill.bind(judge);
    judge.fill = (request) => {
      const verdict = fill(request);
      const away = verdict.kind === 'page' && verdict.gpa === 20 * PAGE;
      return away ? { ...verdict, spa: 40 * PAGE } : verdict;
    };
    mmu.setFillPolicy(judge, VCPU);
    expect([asking(0, READ), emitted(0, READ)]).toEqual([home(40), 0]);
  });
});
