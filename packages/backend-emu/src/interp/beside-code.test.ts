/**
 * Programs that write to their own pages, into code and beside it, by all widths and by an alias:
 * with what was decoded, translated and found in emitted code, as by decoding every instruction
 * anew without the walk in emitted code. Memory is compared as a whole, page tables with it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import type { JitMode } from '../jit/mode.js';
import { LINE_SIZE } from '../mmu/frame-tables.js';
import { FRAME_DIRTY, PAGE_SIZE } from '../mmu/physical.js';
import { dice } from '../mmu/test-walks.js';
import { type TestMachine, testMachine } from './test-machine.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const RUNS = FULL ? 3000 : 20;
const FULL_LIMIT_MS = 900_000;

/** Two pages of code, at two addresses; and others like it, from which parts of it are copied. */
const CODE = 0x10000;
const ALIAS = 0x20000;
const OTHERS = [0x40000, 0x42000];
const CODE_SIZE = 2 * PAGE_SIZE;
const STACK = 0x50000;
/** The machine's page tables, three levels; and the last one for what lies below 2 MiB. */
const TABLES = 0x3f0000;
const PD = TABLES + 2 * PAGE_SIZE;
const PT = 0x3e0000;
/** Memory that programs use. */
const USED = 0x60000;
const STEPS = 300;

interface Program {
  readonly start: number;
  readonly versions: readonly Uint8Array[];
}

const word = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
/** Opcode and ModRM bytes for [disp32]. */
const at = (opcode: readonly number[], r: number, address: number): number[] => [
  ...opcode,
  0x04 | (r << 3),
  0x25,
  ...word(address),
];
const string = (from: number, to: number, count: number, ...op: number[]): number[] => [
  ...[0xbe, ...word(from), 0xbf, ...word(to), 0xb9, ...word(count), ...op],
];

/** How `bytes` from `from` are stored at `to`. */
const COPIES: readonly [number, (from: number, to: number) => number[]][] = [
  [1, (from, to) => [...at([0x8a], 0, from), ...at([0x88], 0, to)]],
  [2, (from, to) => [...at([0x66, 0x8b], 0, from), ...at([0x66, 0x89], 0, to)]],
  [4, (from, to) => [...at([0x8b], 0, from), ...at([0x89], 0, to)]],
  [8, (from, to) => [...at([0x48, 0x8b], 0, from), ...at([0x48, 0x89], 0, to)]],
  [8, (from, to) => [...at([0x48, 0x8b], 0, from), ...at([0x48, 0x87], 0, to)]],
  [10, (from, to) => [...at([0xdb], 5, from), ...at([0xdb], 7, to)]],
  [16, (from, to) => [...at([0x0f, 0x10], 0, from), ...at([0x0f, 0x11], 0, to)]],
  [70, (from, to) => string(from, to, 70, 0xf3, 0xa4)],
  [200, (from, to) => string(from, to, 50, 0xf3, 0xa5)],
];

/** Functions with data between them, and behind them a loop over calls, sums and copies. */
function assemble(seed: number): Program {
  const { next } = dice(seed);
  const code: number[] = Array.from({ length: PAGE_SIZE - 64 * next(16) - next(40) }, () => 0);
  /** Places of bytes that are not the same in all versions. */
  const free: number[] = [];
  const freely = (bytes: readonly number[], place: number): void => {
    free.push(code.length + place);
    code.push(...bytes);
  };
  const data = (size: number): void => {
    for (let i = 0; i < size; i++) freely([next(256)], 0);
  };
  const functions = Array.from({ length: 1 + next(5) }, () => {
    data(next(140));
    // At the beginning of a line, as compilers have it.
    if (next(2) === 0) data(-code.length & (LINE_SIZE - 1));
    const place = code.length;
    freely([0xb0, next(256)], 1); // mov al, imm8
    freely([0x81, 0xc3, next(256), 0, 0, 0], 2); // add ebx, imm32
    code.push(0x31, 0xc3, 0xc3); // xor ebx, eax; ret
    return place;
  });
  data(next(80));
  const start = CODE + code.length;
  code.push(0xbd, ...word(3 + next(9))); // mov ebp, imm32
  const top = code.length;
  for (let i = 4 + next(12); i > 0; i--) {
    const kind = next(8);
    const called = functions[next(functions.length)]!;
    if (kind === 0)
      freely([0x83, 0xc3, next(128)], 2); // add ebx, imm8
    else if (kind <= 2) code.push(0xe8, ...word(called - code.length - 5));
    else if (kind === 3) {
      // jmp over data, which is added to.
      const size = 4 + next(70);
      code.push(0xeb, size);
      const place = code.length + next(size - 3);
      data(size);
      const to = (next(2) === 0 ? CODE : ALIAS) + place;
      code.push(...at([0x01], 3, to), ...at([0xf0, 0xff], 0, to), ...at([0x33], 3, CODE + place));
    } else {
      const [bytes, copy] = COPIES[next(COPIES.length)]!;
      const place = next(3) > 0 ? called - next(bytes + 4) : functions[0]! - 20 + next(700);
      const to = next(3) === 0 ? ALIAS : CODE;
      code.push(...copy(OTHERS[next(2)]! + place, to + place));
    }
  }
  code.push(0xff, 0xcd, 0x0f, 0x85, ...word(top - code.length - 8), 0xf4); // dec, jnz, hlt
  const versions = [0, 1, 2].map((version) => {
    const image = Uint8Array.from({ length: CODE_SIZE }, (_, i) => code[i] ?? 0);
    for (const place of free) if (version > 0) image[place] = next(256);
    return image;
  });
  return { start, versions };
}

/** 4 KiB pages below 2 MiB, onto themselves but for the alias; some unused or clean. */
function prepare(machine: TestMachine, program: Program, seed: number): void {
  const { record, physical, interpreter } = machine;
  physical.takeDirty();
  physical.bytes.fill(0, 0, USED);
  physical.written(0, USED);
  const { view, ramBase } = physical;
  for (let page = 0; page < 512; page++) {
    const frame = page === ALIAS >> 12 || page === (ALIAS >> 12) + 1 ? page - 16 : page;
    const used = ((seed >>> (page & 15)) & 3) << 5;
    view.setBigUint64(ramBase + PT + page * 8, BigInt(frame * PAGE_SIZE + 7 + used), true);
  }
  view.setBigUint64(ramBase + TABLES, BigInt(TABLES + PAGE_SIZE + 7), true);
  view.setBigUint64(ramBase + TABLES + PAGE_SIZE, BigInt(PD + 7), true);
  view.setBigUint64(ramBase + PD, BigInt(PT + 7), true);
  physical.written(TABLES, 3 * PAGE_SIZE);
  physical.written(PT, PAGE_SIZE);
  for (const [i, image] of program.versions.entries()) {
    machine.load([CODE, ...OTHERS][i]!, [...image]);
  }
  if ((seed & 0x10000) !== 0) physical.takeDirty();
  physical.flushAll();
  for (let i = 0; i < 16; i++) record.setPair(L.gprOffset(i), 0, 0);
  record.setPair(L.gprOffset(4), STACK, 0);
  for (let i = 0; i < 8; i++) record.setPair(L.XMM + i * 8, 0, 0);
  for (let i = L.ST; i < L.ARG0; i += 4) record.setI32(i, 0);
  record.setU16(L.FCW, 0x37f);
  record.setU16(L.FTW, 0xffff);
  record.setI32(L.MXCSR, 0x1f80);
  record.setI32(L.EFLAGS, 2);
  record.setI32(L.FAULT_VECTOR, -1);
  record.setPair(L.RIP, program.start, 0);
  interpreter.executed = 0;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

function state({ record, physical, interpreter }: TestMachine): unknown {
  return {
    registers: [...record.words.slice(L.GPR >> 2, (L.GPR >> 2) + 32)],
    rip: record.lo(L.RIP),
    executed: interpreter.executed,
    vector: record.i32(L.FAULT_VECTOR),
    dirty: [...physical.flags].flatMap((flags, i) => ((flags & FRAME_DIRTY) !== 0 ? [i] : [])),
    memory: latin1(physical.bytes.subarray(0, USED)),
    tables: latin1(physical.bytes.subarray(PT, PD + PAGE_SIZE)),
  };
}

function run(machine: TestMachine, steps: number, slice: number, anew: boolean): void {
  const { record, interpreter, physical } = machine;
  const end = interpreter.executed + steps;
  while (interpreter.executed < end && record.i32(L.FAULT_VECTOR) < 0) {
    for (let at = CODE; anew && at < CODE + CODE_SIZE; at += PAGE_SIZE) {
      physical.onCodeWrite(at / PAGE_SIZE, 0, PAGE_SIZE);
    }
    interpreter.run(Math.min(slice, end - interpreter.executed));
  }
}

describe('code in pages that are written', () => {
  const plain = testMachine(undefined, false, 'off');
  plain.record.setI32(L.WALK_REFUSED, 1);

  it.each<JitMode>(['off', 'stress'])(
    'is what stands there, translation %s',
    (jit) => {
      const machine = testMachine(undefined, true, jit);
      const counts = { instructions: 0, ended: 0, invalidated: 0 };
      fc.assert(
        fc.property(fc.integer(), fc.integer({ min: 1, max: 200 }), (seed, slice) => {
          const program = assemble(seed);
          for (const each of [plain, machine]) prepare(each, program, seed);
          for (let part = 0; part < 3; part++) {
            run(plain, STEPS, 1, true);
            run(machine, STEPS, slice, false);
            const [got, want] = [state(machine), state(plain)] as Record<string, unknown>[];
            for (const key of Object.keys(want!)) {
              if (String(got![key]) === String(want![key])) continue;
              expect({ seed, part, key, is: got![key] }).toEqual({
                ...{ seed, part, key, is: want![key] },
              });
            }
          }
          counts.instructions += machine.interpreter.executed;
          if (machine.record.i32(L.FAULT_VECTOR) >= 0) counts.ended++;
        }),
        { numRuns: RUNS },
      );
      counts.invalidated = machine.opCache.invalidated;
      process.stdout.write(`writes beside code: ${JSON.stringify(counts)}\n`);
      expect(counts.instructions).toBeGreaterThan(RUNS * 50);
      expect(counts.invalidated).toBeGreaterThan(RUNS);
    },
    FULL ? FULL_LIMIT_MS : undefined,
  );
});
