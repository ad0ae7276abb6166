// The ELF reader on whole, damaged and random files.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmmError } from '../interfaces/error.js';
import { parseElf } from './elf.js';
import { elf, pvhKernel } from './synthetic-kernels.js';

const code = Uint8Array.of(1, 2, 3, 4, 5);

function patched(file: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = file.slice();
  copy.set(bytes, at);
  return copy;
}

describe('parseElf', () => {
  it.each([32 as const, 64 as const])('reads segments and notes of %i-bit files', (bits) => {
    const file = elf({
      bits,
      entry: 0x100004n,
      segments: [
        { paddr: 0x100000, vaddr: 0x80100000n, bytes: code, memorySize: 0x1000 },
        { paddr: 0x200000, bytes: new Uint8Array(0), memorySize: 0 },
        { paddr: 0x300000, bytes: new Uint8Array(0), memorySize: 64, flags: 6 },
      ],
      notes: [
        { name: 'GNU', type: 3, description: Uint8Array.of(9, 9, 9) },
        { name: 'Xen', type: 18, description: Uint8Array.of(1, 2, 3, 4) },
      ],
    });
    const parsed = parseElf(file);
    expect(parsed.bits).toBe(bits);
    expect(parsed.entry).toBe(0x100004n);
    expect(parsed.segments).toEqual([
      { vaddr: 0x80100000n, paddr: 0x100000, bytes: code, memorySize: 0x1000, flags: 5 },
      { vaddr: 0x300000n, paddr: 0x300000, bytes: new Uint8Array(0), memorySize: 64, flags: 6 },
    ]);
    expect(parsed.notes).toEqual([
      { name: 'GNU', type: 3, description: Uint8Array.of(9, 9, 9) },
      { name: 'Xen', type: 18, description: Uint8Array.of(1, 2, 3, 4) },
    ]);
  });

  it('reads a file that lies at an odd offset of its buffer', () => {
    const file = pvhKernel();
    const shifted = new Uint8Array(file.length + 3);
    shifted.set(file, 3);
    expect(parseElf(shifted.subarray(3))).toEqual(parseElf(file));
  });

  it('names what is wrong', () => {
    const whole = elf({ segments: [{ paddr: 0x100000, bytes: code }] });
    const refuse = (file: Uint8Array) => () => parseElf(file);
    expect(refuse(code)).toThrow(/no magic/);
    expect(refuse(patched(whole, 4, 3))).toThrow(/class 3/);
    expect(refuse(patched(whole, 5, 2))).toThrow(/little-endian/);
    expect(refuse(whole.subarray(0, 60))).toThrow(/truncated within its header/);
    expect(refuse(whole.subarray(0, 100))).toThrow(/program headers lie beyond/);
    expect(refuse(whole.subarray(0, whole.length - 1))).toThrow(/truncated: segment 0/);
    expect(refuse(patched(whole, 54, 32))).toThrow(/32 bytes can't be/);
    expect(refuse(patched(whole, 56, 0))).toThrow(/no program headers/);
    expect(refuse(patched(whole, 56, 0xff, 0xff))).toThrow(/can't be/);
    expect(refuse(patched(whole, 64 + 40, 1))).toThrow(/more bytes in the file than in memory/);
    expect(refuse(patched(whole, 64 + 31, 0x80))).toThrow(/beyond any memory/);
    expect(refuse(patched(whole, 64 + 47, 0x80))).toThrow(/beyond any memory/);
    expect(refuse(patched(whole, 64 + 15, 0x80))).toThrow(/truncated: segment 0/);
  });

  it('refuses notes that exceed their segment', () => {
    const file = pvhKernel();
    const at = file.length - 16 - 4; // the size fields of the last note
    const view = new DataView(file.buffer, at);
    expect(view.getUint32(0, true)).toBe(4);
    expect(() => parseElf(patched(file, at + 4, 0xff, 0xff, 0xff, 0xff))).toThrow(/a note of type/);
    expect(() => parseElf(patched(file, at, 0xff, 0xff, 0xff, 0xff))).toThrow(/a note of type/);
  });

  it('throws nothing but VmmError on damaged and random files', () => {
    const damage = fc.array(fc.tuple(fc.nat(0x120), fc.nat(255)), { maxLength: 6 });
    const parse = (file: Uint8Array) => {
      try {
        parseElf(file);
      } catch (error) {
        expect(error).toBeInstanceOf(VmmError);
      }
    };
    fc.assert(
      fc.property(damage, fc.nat(700), (bytes, length) => {
        const file = pvhKernel();
        for (const [at, value] of bytes) file[at] = value;
        parse(file);
        parse(file.subarray(0, length));
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
        parse(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, (tail[0] ?? 0) & 3, 1, ...tail));
      }),
    );
  });
});
