/** The page walk in every paging mode, against a model written from the manual. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { CpuRecord } from '../cpu/record.js';
import { PhysicalMemory } from './physical.js';
import { EXECUTE, PageWalker, READ, WRITE } from './walk.js';

const RAM = 0x140000;
const SIZE = 0x40000;
const P = 1n;
const W = 2n;
const U = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const NX = 1n << 63n;
const ROOT = 0x1000;
/** VA whose index is 1 in every level: entries lie at table + 8. */
const VA = { lo: 0x40201000, hi: 0x80 };

interface Setting {
  readonly wp: boolean;
  readonly nxe: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
}

const ALL_ON: Setting = { wp: true, nxe: true, smep: false, smap: false };

function machine(physicalBits = 46, pse36 = true) {
  const buffer = new ArrayBuffer(RAM + SIZE);
  const record = new CpuRecord(buffer, 0);
  const physical = new PhysicalMemory({ buffer, ramBase: RAM, size: SIZE });
  const slot = { id: 0, gpa: 0, size: SIZE, readOnly: false, name: 'ram', encryptable: false };
  physical.addSlot(slot);
  const walker = new PageWalker(record, physical, {
    physicalBits,
    gigabytePages: true,
    pse36,
    linearBits: 57,
  });
  const view = new DataView(buffer, RAM, SIZE);
  return { record, physical, walker, view };
}

function configure(m: ReturnType<typeof machine>, s: Setting, kind: 'long' | 'pae' | 'legacy') {
  const { record, walker } = m;
  const cr4 = (kind === 'legacy' ? 0x10 : 0x20) | (s.smep ? 1 << 20 : 0) | (s.smap ? 1 << 21 : 0);
  record.setPair(L.CR0, 0x80000001 | (s.wp ? 0x10000 : 0), 0);
  record.setPair(L.CR4, cr4, 0);
  record.setPair(L.EFER, (kind === 'long' ? 0x500 : 0) | (s.nxe ? 0x800 : 0), 0);
  record.setPair(L.CR3, ROOT, 0);
  walker.configure();
}

/** Four tables behind each other; the page is at 0x9000. `bits` from the root to the leaf. */
function writeLong(view: DataView, bits: readonly bigint[]): void {
  bits.forEach((value, level) => {
    const next = level === 3 ? 0x9000n : BigInt(ROOT + (level + 1) * 0x1000);
    view.setBigUint64(ROOT + level * 0x1000 + 8, next | value, true);
  });
}

const boolean = [false, true];

/** The rules of AMD APM vol. 2, 5.6, as a table would say them; null: allowed. */
function expected(
  all: { p: boolean; w: boolean; u: boolean; nx: boolean },
  reserved: boolean,
  s: Setting,
  access: number,
  user: boolean,
  ac: boolean,
): number | null {
  const id = access === EXECUTE && (s.nxe || s.smep) ? 16 : 0;
  const code = (user ? 4 : 0) | (access === WRITE ? 2 : 0) | id;
  if (!all.p) return code;
  if (reserved) return code | 9;
  const bad =
    (user && !all.u) ||
    (access === WRITE && !all.w && (user || s.wp)) ||
    (access === EXECUTE && all.nx && s.nxe) ||
    (access === EXECUTE && !user && all.u && s.smep) ||
    (access !== EXECUTE && !user && all.u && s.smap && !ac);
  return bad ? code | 1 : null;
}

describe('the page walk', () => {
  it('decides every combination of entry bits, privilege, access and control bits', () => {
    const m = machine();
    const wrong: string[] = [];
    let count = 0;
    for (let config = 0; config < 16; config++) {
      const s = {
        wp: !!(config & 1),
        nxe: !!(config & 2),
        smep: !!(config & 4),
        smap: !!(config & 8),
      };
      configure(m, s, 'long');
      for (let odd = 0; odd < 4; odd++) {
        for (let combination = 0; combination < 32; combination++) {
          const p = !!(combination & 1);
          const w = !!(combination & 2);
          const u = !!(combination & 4);
          const nx = !!(combination & 8);
          const leafNx = !!(combination & 16);
          const special = (p ? P : 0n) | (w ? W : 0n) | (u ? U : 0n) | (nx ? NX : 0n);
          const bits = [0, 1, 2, 3].map((level) =>
            level === odd ? special : P | W | U | (leafNx && level === 3 ? NX : 0n),
          );
          const anyNx = nx || (leafNx && odd !== 3);
          // Without NXE a set bit 63 is reserved, if the walk gets there.
          const reserved = !s.nxe && anyNx;
          for (const access of [READ, WRITE, EXECUTE]) {
            for (const user of boolean) {
              for (const ac of boolean) {
                writeLong(m.view, bits);
                const want = expected({ p, w, u, nx: anyNx }, reserved && p, s, access, user, ac);
                const done = m.walker.walk(VA.lo, VA.hi, access, user, ac);
                const got = done ? null : m.walker.error;
                count++;
                if (got !== want)
                  wrong.push(JSON.stringify({ s, odd, combination, access, user, ac, got, want }));
              }
            }
          }
        }
      }
    }
    expect(count).toBe(16 * 4 * 32 * 12);
    expect(wrong.slice(0, 3)).toEqual([]);
  });

  it('sets accessed bits on success only, and the dirty bit on writes', () => {
    const m = machine();
    configure(m, ALL_ON, 'long');
    const entry = (level: number) => m.view.getBigUint64(ROOT + level * 0x1000 + 8, true) & (A | D);
    writeLong(m.view, [P | W | U, P | W | U, P | W | U, P | U]);
    expect(m.walker.walk(VA.lo, VA.hi, WRITE, true, false)).toBe(false);
    expect([0, 1, 2, 3].map(entry)).toEqual([0n, 0n, 0n, 0n]);
    expect(m.walker.walk(VA.lo, VA.hi, READ, true, false)).toBe(true);
    expect([0, 1, 2, 3].map(entry)).toEqual([A, A, A, A]);
    expect(m.walker.dirty).toBe(false);
    writeLong(m.view, [P | W | U, P | W | U, P | W | U, P | W | U]);
    expect(m.walker.walk(VA.lo, VA.hi, WRITE, true, false)).toBe(true);
    expect([0, 1, 2, 3].map(entry)).toEqual([A, A, A, A | D]);
    expect(m.walker.dirty).toBe(true);
  });

  it('finds 2 MiB and 1 GiB pages and refuses their reserved bits', () => {
    const m = machine();
    configure(m, ALL_ON, 'long');
    const all = P | W | U;
    writeLong(m.view, [all, all, all, all]);
    m.view.setBigUint64(ROOT + 0x2000 + 8, 0x12_3460_0000n | all | PS, true);
    expect(m.walker.walk(VA.lo | 0x1abc, VA.hi, READ, true, false)).toBe(true);
    expect([m.walker.pageLo >>> 0, m.walker.pageHi, m.walker.pageShift]).toEqual([
      0x34601000, 0x12, 21,
    ]);
    m.view.setBigUint64(ROOT + 0x2000 + 8, 0x2000n | all | PS, true);
    expect(m.walker.walk(VA.lo, VA.hi, READ, true, false)).toBe(false);
    expect(m.walker.error).toBe(13);
    m.view.setBigUint64(ROOT + 0x1000 + 8, 0x12_4000_0000n | all | PS, true);
    expect(m.walker.walk(VA.lo, VA.hi, WRITE, true, false)).toBe(true);
    expect([m.walker.pageLo >>> 0, m.walker.pageHi, m.walker.pageShift]).toEqual([
      0x40201000, 0x12, 30,
    ]);
    m.view.setBigUint64(ROOT + 0x1000 + 8, 0x2000n | all | PS, true);
    expect(m.walker.walk(VA.lo, VA.hi, WRITE, false, false)).toBe(false);
    expect(m.walker.error).toBe(11);
  });

  it.each([
    ['bit 46 of a 46-bit machine', 0, 1n << 46n],
    ['bit 51', 3, 1n << 51n],
    ['PS in level 4', 0, PS],
    ['G in level 4', 0, 0x100n],
  ])('refuses %s', (_name, level, bit) => {
    const m = machine();
    configure(m, ALL_ON, 'long');
    const all = P | W | U;
    const bits = [all, all, all, all];
    bits[level] |= bit;
    writeLong(m.view, bits);
    expect(m.walker.walk(VA.lo, VA.hi, READ, false, false)).toBe(false);
    expect(m.walker.error).toBe(9);
  });

  it.each([
    ['bit 45', 0, 1n << 45n],
    ['bits 62:52', 3, 0x7ffn << 52n],
    ['G in level 3', 1, 0x100n],
    ['G in level 2', 2, 0x100n],
  ])('takes %s', (_name, level, bit) => {
    const m = machine();
    configure(m, ALL_ON, 'long');
    const all = P | W | U;
    const bits = [all, all, all, all];
    bits[level] |= bit;
    writeLong(m.view, bits);
    // Bit 45 leads to where there is no memory, which reads as all ones: a reserved bit.
    const done = m.walker.walk(VA.lo, VA.hi, READ, false, false);
    expect(done).toBe(level !== 0);
    if (!done) expect(m.walker.error).toBe(9);
  });

  it('walks PAE tables from the loaded top entries', () => {
    const m = machine();
    configure(m, ALL_ON, 'pae');
    const all = P | W | U;
    m.record.setU64(L.PDPTE + 8, 0x2001n);
    m.view.setBigUint64(0x2008, 0x3000n | all, true);
    m.view.setBigUint64(0x3008, 0x9000n | all | NX, true);
    expect(m.walker.walk(0x40201123, 0, WRITE, true, false)).toBe(true);
    expect(m.walker.pageLo).toBe(0x9000);
    expect(m.walker.walk(0x40201123, 0, EXECUTE, true, false)).toBe(false);
    expect(m.walker.error).toBe(0x15);
    expect(m.walker.walk(0x201123, 0, READ, true, false)).toBe(false);
    expect(m.walker.error).toBe(4);
    m.view.setBigUint64(0x3008, 0x9000n | all | (1n << 52n), true);
    expect(m.walker.walk(0x40201123, 0, READ, false, false)).toBe(false);
    expect(m.walker.error).toBe(9);
  });

  it('walks 32-bit tables and 4 MiB pages with 40-bit addresses', () => {
    const m = machine();
    configure(m, { wp: false, nxe: false, smep: false, smap: false }, 'legacy');
    m.view.setUint32(ROOT + 4, 0x2007, true);
    m.view.setUint32(0x2004, 0x9005, true);
    expect(m.walker.walk(0x401fff, 0, WRITE, false, false)).toBe(true);
    expect(m.walker.pageLo).toBe(0x9000);
    expect(m.view.getUint32(0x2004, true)).toBe(0x9065);
    expect(m.walker.walk(0x401fff, 0, WRITE, true, false)).toBe(false);
    expect(m.walker.error).toBe(7);
    m.view.setUint32(ROOT + 4, 0x00c00000 | (0x12 << 13) | 0x87, true);
    expect(m.walker.walk(0x723456, 0, READ, true, false)).toBe(true);
    expect([m.walker.pageLo, m.walker.pageHi, m.walker.pageShift]).toEqual([0xf23000, 0x12, 22]);
    m.view.setUint32(ROOT + 4, 0x00e00087, true);
    expect(m.walker.walk(0x723456, 0, READ, true, false)).toBe(false);
    expect(m.walker.error).toBe(13);
  });

  it.each([
    [46, true, [21]],
    [40, true, [21]],
    [38, true, [21, 20, 19]],
    [36, true, [21, 20, 19, 18, 17]],
    [46, false, [21, 20, 19, 18, 17, 16, 15, 14, 13]],
  ])('reserves bits of a 4 MiB entry with %i bits and PSE-36 %s', (bits, pse36, reserved) => {
    const m = machine(bits, pse36);
    configure(m, { wp: false, nxe: false, smep: false, smap: false }, 'legacy');
    const refused = [];
    for (let bit = 21; bit >= 13; bit--) {
      m.view.setUint32(ROOT + 4, 0x87 | (1 << bit), true);
      if (!m.walker.walk(0x400000, 0, READ, false, false)) refused.push(bit);
    }
    expect(refused).toEqual(reserved);
  });

  it('maps everything to itself without paging', () => {
    const m = machine();
    m.record.setPair(L.CR0, 1, 0);
    m.walker.configure();
    expect(m.walker.walk(0xfee00123 | 0, 0, WRITE, true, false)).toBe(true);
    expect(m.walker.pageLo >>> 0).toBe(0xfee00000);
  });

  it('knows canonical addresses in long mode only', () => {
    const m = machine();
    configure(m, ALL_ON, 'long');
    for (const [hi, good] of [
      [0x7fff, true],
      [0x8000, false],
      [0xffff8000 | 0, true],
      [0xffff7fff | 0, false],
      [0x10000, false],
    ] as const) {
      expect(m.walker.isCanonical(hi)).toBe(good);
    }
    m.record.setPair(L.CR4, 0x1020, 0);
    m.walker.configure();
    expect(m.walker.isCanonical(0x8000)).toBe(true);
    expect(m.walker.isCanonical(0x1000000)).toBe(false);
    configure(m, ALL_ON, 'pae');
    expect(m.walker.isCanonical(0x8000)).toBe(true);
  });
});
