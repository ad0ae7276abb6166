/**
 * Random programs of small blocks that lead to each other in every way: by conditional jumps, into
 * the middle of others, by calls, returns and jumps through registers and tables, across pages.
 * Translated, they are wherever they are interpreted, after any number of instructions, whatever is
 * forgotten or overwritten meanwhile.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { type TestMachine, testMachine } from '../interp/test-machine.js';
import { PAGE_SIZE } from '../mmu/physical.js';
import type { JitMode } from './mode.js';

const FULL = process.env.CLOISTER_FULL === '1';
/** How many times the usual number of programs. */
const SAMPLE = FULL ? 80 : 1;
const LIMIT_MS = FULL ? 1_800_000 : 120_000;

/** Return addresses, all of them of the program, lie around where RSP is kept. */
const STACK = 0x10000;
const STACK_SIZE = 0x10000;
const STACK_MARGIN = 0x2000;
const DATA = 0x26000;
const TABLES = 0x28000;
const CODE = 0x30000;
/** The same physical pages once more; or, at times, those that hold a variant of the program. */
const ALIAS = 0x400000;
const VARIANT = 0x200000;
const PAGES = 3;
const WORKING = [0, 1, 2, 6, 7];
/** Most targets of a jump by a table. */
const TABLE = 8;

/** A place in a program: an instruction of a block, both counted round; at ALIAS by address. */
type Place = readonly [block: number, instruction: number, aliased: boolean];

/** An instruction, the lengths of whose code do not depend on where it leads. */
type Line =
  | { readonly bytes: readonly number[] }
  /** `opcode` and the distance to `to`, or its address. */
  | { readonly bytes: readonly number[]; readonly to: Place; readonly absolute?: true }
  /** JMP or CALL by a table of its own. */
  | { readonly bytes: readonly number[]; readonly table: readonly Place[] };

interface Block {
  readonly lines: readonly Line[];
}

interface Program {
  readonly blocks: readonly Block[];
  /** Where in its page each group of blocks begins. */
  readonly starts: readonly number[];
}

const place: fc.Arbitrary<Place> = fc.tuple(
  fc.nat(63),
  fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(15) }),
  fc.nat(5).map((n) => n === 5),
);
const reg = fc.constantFrom(...WORKING);
const modrm = (r: number, m: number): number => 0xc0 | (r << 3) | m;

const binary = fc
  .tuple(fc.constantFrom(0x01, 0x29, 0x31, 0x21, 0x11, 0x19, 0x39, 0x85), reg, reg, fc.boolean())
  .map(([op, a, b, wide]) => [...(wide ? [0x48] : []), op, modrm(a, b)]);
const immediate = fc
  .tuple(fc.constantFrom(0, 2, 3, 5, 6, 7), reg, fc.nat(255))
  .map(([kind, r, value]) => [0x48, 0x83, modrm(kind, r), value]);
const step = fc.tuple(fc.nat(1), reg).map(([kind, r]) => [0x48, 0xff, modrm(kind, r)]);
const shift = fc
  .tuple(fc.constantFrom(0xc1, 0xd3), fc.nat(7), reg, fc.constantFrom(0, 1, 31))
  .map(([op, kind, r, count]) => [0x48, op, modrm(kind, r), ...(op === 0xc1 ? [count] : [])]);
const onFlags = fc
  .tuple(fc.nat(15), reg, reg)
  .map(([cc, a, b]) => [0x48, 0x0f, 0x40 + cc, modrm(a, b)]);
const access = fc
  .tuple(fc.constantFrom(0x8b, 0x89, 0x01, 0x03), reg, fc.nat(0x78))
  .map(([op, r, at]) => [0x48, op, 0x43 | (r << 3), at]);
/** mov edi, DATA; mov ecx, 3; rep stosb: what regions leave to the interpreter. */
const left = fc.constant([0xbf, 0, 0x60, 2, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0xaa]);

const plain: fc.Arbitrary<Line> = fc
  .oneof(
    { weight: 6, arbitrary: binary },
    { weight: 3, arbitrary: immediate },
    { weight: 3, arbitrary: step },
    { weight: 2, arbitrary: shift },
    { weight: 2, arbitrary: onFlags },
    { weight: 1, arbitrary: access },
  )
  .map((bytes) => ({ bytes }));

/** imul r14d, r14d, 0x19660d; lea r14d, [r14+0x3c6ef35f]: the next random number. */
const NEXT: readonly Line[] = [
  { bytes: [0x45, 0x69, 0xf6, 0x0d, 0x66, 0x19, 0] },
  { bytes: [0x45, 0x8d, 0xb6, 0x5f, 0xf3, 0x6e, 0x3c] },
];
/** movzx r15d, sp; lea rsp, [r15+STACK]: back into the stack, whatever was too much. */
const RESTACK = [0x44, 0x0f, 0xb7, 0xfc, 0x49, 0x8d, 0xa7, 0, 0, 1, 0];
/** bt r14d, bit */
const chance = (bit: number): Line => ({ bytes: [0x41, 0x0f, 0xba, 0xe6, bit] });
/** mov r12d, place: where jumps by a register lead next. */
const aim = (to: Place): Line => ({ bytes: [0x41, 0xbc], to, absolute: true });

const conditional = fc
  .tuple(fc.nat(15), place)
  .map(([cc, to]): Line[] => [{ bytes: [0x0f, 0x80 + cc], to }]);
const byChance = fc
  .tuple(fc.integer({ min: 12, max: 31 }), fc.nat(1), place)
  .map(([bit, no, to]): Line[] => [...NEXT, chance(bit), { bytes: [0x0f, 0x82 + no], to }]);
const aimed = place.map((to): Line[] => [aim(to)]);
/** mov r12d, one; mov r11d, other; bt r14d, bit; cmovc r12, r11 */
const aimedByChance = fc
  .tuple(fc.integer({ min: 12, max: 31 }), place, place)
  .map(([bit, one, other]): Line[] => [
    ...[aim(one), { bytes: [0x41, 0xbb], to: other, absolute: true } as const],
    ...[...NEXT, chance(bit), { bytes: [0x4d, 0x0f, 0x42, 0xe3] }],
  ]);
const jump = place.map((to): Line[] => [{ bytes: [0xe9], to }]);
const call = place.map((to): Line[] => [{ bytes: [...RESTACK, 0xe8], to }]);
const jumpAimed = fc.constant<Line[]>([{ bytes: [0x41, 0xff, 0xe4] }]);
const callAimed = fc.constant<Line[]>([{ bytes: [...RESTACK, 0x41, 0xff, 0xd4] }]);
const ret = fc.constant<Line[]>([{ bytes: [...RESTACK, 0xc3] }]);
/** mov r13d, r14d; shr r13d, 29; jmp or call [r13*8+table] */
const byTable = fc
  .tuple(fc.constantFrom(0x24, 0x14), fc.array(place, { minLength: 1, maxLength: TABLE }))
  .map(([kind, table]): Line[] => [
    ...[...NEXT, { bytes: [0x45, 0x89, 0xf5] }, { bytes: [0x41, 0xc1, 0xed, 29] }],
    { bytes: [...RESTACK, 0x42, 0xff, kind, 0xed], table },
  ]);

const within = fc.oneof(
  { weight: 5, arbitrary: plain.map((line) => [line]) },
  { weight: 1, arbitrary: conditional },
  { weight: 1, arbitrary: byChance },
  { weight: 1, arbitrary: aimed },
);
/** How blocks end that share tails, and no region of theirs has other entries than loops. */
const jumps = fc.oneof(
  { weight: 2, arbitrary: fc.constant<Line[]>([]) },
  { weight: 1, arbitrary: jump },
  { weight: 1, arbitrary: fc.tuple(aimed, jump).map((lines) => lines.flat()) },
  { weight: 2, arbitrary: jumpAimed },
  { weight: 1, arbitrary: fc.tuple(aimedByChance, jumpAimed).map((lines) => lines.flat()) },
);
const anything = fc.oneof(
  { weight: 5, arbitrary: jumps },
  { weight: 1, arbitrary: call },
  { weight: 1, arbitrary: callAimed },
  { weight: 2, arbitrary: ret },
  { weight: 1, arbitrary: byTable },
  { weight: 1, arbitrary: left.map((bytes): Line[] => [{ bytes }]) },
);
const blocksOf = (last: fc.Arbitrary<Line[]>, most: number): fc.Arbitrary<Block[]> =>
  fc.array(
    fc
      .tuple(fc.array(within, { minLength: 1, maxLength: 7 }), last)
      .map(([lines, end]) => ({ lines: [...lines.flat(), ...end] })),
    { minLength: 3, maxLength: most },
  );
const program: fc.Arbitrary<Program> = fc.record({
  blocks: fc.oneof(blocksOf(jumps, 8), blocksOf(anything, 16)),
  starts: fc.array(fc.oneof(fc.nat(0x800), fc.integer({ min: 0xf80, max: 0xfff })), {
    ...{ minLength: PAGES, maxLength: PAGES },
  }),
});

const lengthOf = (line: Line): number =>
  line.bytes.length + ('to' in line || 'table' in line ? 4 : 0);
const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);

/** A program in memory. */
interface Image {
  readonly code: readonly { readonly at: number; readonly bytes: readonly number[] }[];
  readonly tables: readonly number[];
  readonly places: readonly number[];
}

/** Groups of blocks lie behind each other in a page, and may go on in the next. */
function assemble({ blocks, starts }: Program): Image {
  const addresses: number[][] = [];
  const each = Math.ceil(blocks.length / PAGES);
  let at = 0;
  for (const [index, { lines }] of blocks.entries()) {
    const group = Math.floor(index / each);
    if (index % each === 0) at = Math.max(at, CODE + group * PAGE_SIZE + (starts[group] ?? 0));
    addresses.push(
      lines.map((line) => {
        const here = at;
        at += lengthOf(line);
        return here;
      }),
    );
    // A block at the end of its group goes on at the start of all.
    if (index % each === each - 1 || index === blocks.length - 1) at += 5;
  }
  const find = ([b, i]: Place): number => {
    const lines = addresses[b % addresses.length] as number[];
    return lines[i % lines.length] as number;
  };
  const address = (place: Place): number => find(place) + (place[2] ? ALIAS : 0);
  const tables: number[] = [];
  const code: Image['code'][number][] = [];
  for (const [index, { lines }] of blocks.entries()) {
    for (const [i, line] of lines.entries()) {
      const here = addresses[index]?.[i] as number;
      const end = here + lengthOf(line);
      const bytes = [...line.bytes];
      if ('to' in line)
        bytes.push(...word(line.absolute === true ? address(line.to) : find(line.to) - end));
      if ('table' in line) {
        bytes.push(...word(TABLES + tables.length * 8));
        for (let k = 0; k < TABLE; k++)
          tables.push(address(line.table[k % line.table.length] as Place));
      }
      code.push({ at: here, bytes });
      const isLast = i === lines.length - 1;
      if (isLast && (index % each === each - 1 || index === blocks.length - 1))
        code.push({ at: end, bytes: [0xe9, ...word(find([0, 0, false]) - end - 5)] });
    }
  }
  return { code, tables, places: addresses.flat() };
}

function machineOf(jit: JitMode, limits = {}): TestMachine {
  return testMachine(undefined, true, jit, limits);
}

/** Has two megabytes from `at` on at ALIAS. */
function alias({ physical, record, mmu }: TestMachine, at: number): void {
  const directory = physical.ramBase + record.lo(L.CR3) + 2 * PAGE_SIZE;
  physical.view.setUint32(directory + (ALIAS >> 21) * 8, at | 0x87, true);
  mmu.tlb.flushAll();
}

/** INC for DEC, and another immediate. */
function variantOf(bytes: readonly number[]): number[] {
  const [rex = 0, opcode = 0, operand = 0, value = 0] = bytes;
  if (rex === 0x48 && opcode === 0xff) return [rex, opcode, operand ^ 8];
  return rex === 0x48 && opcode === 0x83 ? [rex, opcode, operand, value ^ 1] : [...bytes];
}

function start(machine: TestMachine, { code, tables, places }: Image): void {
  const { record, physical, interpreter, opCache } = machine;
  opCache.reset();
  const { bytes, view, ramBase } = physical;
  bytes.fill(0, DATA, CODE + 8 * PAGE_SIZE);
  bytes.fill(0, VARIANT + CODE, VARIANT + CODE + 8 * PAGE_SIZE);
  for (const line of code) {
    bytes.set(line.bytes, line.at);
    bytes.set(variantOf(line.bytes), line.at + VARIANT);
  }
  alias(machine, 0);
  for (const [i, address] of tables.entries())
    view.setUint32(ramBase + TABLES + i * 8, address, true);
  for (let at = STACK - STACK_MARGIN, i = 0; at < STACK + STACK_SIZE + STACK_MARGIN; at += 8, i++)
    view.setBigUint64(ramBase + at, BigInt(places[i % places.length] as number), true);
  for (let i = 0; i < 16; i++) record.setPair(L.gprOffset(i), i * 0x01234567, i);
  record.setPair(L.gprOffset(3), DATA, 0);
  record.setPair(L.gprOffset(4), STACK + 0x8000, 0);
  for (const r of [11, 12]) record.setPair(L.gprOffset(r), places[0] as number, 0);
  for (const r of [13, 15]) record.setPair(L.gprOffset(r), 0, 0);
  record.setPair(L.gprOffset(14), 1, 0);
  for (const words of [L.FLAG_RES, L.FLAG_CV, L.FLAG_ADJ]) record.setPair(words, 1, 0);
  record.setPair(L.RIP, places[0] as number, 0);
  record.setI32(L.FAULT_VECTOR, -1);
  interpreter.executed = 0;
}

function state({ record, interpreter }: TestMachine): unknown {
  return {
    registers: [...record.words.slice(L.GPR >> 2, (L.GPR >> 2) + 32)],
    flags: statusFlags(record.words),
    rip: record.lo(L.RIP),
    executed: interpreter.executed,
    vector: record.i32(L.FAULT_VECTOR),
  };
}

/** What happens between two runs. */
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constant('flush' as const) },
  { weight: 2, arbitrary: fc.constant('other' as const) },
  { weight: 1, arbitrary: fc.constant('same' as const) },
  { weight: 1, arbitrary: fc.constant('forget' as const) },
  { weight: 1, arbitrary: fc.constant('reset' as const) },
  { weight: 3, arbitrary: fc.nat(255) },
);
const length = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 3000 }) },
  { weight: 1, arbitrary: fc.constant(12_000) },
);
const runs = fc.array(fc.tuple(length, happening), { minLength: 1, maxLength: 12 });
type Happening = null | 'flush' | 'other' | 'same' | 'forget' | 'reset' | number;

function happen(machine: TestMachine, what: Happening, image: Image): void {
  const { mmu, opCache, physical } = machine;
  if (what === 'flush') mmu.tlb.flushAll();
  if (what === 'other') alias(machine, VARIANT);
  if (what === 'same') alias(machine, 0);
  if (what === 'forget') mmu.tlb.forgetRights();
  if (what === 'reset') opCache.reset();
  // Code is overwritten with the same again.
  if (typeof what === 'number')
    physical.written(image.places[what % image.places.length] as number, 1);
}

/** Instructions at first, for something to be hot. */
const FIRST = 25_000;

describe('random control flow', () => {
  const interpreted = machineOf('off');

  it.each([
    ['hot code', 40 * SAMPLE, machineOf('on', { hot: 1 })],
    ['few regions', 80 * SAMPLE, machineOf('on', { hot: 1, regions: 2 })],
    ['everything', 40 * SAMPLE, machineOf('stress')],
  ])(
    'is as interpreted where it translates %s, in %i programs',
    (_, count, translated) => {
      const { record, translator } = translated;
      const before = record.u64(L.REGION_INSTRUCTIONS);
      fc.assert(
        fc.property(program, runs, (random, parts) => {
          const image = assemble(random);
          const [actual, expected] = [translated, interpreted].map((machine) => {
            start(machine, image);
            return [[FIRST, null] as const, ...parts].map(([instructions, what]) => {
              machine.interpreter.run(instructions);
              const reached = state(machine);
              happen(machine, what, image);
              return reached;
            });
          });
          expect(actual).toEqual(expected);
          expect(interpreted.record.i32(L.FAULT_VECTOR)).toBe(-1);
        }),
        { numRuns: count },
      );
      // Some 1.4 regions a program where code must be hot, 1.1 to 1.8 in a sample of 40.
      expect(translator?.translated).toBeGreaterThan(count / 2);
      const inside = record.u64(L.REGION_INSTRUCTIONS) - before;
      expect(inside).toBeGreaterThan(BigInt(count) * 5000n);
    },
    LIMIT_MS,
  );
});
