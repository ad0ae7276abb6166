/** The interpreter on small programs in long mode. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { testMachine } from './test-machine.js';

const HLT = 0xf4;

describe('Interpreter', () => {
  it('runs a loop and stops at the system function behind it', () => {
    const machine = testMachine();
    // mov ecx, 10; xor eax, eax; 1: add rax, rcx; dec rcx; jnz 1b; hlt
    machine.load(0x1000, [
      0xb9,
      10,
      0,
      0,
      0,
      0x31,
      0xc0,
      0x48,
      0x01,
      0xc8,
      0x48,
      0xff,
      0xc9,
      0x75,
      0xf8,
      HLT,
    ]);
    expect(machine.interpreter.run(1000)).toBe('fault');
    expect(machine.systemCalls).toEqual(['hlt']);
    expect(machine.record.lo(L.GPR)).toBe(55);
    expect(machine.record.lo(L.RIP)).toBe(0x100f);
    expect(machine.interpreter.executed).toBe(32);
  });

  it('stops exactly at the deadline, wherever it falls', () => {
    const trace = (slice: number): number[] => {
      const machine = testMachine();
      machine.load(0x1000, [
        0xb9,
        3,
        0,
        0,
        0,
        0x31,
        0xc0,
        0x48,
        0x01,
        0xc8,
        0x48,
        0xff,
        0xc9,
        0x75,
        0xf8,
        HLT,
      ]);
      const rips: number[] = [];
      while (machine.interpreter.executed < 11) {
        const left = Math.min(slice, 11 - machine.interpreter.executed);
        expect(machine.interpreter.run(left)).toBe('deadline');
        rips.push(machine.record.lo(L.RIP));
      }
      expect(machine.interpreter.executed).toBe(11);
      return rips;
    };
    const single = trace(1);
    expect(single.at(-1)).toBe(0x100f);
    for (const slice of [2, 3, 5, 7, 11]) {
      expect(trace(slice).at(-1)).toBe(0x100f);
      const expected = single.filter((_, i) => (i + 1) % slice === 0 || i === 10);
      expect(trace(slice)).toEqual(expected);
    }
  });

  it('decodes straight code once, wherever it is entered', () => {
    const machine = testMachine(undefined, true, 'off');
    const { interpreter, opCache, record } = machine;
    // 1000 times inc eax (2 bytes), hlt
    const code = [...Array.from({ length: 1000 }, () => [0xff, 0xc0]).flat(), HLT];
    machine.load(0x1000, code);
    expect(interpreter.run(2000)).toBe('fault');
    expect(opCache.decoded).toBe(1001);
    for (let first = 1; first < 64; first++) {
      record.setPair(L.gprOffset(0), 0, 0);
      record.setPair(L.RIP, 0x1000 + 2 * first, 0);
      const before = opCache.decoded;
      expect(interpreter.run(2000)).toBe('fault');
      expect(record.lo(L.GPR)).toBe(1000 - first);
      expect(opCache.decoded - before).toBe(64 - first);
    }
  });

  it('calls, returns, pushes and pops', () => {
    const machine = testMachine();
    machine.record.setPair(L.gprOffset(4), 0x9000, 0);
    // mov eax, 7; push rax; call 1f; hlt; 1: pop rdx; pop rcx; push rdx; ret
    machine.load(0x1ff0, [0xb8, 7, 0, 0, 0, 0x50, 0xe8, 1, 0, 0, 0, HLT, 0x5a, 0x59, 0x52, 0xc3]);
    expect(machine.interpreter.run(100)).toBe('fault');
    expect(machine.systemCalls).toEqual(['hlt']);
    expect(machine.record.lo(L.gprOffset(1))).toBe(7);
    expect(machine.record.lo(L.gprOffset(4))).toBe(0x9000);
  });

  it('cuts the target of a branch with a 16-bit operand, also within its page', () => {
    const machine = testMachine();
    // jmp 2f; 1: hlt; 2: data16 jmp 1b. The HLT that it meets is 64 KiB lower.
    machine.load(0x5002, [HLT]);
    machine.load(0x15000, [0xeb, 1, HLT, 0x66, 0xeb, 0xfc]);
    expect(machine.interpreter.run(100)).toBe('fault');
    expect(machine.systemCalls).toEqual(['hlt']);
    expect(machine.record.lo(L.RIP)).toBe(0x5002);
  });

  it('executes an instruction that crosses a page', () => {
    const machine = testMachine();
    machine.load(0x1ffd, [0xb8, 0x78, 0x56, 0x34, 0x12, HLT]);
    machine.interpreter.run(10);
    expect(machine.record.lo(L.GPR)).toBe(0x12345678);
    expect(machine.interpreter.executed).toBe(1);
  });

  it('does so above 2 GiB of the memory, too', () => {
    const machine = testMachine(0x9000_0000);
    machine.load(0x1ffd, [0xb8, 0x78, 0x56, 0x34, 0x12, 0xff, 0xc0, HLT]);
    machine.interpreter.run(10);
    expect(machine.record.lo(L.GPR)).toBe(0x12345679);
    expect(machine.interpreter.executed).toBe(2);
  });

  it('sees its own stores into the next instruction', () => {
    const machine = testMachine();
    // mov byte [rip+0], 0x42 overwrites the immediate of: mov al, 0
    machine.load(0x1000, [0xc6, 0x05, 1, 0, 0, 0, 0x42, 0xb0, 0, HLT]);
    machine.interpreter.run(10);
    expect(machine.record.u8(L.GPR)).toBe(0x42);
    expect(machine.interpreter.executed).toBe(2);
  });

  it('copies and fills with repeated string instructions, one iteration an instruction', () => {
    const machine = testMachine();
    const { record, physical } = machine;
    record.setPair(L.gprOffset(7), 0x10000, 0);
    record.setPair(L.gprOffset(1), 5000, 0);
    record.setPair(L.gprOffset(0), 0xab, 0);
    machine.load(0x1000, [0xf3, 0xaa, HLT]);
    machine.interpreter.run(10_000);
    expect(machine.interpreter.executed).toBe(5000);
    expect(physical.bytes.subarray(0x10000, 0x10000 + 5001).filter((b) => b === 0xab).length).toBe(
      5000,
    );
    expect(record.lo(L.gprOffset(1))).toBe(0);
    expect(record.lo(L.gprOffset(7))).toBe(0x10000 + 5000);
  });

  it('stops inside a repeated instruction at the deadline', () => {
    const machine = testMachine();
    machine.record.setPair(L.gprOffset(7), 0x10000, 0);
    machine.record.setPair(L.gprOffset(1), 100, 0);
    machine.load(0x1000, [0xf3, 0xaa, HLT]);
    expect(machine.interpreter.run(30)).toBe('deadline');
    expect(machine.record.lo(L.gprOffset(1))).toBe(70);
    expect(machine.record.lo(L.RIP)).toBe(0x1000);
    expect(machine.interpreter.executed).toBe(30);
  });

  it('reports a page fault with the state of before the instruction', () => {
    const machine = testMachine();
    // mov [0x7fffffff0000], eax
    machine.load(0x1000, [0x48, 0xb9, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0x89, 0x01]);
    expect(machine.interpreter.run(10)).toBe('fault');
    expect(machine.record.i32(L.FAULT_VECTOR)).toBe(14);
    expect(machine.record.i32(L.FAULT_ERROR)).toBe(2);
    expect(machine.record.lo(L.RIP)).toBe(0x100a);
    expect(machine.interpreter.executed).toBe(1);
  });
});

describe('FS and GS bases', () => {
  // mov rax, VALUE; wrfsbase rax; rdgsbase rcx; rdfsbase ecx; hlt
  const program = (value: bigint): number[] => {
    const bytes = [...new Uint8Array(new BigUint64Array([value]).buffer)];
    const moves = [0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x0f, 0xae, 0xc1, HLT];
    return [0x48, 0xb8, ...bytes, ...moves];
  };

  it('are read and written where CR4 allows it', () => {
    const machine = testMachine();
    machine.record.setI32(L.CR4, machine.record.i32(L.CR4) | (1 << 16));
    machine.load(0x1000, program(0x7fff_1234_5678n));
    machine.interpreter.run(100);
    expect(machine.systemCalls).toEqual(['hlt']);
    const fs = L.segmentOffset(L.SEG.fs);
    expect([machine.record.lo(fs), machine.record.hi(fs)]).toEqual([0x12345678, 0x7fff]);
    expect([machine.record.lo(L.gprOffset(1)), machine.record.hi(L.gprOffset(1))]).toEqual([
      0x12345678, 0,
    ]);
  });

  it('are #UD without CR4.FSGSBASE; a base beyond four levels is left to a function', () => {
    const machine = testMachine();
    machine.load(0x1000, program(0n));
    expect(machine.interpreter.run(100)).toBe('fault');
    expect(machine.record.i32(L.FAULT_VECTOR)).toBe(6);
    machine.record.setI32(L.CR4, machine.record.i32(L.CR4) | (1 << 16));
    machine.load(0x1000, program(0x8000_0000_0000n));
    expect(machine.interpreter.run(100)).toBe('fault');
    expect(machine.systemCalls).toEqual(['wideBase']);
  });

  it('knows where it is behind an instruction across two pages that overwrites itself', () => {
    const machine = testMachine();
    const { record } = machine;
    // add [rdi], cl; mov rax, [r15]
    machine.load(0xfff, [0x00]);
    machine.load(0x1000, [0x0f, 0x49, 0x8b, 0x07]);
    record.setPair(L.gprOffset(7), 0x1000, 0);
    record.setPair(L.gprOffset(1), 0xf7, 0);
    record.setPair(L.gprOffset(15), 0x40000000, 0);
    record.setPair(L.RIP, 0xfff, 0);
    expect(machine.interpreter.run(10)).toBe('fault');
    expect(machine.physical.bytes[0x1000]).toBe(0x06);
    expect(record.i32(L.FAULT_VECTOR)).toBe(14);
    expect(record.lo(L.RIP)).toBe(0x1001);
    expect(machine.interpreter.executed).toBe(1);
  });
});
