/** Loops that clear memory end as if each of their stores had been executed, at any instruction. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { FRAME_DIRTY, FRAME_ZEROS, PAGE_SIZE } from '../mmu/physical.js';
import { type TestMachine, testMachine } from './test-machine.js';

const CODE = 0x1000;
const AREA = 0x1f0000;
const PAGES = 24;
const HLT = 0xf4;
/** Of the test machine's tables, the page directory's entry for the second two megabytes. */
const ENTRY = 0x3f2008;
const [RAX, RCX, RDI] = [0, 1, 7].map(L.gprOffset) as [number, number, number];
const LIMIT = 100_000;

interface Clearing {
  readonly stores: number;
  readonly start: number;
  readonly iterations: number;
  readonly value: number;
  readonly carry: boolean;
  /** A page that something is in, and whether memory ends in the middle. */
  readonly written: number;
  readonly absent: boolean;
  /** Instructions of each run. */
  readonly slices: readonly number[];
}

/** dec rcx; mov [rdi+…], rax; …; lea rdi, [rdi+8n]; jnz; hlt */
function loopOf(stores: number): number[] {
  const code = [0x48, 0xff, 0xc9];
  for (let i = 0; i < stores; i++) {
    code.push(0x48, 0x89, ...(i === 0 ? [0x07] : [0x47, i * 8]));
  }
  code.push(...[0x48, 0x8d, 0xbf, stores * 8, 0, 0, 0]);
  return [...code, 0x75, -(code.length + 2) & 0xff, HLT];
}

function prepared(one: Clearing, blank: boolean): TestMachine {
  const machine = testMachine(undefined, false, 'off');
  const { record, physical } = machine;
  const full = AREA + one.written * PAGE_SIZE + 0x123;
  physical.bytes[full] = 0x55;
  physical.written(full, 1);
  if (one.absent) physical.view.setUint32(physical.ramBase + ENTRY, 0, true);
  if (!blank) physical.keys.blank.fill(0);
  machine.load(CODE, loopOf(one.stores));
  record.setPair(RAX, one.value, 0);
  record.setPair(RCX, one.iterations, 0);
  record.setPair(RDI, AREA + one.start, 0);
  record.setPair(L.FLAG_CV, 0, one.carry ? 0xc0000000 | 0 : 0);
  return machine;
}

function stateOf({ record, physical, interpreter }: TestMachine) {
  return {
    registers: [RAX, RCX, RDI, L.RIP].map((at) => [record.lo(at), record.hi(at)]),
    flags: statusFlags(record.words),
    executed: interpreter.executed,
    fault: [L.FAULT_VECTOR, L.FAULT_ERROR, L.FAULT_ADDRESS].map((at) => record.i32(at)),
    memory: Buffer.from(physical.bytes).toString('latin1', AREA, AREA + PAGES * PAGE_SIZE),
    dirty: [...physical.flags].map((flags) => flags & FRAME_DIRTY),
  };
}

const skipped = ({ physical }: TestMachine): number =>
  physical.flags.filter((flags) => (flags & FRAME_ZEROS) !== 0).length;

/** Runs both by the slices, then to their end; the one whose memory is blank. */
function compare(one: Clearing): TestMachine {
  const [blank, other] = [prepared(one, true), prepared(one, false)];
  for (const slice of [...one.slices, LIMIT]) {
    const ends = [blank, other].map(({ interpreter }) => interpreter.run(slice));
    expect(ends[0]).toBe(ends[1]);
    expect(stateOf(blank)).toEqual(stateOf(other));
    if (ends[0] === 'fault') break;
  }
  expect(skipped(other)).toBe(0);
  return blank;
}

const PLAIN: Clearing = {
  ...{ stores: 8, start: 0, iterations: 64 * 6, value: 0, carry: false },
  ...{ written: PAGES - 1, absent: false, slices: [] },
};

describe('a loop that clears memory', () => {
  it('needs no stores where zeros are, but where a run ends', () => {
    expect(skipped(compare(PLAIN))).toBe(5);
    expect(skipped(compare({ ...PLAIN, iterations: 64 * 6 + 1 }))).toBe(6);
    expect(skipped(compare({ ...PLAIN, stores: 1, iterations: 512 * 3 }))).toBe(2);
  });

  it('executes its stores where they matter', () => {
    expect(skipped(compare({ ...PLAIN, value: 0x100 }))).toBe(0);
    expect(skipped(compare({ ...PLAIN, start: 8 }))).toBe(0);
    expect(skipped(compare({ ...PLAIN, stores: 3 }))).toBe(0);
    expect(skipped(compare({ ...PLAIN, written: 2 }))).toBe(4);
    expect(skipped(compare({ ...PLAIN, slices: [400, 64 * 11 + 1] }))).toBe(3);
  });

  it('meets a page that is not there when it gets to it', () => {
    const machine = compare({ ...PLAIN, iterations: 64 * 20, absent: true });
    expect(skipped(machine)).toBe(16);
    expect(machine.record.i32(L.FAULT_ADDRESS)).toBe(0x200000);
  });

  it('ends as if all stores had been executed, whatever it is', () => {
    const clearing = fc.record({
      stores: fc.constantFrom(1, 2, 4, 8, 16, 5),
      start: fc.constantFrom(0, 0, 0, 64, PAGE_SIZE - 64, 8),
      iterations: fc.integer({ min: 1, max: 64 * 20 }),
      value: fc.constantFrom(0, 0, 0, 1),
      carry: fc.boolean(),
      written: fc.integer({ min: 0, max: PAGES - 1 }),
      absent: fc.boolean(),
      slices: fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 5 }),
    });
    let all = 0;
    fc.assert(
      fc.property(clearing, (one) => void (all += skipped(compare(one)))),
      { numRuns: 40 },
    );
    expect(all).toBeGreaterThan(0);
  });
});
