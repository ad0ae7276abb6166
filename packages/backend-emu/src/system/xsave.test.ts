/**
 * XSAVE and its relations: formats, what is stored and what is not, every refusal. Expectations are
 * what a processor of family 19h does with the same areas.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestProcessor } from '../cpu/test-processor.js';
import { FAULT, NEXT } from './outcome.js';

const OSXSAVE = 0x6a0 | (1 << 18) | (1 << 22);
const AREA = 0x8000;
const HEADER = AREA + 512;
const PKRU_AT = 2432;
const ALL = 0x203;
const COMPACTED = 1n << 63n;
const POISON = 0xccccccccccccccccn;

function machine(xcr0 = ALL): TestProcessor {
  const t = new TestProcessor().longMode();
  t.call('movToCr', 4, OSXSAVE);
  components(t, xcr0);
  t.record.setPair(L.gprOffset(1), 0, 0);
  expect(t.call('xsetbv')).toBe(NEXT);
  // Everything in its initial configuration.
  components(t, ALL);
  t.view.setUint32(AREA + 24, 0x1f80, true);
  expect(t.call('xrstor', AREA, 1)).toBe(NEXT);
  return t;
}

function components(t: TestProcessor, mask: number): void {
  t.record.setPair(L.gprOffset(0), mask, 0);
  t.record.setPair(L.gprOffset(2), 0, 0);
}

/** The instruction with `mask` in EDX:EAX; its outcome. */
function run(t: TestProcessor, name: string, mask = ALL, at = AREA): number {
  components(t, mask);
  return t.call(name, at, 1);
}

function used(t: TestProcessor): void {
  t.record.setU16(L.FCW, 0x27f);
  t.record.setU64(L.XMM + 16, 0x0123456789abcdefn);
  t.record.setI32(L.MXCSR, 0x1fa0);
  t.record.setI32(L.PKRU, 0x55555550);
}

function poison(t: TestProcessor): void {
  for (let at = 0; at < 2560; at += 8) t.setU64(AREA + at, POISON);
  for (let at = 0; at < 64; at += 8) t.setU64(HEADER + at, 0n);
}

describe('XSAVE', () => {
  it('stores all that is asked for, and says what is in use', () => {
    const t = machine();
    poison(t);
    expect(run(t, 'xsave')).toBe(NEXT);
    expect(t.u64(HEADER)).toBe(0n);
    expect(t.view.getUint16(AREA, true)).toBe(0x37f);
    expect(t.u64(AREA + 176)).toBe(0n);
    expect(t.u64(AREA + PKRU_AT)).toBe(0n);
    used(t);
    run(t, 'xsave');
    expect(t.u64(HEADER)).toBe(BigInt(ALL));
    expect(t.u64(AREA + 176)).toBe(0x0123456789abcdefn);
    expect(t.u64(AREA + PKRU_AT)).toBe(0x55555550n);
    // Not a byte between the images.
    expect(t.u64(AREA + 416)).toBe(POISON);
    expect(t.u64(AREA + 576)).toBe(POISON);
  });

  it('leaves bits of XSTATE_BV that are not asked for, and the rest of the header', () => {
    const t = machine();
    poison(t);
    t.setU64(HEADER, 0xf0n);
    t.setU64(HEADER + 8, 0x1234n);
    run(t, 'xsave', 1);
    expect([t.u64(HEADER), t.u64(HEADER + 8)]).toEqual([0xf0n, 0x1234n]);
    expect(t.view.getUint32(AREA + 24, true)).toBe(0xcccccccc);
    expect(t.u64(AREA + 160)).toBe(POISON);
  });

  it('does not take MXCSR for use of SSE, and stores it with SSE only', () => {
    const t = machine();
    t.record.setI32(L.MXCSR, 0x1fa0);
    poison(t);
    run(t, 'xsaveopt');
    expect(t.u64(HEADER)).toBe(0n);
    expect(t.view.getUint32(AREA + 24, true)).toBe(0x1fa0);
    expect(t.u64(AREA)).toBe(POISON);
    poison(t);
    run(t, 'xsaveopt', 1);
    expect(t.view.getUint32(AREA + 24, true)).toBe(0xcccccccc);
  });
});

describe('XSAVEC', () => {
  it('stores what is in use, MXCSR counting as SSE, in the compacted format', () => {
    const t = machine();
    poison(t);
    t.setU64(HEADER + 16, 0x77n);
    expect(run(t, 'xsavec')).toBe(NEXT);
    expect([t.u64(HEADER), t.u64(HEADER + 8)]).toEqual([0n, COMPACTED | BigInt(ALL)]);
    expect(t.u64(HEADER + 16)).toBe(0x77n);
    expect(t.u64(AREA + 24)).toBe(POISON);
    t.record.setI32(L.MXCSR, 0x1fa0);
    t.record.setI32(L.PKRU, 4);
    run(t, 'xsavec');
    expect(t.u64(HEADER)).toBe(0x202n);
    expect(t.view.getUint32(AREA + 24, true)).toBe(0x1fa0);
    expect(t.u64(AREA + 576)).toBe(4n);
  });
});

describe('XRSTOR', () => {
  const header = (t: TestProcessor, ...words: readonly bigint[]): void => {
    for (let i = 0; i < 8; i++) t.setU64(HEADER + i * 8, words[i] ?? 0n);
  };

  it.each(['xsave', 'xsaveopt', 'xsavec'])('takes back what %s stored', (name) => {
    fc.assert(
      fc.property(fc.nat(ALL), fc.boolean(), (mask, inUse) => {
        const t = machine();
        if (inUse) used(t);
        const state = () => t.record.bytes.slice(L.XMM, L.MXCSR + 4);
        const before = [state(), t.record.i32(L.PKRU)];
        run(t, name);
        const untouched = machine();
        const then = untouched.record.bytes;
        t.record.bytes.set(then.subarray(L.XMM, L.MXCSR + 4), L.XMM);
        t.record.setI32(L.PKRU, 0);
        expect(run(t, 'xrstor', mask | 3)).toBe(NEXT);
        expect(state()).toEqual(before[0]);
        expect(t.record.i32(L.PKRU)).toBe((mask & 0x200) !== 0 ? before[1] : 0);
      }),
      { numRuns: 20 },
    );
  });

  it('initialises what the header does not have; MXCSR comes from the standard format', () => {
    const t = machine();
    used(t);
    t.view.setUint32(AREA + 24, 0x1fc0, true);
    header(t);
    expect(run(t, 'xrstor')).toBe(NEXT);
    expect(t.record.u16(L.FCW)).toBe(0x37f);
    expect(t.record.u64(L.XMM + 16)).toBe(0n);
    expect(t.record.i32(L.PKRU)).toBe(0);
    expect(t.record.i32(L.MXCSR)).toBe(0x1fc0);
    header(t, 0n, COMPACTED | 3n);
    expect(run(t, 'xrstor')).toBe(NEXT);
    expect(t.record.i32(L.MXCSR)).toBe(0x1f80);
  });

  const refused: readonly (readonly [string, readonly bigint[], number])[] = [
    ['a component that XCR0 lacks', [4n], 0x1f80],
    ['a reserved bit of XSTATE_BV', [1n << 62n], 0x1f80],
    ['XCOMP_BV in the standard format', [0n, 1n], 0x1f80],
    ['a reserved byte of the standard header', [0n, 0n, 1n], 0x1f80],
    ['a reserved byte of the compacted header', [0n, COMPACTED | 3n, 0n, 1n], 0x1f80],
    ['its last byte', [0n, COMPACTED | 3n, 0n, 0n, 0n, 0n, 0n, 1n << 56n], 0x1f80],
    ['a component that the compacted area lacks', [3n, COMPACTED], 0x1f80],
    ['a component of the area that XCR0 lacks', [0n, COMPACTED | 4n], 0x1f80],
    ['a reserved bit of MXCSR, SSE state or not', [0n], 0xffffffff],
    ['a reserved bit of MXCSR in a compacted area', [2n, COMPACTED | 3n], 0xffffffff],
  ];
  it.each(refused)('is #GP(0) with %s', (_, words, mxcsr) => {
    const t = machine();
    used(t);
    header(t, ...words);
    t.view.setUint32(AREA + 24, mxcsr, true);
    const before = t.record.bytes.slice(L.XMM, L.MXCSR + 4);
    expect([run(t, 'xrstor'), t.fault]).toEqual([FAULT, [13, 0]]);
    expect(t.record.bytes.slice(L.XMM, L.MXCSR + 4)).toEqual(before);
  });

  it('ignores reserved bytes behind the first 24 of a standard header, and MXCSR with x87', () => {
    const t = machine();
    header(t, 0n, 0n, 0n, 1n);
    expect(run(t, 'xrstor')).toBe(NEXT);
    t.view.setUint32(AREA + 24, 0xffffffff, true);
    expect(run(t, 'xrstor', 1)).toBe(NEXT);
    header(t, 0n, COMPACTED | 3n);
    expect(run(t, 'xrstor')).toBe(NEXT);
  });
});

describe('all of them', () => {
  const NAMES = ['xsave', 'xsaveopt', 'xsavec', 'xrstor'];

  it.each(NAMES)('%s: #UD without OSXSAVE, #NM with TS, #GP off 64 bytes, #PF', (name) => {
    const t = machine();
    t.setU64(t.pte(0x9000), 0n);
    t.call('invlpg', 0x9000);
    used(t);
    expect([run(t, name, 3, 0x8e00), t.fault[0]]).toEqual([FAULT, 14]);
    expect(t.u64(0x8e00)).toBe(0n);
    expect([run(t, name, ALL, AREA + 32), t.fault]).toEqual([FAULT, [13, 0]]);
    t.record.setPair(L.CR0, t.record.i32(L.CR0) | 8, 0);
    expect([run(t, name), t.fault]).toEqual([FAULT, [7, -1]]);
    t.record.setPair(L.CR4, 0x6a0, 0);
    expect([run(t, name), t.fault]).toEqual([FAULT, [6, -1]]);
  });

  it('XGETBV 1 gives what is in use, MXCSR counted; XSETBV refuses what there is not', () => {
    const t = machine();
    const read = (): bigint => {
      t.record.setPair(L.gprOffset(1), 1, 0);
      expect(t.call('xgetbv')).toBe(NEXT);
      return t.record.u64(L.gprOffset(0));
    };
    expect(read()).toBe(0n);
    t.record.setI32(L.MXCSR, 0x1fa0);
    expect(read()).toBe(2n);
    used(t);
    expect(read()).toBe(BigInt(ALL));
    t.record.setPair(L.gprOffset(1), 2, 0);
    expect([t.call('xgetbv'), t.fault]).toEqual([FAULT, [13, 0]]);
    t.record.setPair(L.gprOffset(1), 0, 0);
    for (const value of [0, 2, 7, 0x400]) {
      components(t, value);
      expect([t.call('xsetbv'), t.fault]).toEqual([FAULT, [13, 0]]);
    }
  });
});
