/** Translation at work: what is found hot, left exactly, overwritten, watched and forgotten. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FLAG_TF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { MODE_64 } from '../cpu/mode.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import { type TestMachine, testMachine } from '../interp/test-machine.js';
import type { JitMode } from './mode.js';

const HLT = 0xf4;
const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
/** xor eax, eax; 1: add rax, rcx; dec rcx; jnz 1b; hlt */
const SUM = [0x31, 0xc0, 0x48, 0x01, 0xc8, 0x48, 0xff, 0xc9, 0x75, 0xf8, HLT];

function machine(jit: JitMode, code: readonly number[], count: number): TestMachine {
  const made = testMachine(undefined, true, jit);
  made.record.setPair(RCX, count, 0);
  made.load(0x1000, code);
  return made;
}

const inRegions = ({ record }: TestMachine) => Number(record.u64(L.REGION_INSTRUCTIONS));

describe('a loop', () => {
  it('is translated once it is hot, and counted exactly', () => {
    const { interpreter, record, translator } = machine('on', SUM, 1_000_000);
    expect(interpreter.run(1e8)).toBe('fault');
    expect(interpreter.executed).toBe(3_000_001);
    expect(record.u64(RAX)).toBe(500_000_500_000n);
    expect(translator?.translated).toBe(1);
    const inside = Number(record.u64(L.REGION_INSTRUCTIONS));
    expect(inside).toBeGreaterThan(2_500_000);
    expect(inside).toBeLessThan(3_000_001);
  });

  it('is found however short the runs are that it executes in', () => {
    const { interpreter, record, translator } = machine('on', SUM, 200_000);
    while (interpreter.run(900) === 'deadline');
    expect(interpreter.executed).toBe(600_001);
    expect(record.u64(RAX)).toBe(20_000_100_000n);
    expect(translator?.translated).toBe(1);
  });

  it('is found although a whole page was filled before it', () => {
    // mov ecx, 4096; rep stosb; mov ecx, 1000000; xor eax, eax …
    const fill = [0xb9, 0, 0x10, 0, 0, 0xf3, 0xaa, 0xb9, 0x40, 0x42, 0x0f, 0];
    const { interpreter, record, translator } = machine('on', [...fill, ...SUM], 0);
    record.setPair(L.gprOffset(7), 0x8000, 0);
    expect(interpreter.run(1e8)).toBe('fault');
    expect(interpreter.executed).toBe(3_000_001 + 4098);
    expect(record.u64(RAX)).toBe(500_000_500_000n);
    expect(translator?.translated).toBe(1);
  });

  it('has one region, however often samples meet it between its entries', () => {
    // xor eax, eax; 1: add rax, rcx; jmp 2f; 2: add rax, rcx; jmp 3f; … dec rcx; jnz 1b; hlt
    const parts = [1, 2, 3, 4].flatMap(() => [0x48, 0x01, 0xc8, 0xeb, 0]);
    const loop = [...parts, 0x48, 0xff, 0xc9, 0x75, 0x100 - parts.length - 5];
    const code = [0x31, 0xc0, ...loop, HLT];
    const { interpreter, translator } = machine('on', code, 8_000_000);
    expect(interpreter.run(1e9)).toBe('fault');
    expect(translator?.translated).toBe(1);
  });

  it('is met by samples at distances that vary, in every run the same', () => {
    const distances = (): number[] => {
      const { opCache, translator } = machine('on', SUM, 1);
      const record = opCache.block(0x801000, MODE_64, () => -1);
      return Array.from({ length: 200 }, () => {
        translator?.sample(record, true, { page: () => -1, cached: () => 0 });
        return translator?.interval ?? 0;
      });
    };
    const met = distances();
    expect(distances()).toEqual(met);
    const last = met.slice(20);
    expect(new Set(last).size).toBeGreaterThan(170);
    const mean = last.reduce((sum, each) => sum + each, 0) / last.length;
    expect(Math.abs(mean / 64_000 - 1)).toBeLessThan(0.1);
  });

  it('is left at a deadline before any of its instructions', () => {
    for (let slice = 1; slice <= 7; slice++) {
      const translated = machine('stress', SUM, 50);
      const interpreted = machine('off', SUM, 50);
      for (let i = 0; i < 20; i++) {
        for (const { interpreter } of [translated, interpreted]) {
          expect(interpreter.run(slice)).toBe('deadline');
        }
        expect(translated.interpreter.executed).toBe(interpreted.interpreter.executed);
        for (const field of [L.RIP, RAX, RCX]) {
          expect(translated.record.u64(field)).toBe(interpreted.record.u64(field));
        }
      }
      if (slice === 7) expect(inRegions(translated)).toBeGreaterThan(50);
    }
  });

  it('accesses what lies across the end of a page in both of its pages', () => {
    // xor eax, eax; 1: mov rbx, rcx; not ebx; and ebx, 31; add rax, [rbx+0x3fffe8];
    // add [rbx+0x3fffe8], rcx; dec rcx; jnz 1b; hlt
    const body = [
      ...[0x48, 0x89, 0xcb, 0xf7, 0xd3, 0x83, 0xe3, 0x1f, 0x48, 0x03, 0x83, 0xe8, 0xff, 0x3f, 0],
      ...[0x48, 0x01, 0x8b, 0xe8, 0xff, 0x3f, 0, 0x48, 0xff, 0xc9],
    ];
    const code = [0x31, 0xc0, ...body, 0x75, 0x100 - body.length - 2, HLT];
    const sums = (['stress', 'off'] as const).map((jit) => {
      const made = machine(jit, code, 5000);
      const { interpreter, physical, record } = made;
      // Behind the page that ends at 4 MiB lies, in virtual memory, the first of all.
      const directory = physical.ramBase + record.lo(L.CR3) + 0x2000;
      physical.view.setUint32(directory + 2 * 8, 0x87, true);
      expect(interpreter.run(1e6)).toBe('fault');
      if (jit === 'stress') expect(inRegions(made)).toBeGreaterThan(5000);
      return [record.u64(RAX), physical.bytes.slice(0, 32), physical.bytes.slice(-32)];
    });
    expect(sums[0]).toEqual(sums[1]);
    expect(sums[1]?.[0]).not.toBe(0n);
  });

  it('traps after each of its instructions while single steps are on', () => {
    const t = new TestComputer('', 'stress').longMode();
    t.longGate(1);
    // The handler counts in RBX: inc rbx; iretq
    t.load(AT.handlers + 16, '48 ff c3 48 cf');
    t.load(AT.code, Buffer.from(SUM).toString('hex'));
    t.record.setPair(L.gprOffset(3), 0, 0);
    t.record.setPair(RCX, 10, 0);
    t.record.setI32(L.EFLAGS, t.record.i32(L.EFLAGS) | FLAG_TF);
    // Each instruction, and two of the handler.
    t.run(31 * 3);
    expect(t.record.u64(RAX)).toBe(55n);
    expect(t.record.u64(L.gprOffset(3))).toBe(31n);
  });
});

describe('code that overwrites itself', () => {
  /** 1: inc byte [rip+4] (the immediate); add rax, 0; dec rcx; jnz 1b; hlt */
  const PATCHING = [
    ...[0xfe, 0x05, 0x03, 0, 0, 0, 0x48, 0x83, 0xc0, 0x00],
    ...[0x48, 0xff, 0xc9, 0x75, 0xf1, HLT],
  ];

  it.each(['on', 'stress'] as const)('is the new code from its next instruction on: %s', (jit) => {
    const translated = machine(jit, PATCHING, 300);
    const interpreted = machine('off', PATCHING, 300);
    for (const each of [translated, interpreted]) expect(each.interpreter.run(1e6)).toBe('fault');
    expect(translated.record.u64(RAX)).toBe(interpreted.record.u64(RAX));
    expect(translated.interpreter.executed).toBe(1200);
    if (jit === 'stress') expect(translated.translator?.dropped).toBeGreaterThan(100);
  });

  it('makes hot regions void when somebody else writes there', () => {
    const { interpreter, record, physical, translator } = machine('on', SUM, 2_000_000);
    expect(interpreter.run(1_000_000)).toBe('deadline');
    expect(translator?.regions).toBe(1);
    // add rax, rcx becomes sub rax, rcx.
    physical.bytes[0x1003] = 0x29;
    physical.written(0x1003, 1);
    expect(translator?.regions).toBe(0);
    const [before, left] = [record.u64(RAX), record.u64(RCX)];
    expect(interpreter.run(3)).toBe('deadline');
    expect(record.u64(RCX)).toBe(left - 1n);
    expect(record.u64(RAX)).toBeLessThan(before);
  });
});

describe('string output', () => {
  it('moves as many items at once as it does without translation', () => {
    const computers = (['on', 'off'] as const).map((jit) => {
      const t = new TestComputer('', jit).longMode();
      // rep outsb; hlt
      t.load(AT.code, 'f3 6e f4');
      t.record.setPair(RCX, 4096, 0);
      t.record.setPair(L.gprOffset(6), AT.code & ~0xfff, 0);
      t.run(4097);
      return t;
    });
    const [on, off] = computers.map(({ exits }) => exits);
    expect(off[0]).toMatchObject({ kind: 'io', count: 4096 });
    expect(on).toEqual(off);
  });
});

describe('where the host has no memory for a region', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('the interpreter executes it', () => {
    const { interpreter, record, translator } = machine('on', SUM, 200_000);
    const compile = vi.spyOn(WebAssembly, 'Module').mockImplementation(function none() {
      throw new RangeError('out of memory');
    });
    expect(interpreter.run(1e8)).toBe('fault');
    expect(compile).toHaveBeenCalled();
    expect(interpreter.executed).toBe(600_001);
    expect(record.u64(RAX)).toBe(20_000_100_000n);
    expect(translator).toMatchObject({ translated: 0, regions: 0 });
    expect(translator?.failed).toBeGreaterThan(0);
  });

  it('or the table of functions for its number', () => {
    const { interpreter, record, translator } = machine('on', SUM, 200_000);
    vi.spyOn(interpreter.functions, 'grow').mockImplementation(() => {
      throw new RangeError('the table is full');
    });
    expect(interpreter.run(1e8)).toBe('fault');
    expect(record.u64(RAX)).toBe(20_000_100_000n);
    expect(translator).toMatchObject({ translated: 0, failed: 1 });
  });
});

describe('regions', () => {
  it('are bounded: older ones are interpreted again', () => {
    const bounded = testMachine(undefined, true, 'stress', { regions: 8 });
    // In each of 64 pages: inc rax; jmp to the next; at last hlt.
    const pages = 64;
    for (let page = 0; page < pages; page++) {
      const far = page === pages - 1 ? [HLT] : [0xe9, 0xf8, 0x0f, 0, 0];
      bounded.load(0x10000 + page * 0x1000, [0x48, 0xff, 0xc0, ...far]);
    }
    for (let turn = 1; turn <= 3; turn++) {
      bounded.record.setPair(RAX, 0, 0);
      bounded.record.setPair(L.RIP, 0x10000, 0);
      expect(bounded.interpreter.run(1000)).toBe('fault');
      expect(bounded.record.u64(RAX)).toBe(BigInt(pages));
      expect(bounded.translator?.regions).toBeLessThanOrEqual(8);
    }
    expect(bounded.translator?.evictions).toBeGreaterThan(10);
  });
});
