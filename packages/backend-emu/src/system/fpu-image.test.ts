/**
 * Images of x87 and SSE state: what is moved at once is what is moved piece by piece, to whatever
 * page, and whoever is to be told of a write is.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestProcessor } from '../cpu/test-processor.js';
import { READ, WRITE } from '../mmu/walk.js';

const CR4 = 0x6a0 | (1 << 18) | (1 << 22);
const PAGE = 0x20000;
const NEXT_PAGE = PAGE + 4096;
const ALL = 0x203;
const HEADER_AT = 512;
const COMPACTED_HI = 1 << 31;
const AM = 1 << 18;
const FLAG_AC = 1 << 18;

/** Bits of page table entries. */
const ENTRY = { usual: 7n, 'read-only': 5n, supervisor: 3n, absent: 0n } as const;
type Kind = keyof typeof ENTRY | 'the other page';
const kind = fc.constantFrom<Kind>('usual', 'usual', 'usual', 'read-only', 'supervisor', 'absent');

const start = fc.record({
  name: fc.constantFrom('xsavec', 'xsavec', 'xsave', 'xsaveopt', 'xrstor', 'fxsave', 'fxrstor'),
  /** In the page. */
  offset: fc.oneof(
    fc.constantFrom(0, 64, 2048, 4096 - 640, 4096 - 576, 4096 - 512, 4096 - 64, 4096 - 416),
    fc.nat(4095).map((at) => at & ~15),
  ),
  first: kind,
  second: fc.oneof(kind, fc.constant<Kind>('the other page')),
  components: fc.constantFrom(ALL, ALL, 3, 2, 1, 0),
  inUse: fc.boolean(),
  compacted: fc.boolean(),
  user: fc.boolean(),
  legacy: fc.boolean(),
  aligned: fc.boolean(),
  /** The TLB has been asked for the pages by a write, a read. */
  written: fc.constantFrom(true, true, false),
  read: fc.boolean(),
  /** Where a breakpoint watches two bytes, from the area on. */
  watched: fc.option(fc.nat(700), { freq: 3 }),
  watchesReads: fc.boolean(),
  code: fc.constantFrom(false, false, false, true),
});
type Start = typeof start extends fc.Arbitrary<infer T> ? T : never;

function map(t: TestProcessor, page: number, what: Kind): void {
  const to = what === 'the other page' ? PAGE : page;
  t.setU64(t.pte(page), BigInt(to) | (what === 'the other page' ? ENTRY.usual : ENTRY[what]));
  t.call('invlpg', page);
}

/** State that is not the initial one, and an area that can be taken back. */
function fill(t: TestProcessor, from: Start): void {
  const area = PAGE + from.offset;
  for (let at = 0; at < 2 * 4096; at++) t.view.setUint8(PAGE + at, at * 7);
  t.view.setUint32(area + 24, 0x1f80, true);
  for (let at = 0; at < 64; at += 8) t.setU64(area + HEADER_AT + at, 0n);
  t.view.setUint32(area + HEADER_AT, from.components, true);
  if (from.compacted) {
    t.view.setUint32(area + HEADER_AT + 8, ALL, true);
    t.view.setInt32(area + HEADER_AT + 12, COMPACTED_HI, true);
  }
  const { record } = t;
  record.setI32(L.MXCSR, 0x1f80);
  if (!from.inUse) return;
  record.setU16(L.FCW, 0x27f);
  record.setU64(L.ST, 0x8123456789abcdefn);
  for (let at = 0; at < 256; at++) record.bytes[L.XMM + at] = at * 3;
  record.setI32(L.MXCSR, 0x1fa0);
  t.cpu.setPkru(0x5555_5550);
}

function prepared(from: Start): TestProcessor {
  const t = new TestProcessor().longMode();
  const { record, cpu, physical } = t;
  t.call('movToCr', 4, CR4);
  t.call('movToCr', 0, record.lo(L.CR0) | (from.aligned ? AM : 0));
  record.setPair(L.XCR0, ALL, 0);
  fill(t, from);
  map(t, PAGE, from.first);
  map(t, NEXT_PAGE, from.second);
  if (from.code) physical.markCode(PAGE / 4096);
  if (from.watched !== null) {
    t.call('movToDr', 0, PAGE + from.offset + from.watched);
    t.call('movToDr', 7, (from.watchesReads ? 3 : 1) * 0x10000 + 0x40001);
  }
  if (from.user) t.userMode();
  if (from.legacy) compatibility(t);
  if (from.aligned) cpu.setEflags(FLAG_AC | 2, FLAG_AC);
  for (const page of [PAGE, NEXT_PAGE]) {
    if (from.read) cpu.mmu.translate(page, 0, READ, cpu.cpl);
    if (from.written) cpu.mmu.translate(page, 0, WRITE, cpu.cpl);
  }
  record.setPair(L.FAULT_VECTOR, -1, 0);
  record.setPair(L.gprOffset(0), from.components, 0);
  record.setPair(L.gprOffset(2), 0, 0);
  return t;
}

/** 32-bit code in long mode. */
function compatibility(t: TestProcessor): void {
  const at = L.segmentOffset(L.SEG.cs) + L.SEG_ATTRIBUTES;
  t.record.setU16(at, t.record.u16(at) ^ 0x600);
  t.cpu.modeChanged();
}

/** What has come of it, to whom it was told; how often `direct` had an address. */
function run(from: Start, atOnce: boolean): { seen: unknown; direct: number } {
  const t = prepared(from);
  const { cpu, physical } = t;
  const told: unknown[] = [];
  physical.onDirty = (frame) => told.push(['dirty', frame]);
  physical.onCodeWrite = (...of) => told.push(['code', ...of]);
  let direct = 0;
  const look = cpu.memory.direct.bind(cpu.memory);
  cpu.memory.direct = (...of) => {
    const host = atOnce ? look(...of) : -1;
    if (host >= 0) direct++;
    return host;
  };
  const outcome = t.call(from.name, PAGE + from.offset, from.user ? 1 : 0);
  const pages = [...physical.bytes.subarray(PAGE, PAGE + 2 * 4096)];
  const entries = [PAGE, NEXT_PAGE].map((page) => t.u64(t.pte(page)));
  const state = [cpu.readState(), t.record.i32(L.PKRU), t.fault, cpu.mmu.breakpoints.hits];
  return { seen: [outcome, state, pages, entries, [...physical.flags], told], direct };
}

const USUAL: Start = {
  ...{ name: 'xsavec', offset: 0, components: ALL, inUse: true, compacted: true },
  ...{ first: 'usual', second: 'usual', written: true, read: true, code: false },
  ...{ user: false, legacy: false, aligned: false, watched: null, watchesReads: false },
};

describe('images of x87 and SSE state', () => {
  it.each<[string, number, Partial<Start>]>([
    ['at the beginning of a page, at once', 1, {}],
    ['up to the end of a page, at once', 1, { offset: 4096 - 640 }],
    ['at CPL 3, at once', 1, { user: true, aligned: true }],
    ['by FXSAVE, at once', 1, { name: 'fxsave', offset: 16 }],
    ['by XRSTOR, at once', 1, { name: 'xrstor' }],
    ['across the end of a page, in pieces', 0, { offset: 4096 - 576 }],
    ['in a page that is read-only, in pieces', 0, { first: 'read-only' }],
    ['in a page that is absent, in pieces', 0, { first: 'absent' }],
    ['in a page of the supervisor, in pieces', 0, { first: 'supervisor', user: true }],
    ['in a page not written yet, at once', 1, { written: false }],
    [
      'by XRSTOR from a page not read yet, at once',
      1,
      { name: 'xrstor', written: false, read: false },
    ],
    ['in a page with code, in pieces', 0, { code: true }],
    ['under a breakpoint on data, in pieces', 0, { watched: 580 }],
    ['beside a breakpoint on data, in pieces', 0, { watched: 700 }],
  ])('are moved %s', (_, direct, how) => {
    const from = { ...USUAL, ...how };
    const found = run(from, true);
    expect(found.direct).toBe(direct);
    expect(found.seen).toEqual(run(from, false).seen);
  });

  it('are moved at once as they are piece by piece', () => {
    let atOnce = 0;
    fc.assert(
      fc.property(start, (from) => {
        const { seen, direct } = run(from, true);
        expect(seen).toEqual(run(from, false).seen);
        if (direct > 0) atOnce++;
      }),
      { numRuns: 250 },
    );
    expect(atOnce).toBeGreaterThan(20);
  });
});
