/**
 * Regions over pages that change under them: random programs in several pages jump, call and return
 * between them, by operands too, while they map other frames there, overwrite each other's code
 * through another address, load CR3, set breakpoints on code, ask for the time and are interrupted.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import type { JitMode } from './mode.js';

const FULL = process.env.CLOISTER_FULL === '1';
const RUNS = FULL ? 600 : 6;
const LIMIT_MS = FULL ? 1_800_000 : 120_000;

/** Eight pages in a row, and one far away: another frame can be mapped at any. */
const PAGES = [0, 1, 2, 3, 4, 5, 6, 7, 0x50].map((page) => 0x40000 + page * 0x1000);
/** As far as branches lead beside them, code leads back. */
const BESIDE = [0x3e000, 0x3f000, 0x48000, 0x49000, 0x8e000, 0x8f000, 0x91000, 0x92000];
/** What can be mapped: they lie at these addresses as well. */
const FRAMES = Array.from({ length: 8 }, (_, i) => 0x100000 + 0x1000 * i);
const HOME = PAGES[4]!;
const SLOT = 128;
const SLOTS = 6;
const DATA = 0x20000;
const TABLE = 0x21000;
const CELLS = 0x22000;
const COUNT = 0x23000;
const CELL_COUNT = 8;
const LONG = 150_000;

const word = (value: number) => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
const slotAt = (page: number, slot: number) => PAGES[page % PAGES.length]! + SLOT * (slot % SLOTS);
/** A target of branches in code made for `HOME`: up to two pages away. */
const nearSlot = (page: number, slot: number) =>
  HOME + ((page % 5) - 2) * 0x1000 + SLOT * (slot % SLOTS);
const cellAt = (index: number) => CELLS + 8 * (1 + (index % CELL_COUNT));

/** Instructions without operands to choose: of all kinds of flags, and what asks for them. */
const PLAIN = [
  ...[
    [0x48, 0x01, 0xd3],
    [0x48, 0x11, 0xda],
    [0x48, 0x29, 0xfb],
    [0x19, 0xfa],
  ], // add adc sub sbb
  ...[
    [0x48, 0xff, 0xc3],
    [0x66, 0xff, 0xca],
    [0x48, 0x31, 0xd3],
    [0x84, 0xdb],
  ], // inc dec xor test
  ...[[0x0f, 0x92, 0xc2], [0x0f, 0x9a, 0xc3], [0x40, 0x0f, 0x90, 0xc7], [0xf5]], // setc p o, cmc
  ...[
    [0x48, 0xd1, 0xd3],
    [0xc1, 0xe2, 0x05],
    [0x48, 0xf7, 0xdf],
    [0x48, 0x39, 0xd3],
  ], // rcl shl neg cmp
  ...[
    [0x49, 0x01, 0x18],
    [0x49, 0x13, 0x50, 0x08],
    [0x41, 0xfe, 0x48, 0x11],
  ], // add adc dec of memory
  ...[[0x0f, 0x31, 0x01, 0xc3], [0x9f], [0x48, 0x0f, 0x42, 0xda]], // rdtsc; add, lahf, cmovc
  [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8], // mov rax, cr3; mov cr3, rax
];

interface Choice {
  readonly kind: string;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

function bytesOf({ kind, a, b, c }: Choice, at: number): number[] {
  const near = (length: number, to: number) => word(to - at - length);
  switch (kind) {
    // xor byte [a slot's immediate operand], c
    case 'write': {
      const place = FRAMES[a % FRAMES.length]! + SLOT * (b % SLOTS) + 1;
      return [0x80, 0x34, 0x25, ...word(place), c];
    }
    // xor dword [PTE], what leads to another frame; invlpg [page]
    case 'map': {
      const page = PAGES[a % PAGES.length]!;
      const entry = AT.tables + 0x3000 + (page >> 12) * 8;
      const other = (1 + (b % 7)) << 12;
      const mapped = [0x81, 0x34, 0x25, ...word(entry), ...word(other)];
      return [...mapped, 0x0f, 0x01, 0x3c, 0x25, ...word(page)];
    }
    // mov eax, slot; mov dr0, rax; mov eax, 2 or 0; mov dr7, rax
    case 'break':
      return [
        ...[0xb8, ...word(slotAt(a, b)), 0x0f, 0x23, 0xc0],
        ...[0xb8, ...word(c & 1 ? 2 : 0), 0x0f, 0x23, 0xf8],
      ];
    case 'jump':
      return [0xe9, ...near(5, nearSlot(a, b))];
    // jcc; jmp
    case 'branch':
      return [
        ...[0x0f, 0x80 | (c & 15), ...near(6, nearSlot(a, b))],
        ...[0xe9, ...near(11, nearSlot(b, c))],
      ];
    // movzx ecx, dl; jmp [rcx*8+TABLE]
    case 'indirect':
      return [0x0f, 0xb6, 0xca, 0xff, 0x24, 0xcd, ...word(TABLE)];
    // mov esp, cell; call; jmp
    case 'call':
      return [
        ...[0xbc, ...word(cellAt(c)), 0xe8, ...near(10, nearSlot(a, b))],
        ...[0xe9, ...near(15, nearSlot(b, c))],
      ];
    // mov esp, cell; movzx ecx, bl; call [rcx*8+TABLE]; jmp
    case 'callIndirect':
      return [
        ...[0xbc, ...word(cellAt(c)), 0x0f, 0xb6, 0xcb, 0xff, 0x14, 0xcd, ...word(TABLE)],
        ...[0xe9, ...near(20, nearSlot(b, c))],
      ];
    // mov esp, cell; ret
    case 'return':
      return [0xbc, ...word(cellAt(c) - 8), 0xc3];
    default:
      return PLAIN[(a * 16 + b) % PLAIN.length]!;
  }
}

const choice = (...kinds: readonly string[]) =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    a: fc.nat(15),
    b: fc.nat(15),
    c: fc.nat(255),
  });
const PLAINS = Array<string>(6).fill('plain');
const slot = fc.record({
  body: fc.array(choice(...PLAINS, 'write', 'map', 'map', 'map', 'break'), { maxLength: 4 }),
  end: choice('jump', 'branch', 'branch', 'indirect', 'call', 'callIndirect', 'return', 'return'),
});
const program = fc.array(slot, {
  minLength: FRAMES.length * SLOTS,
  maxLength: FRAMES.length * SLOTS,
});
const slices = fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 2, maxLength: 6 });

type Slot = { readonly body: readonly Choice[]; readonly end: Choice };

function codeOf({ body, end }: Slot, at: number): number[] {
  // add eax, 0x11223344: of which a byte is overwritten
  const code = [0x05, 0x44, 0x33, 0x22, 0x11];
  for (const each of [...body, end]) code.push(...bytesOf(each, at + code.length));
  return code;
}

function load(t: TestComputer, at: number, code: readonly number[]): void {
  t.load(at, Buffer.from(code).toString('hex'));
}

function computer(jit: JitMode): TestComputer {
  const t = new TestComputer('', jit, [], 'counted').longMode();
  t.longGate(1, { ist: 1 });
  t.longGate(2, { ist: 2 });
  t.setU64(AT.tss + 0x2c, BigInt(AT.tables - 0x1000));
  // inc qword [COUNT]; or dword [rsp+16], RF; iretq
  const handler = [0x48, 0xff, 0x04, 0x25, ...word(COUNT), 0x81, 0x4c, 0x24, 0x10, 0, 0, 1, 0];
  load(t, AT.handlers + 0x800, [...handler, 0x48, 0xcf]);
  for (const vector of [1, 2])
    load(t, AT.handlers + 16 * vector, [0xe9, ...word(0x800 - 16 * vector - 5)]);
  for (const page of BESIDE) {
    for (let slot = 0; slot < SLOTS; slot++) {
      // mov ecx, slot; jmp rcx
      load(t, page + slot * SLOT, [0xb9, ...word(slotAt(page >> 12, slot)), 0xff, 0xe1]);
    }
  }
  return t;
}

function begin(t: TestComputer, slots: readonly Slot[]): void {
  const { record } = t;
  for (let i = 0; i < 16; i++) record.setPair(L.gprOffset(i), i * 0x01234567, i);
  record.setPair(L.gprOffset(8), DATA, 0);
  for (const [i, page] of PAGES.entries()) {
    t.setU64(t.pte(page), BigInt(FRAMES[i % FRAMES.length]! | 7));
  }
  t.cpu.mmu.tlb.flushAll();
  for (let i = 0; i < 256; i++) t.setU64(TABLE + 8 * i, BigInt(slotAt(i, i >> 4)));
  for (let i = 0; i <= CELL_COUNT; i++) t.setU64(CELLS + 8 * i, BigInt(slotAt(i * 5, i * 7)));
  for (const [i, each] of slots.entries()) {
    const offset = (i % SLOTS) * SLOT;
    load(t, FRAMES[Math.floor(i / SLOTS)]! + offset, codeOf(each, HOME + offset));
  }
  record.setPair(L.RIP, HOME, 0);
}

function state(t: TestComputer, first: number): unknown {
  const { words } = t.record;
  const bytes = (at: number, length: number) =>
    Buffer.from(t.physical.bytes.subarray(at, at + length)).toString('hex');
  return {
    registers: [...words.slice(L.GPR >> 2, (L.GPR >> 2) + 32)],
    flags: statusFlags(words),
    rip: t.rip,
    executed: t.vcpu.executed - first,
    data: bytes(DATA, 32),
    cells: bytes(CELLS, 80),
    interrupts: Number(t.u64(COUNT)),
    code: FRAMES.map((frame) => bytes(frame, SLOT * SLOTS)),
  };
}

/** What a program leaves after each of the slices, between which come interrupts. */
function statesOf(t: TestComputer, slots: readonly Slot[], lengths: readonly number[]): unknown[] {
  begin(t, slots);
  const first = t.vcpu.executed;
  return lengths.map((count) => {
    t.run(count);
    if (count % 3 === 0) t.vcpu.nmi();
    return state(t, first);
  });
}

describe('code in pages that are mapped and overwritten', () => {
  it(
    `is executed as interpreted, in ${RUNS} programs`,
    () => {
      let inside = 0;
      const outcome = (jit: JitMode, slots: readonly Slot[], lengths: readonly number[]) => {
        const t = computer(jit);
        const states = statesOf(t, slots, lengths);
        inside += Number(t.record.u64(L.REGION_INSTRUCTIONS));
        return states;
      };
      fc.assert(
        fc.property(program, slices, (slots, lengths) => {
          // Long enough to be hot on the way.
          const all = [...lengths, LONG, ...lengths];
          const interpreted = outcome('off', slots, all);
          const first = interpreted.slice(0, lengths.length);
          expect(outcome('stress', slots, lengths)).toEqual(first);
          expect(outcome('on', slots, all)).toEqual(interpreted);
        }),
        { numRuns: RUNS, ...(FULL ? {} : { seed: 1 }) },
      );
      expect(inside).toBeGreaterThan(1000);
    },
    LIMIT_MS,
  );
});
