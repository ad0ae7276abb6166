/** The decoder: known encodings, and any bytes at all. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { MODE_16, MODE_32, MODE_64, MODE_SEGMENTED } from '../cpu/mode.js';
import '../isa/index.js';
import * as R from '../isa/op-record.js';
import { DECODED, Decoder, TRUNCATED } from './decoder.js';
import { MAX_LENGTH } from './instruction-bytes.js';

const decoder = new Decoder();

function decode(text: string, mode = MODE_64) {
  const bytes = new Uint8Array(text.split(' ').map((byte) => Number.parseInt(byte, 16)));
  expect(decoder.decode(bytes, 0, bytes.length, mode)).toBe(DECODED);
  expect(decoder.out.length).toBe(bytes.length);
  return decoder.out;
}

describe('Decoder', () => {
  it('reads operand sizes from prefixes and mode', () => {
    expect(decode('01 c8').info.key).toBe('ADD.32 r32,r32');
    expect(decode('66 01 c8').info.key).toBe('ADD.16 r16,r16');
    expect(decode('48 01 c8').info.key).toBe('ADD.64 r64,r64');
    expect(decode('01 c8', MODE_16).info.key).toBe('ADD.16 r16,r16');
    expect(decode('66 01 c8', MODE_16).info.key).toBe('ADD.32 r32,r32');
    expect(decode('50').info.key).toBe('PUSH.64 r64');
    expect(decode('50', MODE_32).info.key).toBe('PUSH.32L r32');
  });

  it('knows what 64-bit operands make of two instructions', () => {
    expect(decode('0f c7 0b').info.form.mnemonic).toBe('CMPXCHG8B');
    expect(decode('48 0f c7 0b').info.form.mnemonic).toBe('CMPXCHG16B');
    expect(decode('48 b8 00 00 00 00 00 00 00 80').displacementHi).toBe(-0x80000000);
  });

  it('cuts near branches to 16 bits after 66; takes F3 90 for PAUSE whatever REX.B says', () => {
    expect(decode('66 e9 34 12').info.key).toBe('JMP.16 j16');
    expect(decode('66 48 e9 78 56 34 12').info.key).toBe('JMP.64 j64');
    expect(decode('66 ff 17').info.key).toBe('CALLI.16 m16');
    expect(decode('f3 41 90').info.form.mnemonic).toBe('PAUSE');
    expect(decode('41 90').info.form.mnemonic).toBe('XCHG');
  });

  it('knows the mandatory prefixes of group 15, and the control registers there are', () => {
    expect(decode('0f ae 38').info.form.mnemonic).toBe('CLFLUSH');
    expect(decode('66 0f ae 38').info.form.mnemonic).toBe('CLFLUSHOPT');
    expect(decode('66 0f ae 30').info.form.mnemonic).toBe('CLWB');
    expect(decode('0f 20 c0').info.form.mnemonic).toBe('MOVFROMCR');
    for (const text of ['0f 20 c8', '0f 22 e8', 'f3 0f ae 10']) {
      expect(decode(text).info.form.mnemonic).toBe('UD');
    }
  });

  it('knows high bytes from the low bytes that REX names', () => {
    expect(decode('88 e0').registers[1]).toBe(L.GPR + 1);
    expect(decode('40 88 e0').registers[1]).toBe(L.gprOffset(4));
  });

  it('finds base, index, scale and displacement', () => {
    const out = decode('4a 8b 84 a3 78 56 34 12');
    expect(out.base).toBe(L.gprOffset(3));
    expect(out.index).toBe(L.gprOffset(12));
    expect([out.scale, out.displacementLo, out.displacementHi]).toEqual([2, 0x12345678, 0]);
    expect(decode('8b 05 fc ff ff ff').relative).toBe(true);
    expect(decode('8b 44 24 f8').displacementHi).toBe(-1);
  });

  it('takes the stack segment for BP and SP, and overrides', () => {
    const segmented = MODE_16 | MODE_SEGMENTED;
    expect(decode('8b 46 02', segmented).segment).toBe(L.segmentOffset(L.SEG.ss));
    expect(decode('26 8b 46 02', segmented).segment).toBe(L.segmentOffset(L.SEG.es));
    expect(decode('65 8b 00').ea & R.EA_SEGMENT).toBe(R.EA_SEGMENT);
    expect(decode('2e 8b 00').ea & R.EA_SEGMENT).toBe(0);
  });

  it('refuses LOCK where it means nothing', () => {
    expect(decode('f0 0f b1 13').info.form.mnemonic).toBe('CMPXCHG');
    expect(decode('f0 01 c8').info.form.mnemonic).toBe('UD');
    expect(decode('f0 8b 00').info.form.mnemonic).toBe('UD');
  });

  it('says when the bytes end too early, and when there are too many', () => {
    const short = new Uint8Array([0x48, 0x8b, 0x84]);
    expect(decoder.decode(short, 0, 3, MODE_64)).toBe(TRUNCATED);
    const long = new Uint8Array(32).fill(0x66);
    expect(decoder.decode(long, 0, 32, MODE_64)).toBe(DECODED);
    expect(decoder.out.info.form.mnemonic).toBe('TOOLONG');
  });

  it('takes any bytes in any mode', () => {
    const modes = fc.constantFrom(
      MODE_16,
      MODE_16 | MODE_SEGMENTED,
      MODE_32,
      MODE_32 | MODE_SEGMENTED,
      MODE_64,
    );
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 24 });
    fc.assert(
      fc.property(bytes, modes, (code, mode) => {
        const status = decoder.decode(code, 0, code.length, mode);
        expect([DECODED, TRUNCATED]).toContain(status);
        if (status === TRUNCATED) {
          expect(code.length).toBeLessThan(MAX_LENGTH);
          return;
        }
        const { length, registers, base, index, segment } = decoder.out;
        expect(length).toBeGreaterThan(0);
        expect(length).toBeLessThanOrEqual(Math.min(MAX_LENGTH, code.length));
        // In the second place x87 instructions have their opcode.
        const offsets = [registers[0], registers[2], base, index, segment];
        for (const offset of offsets) {
          expect(offset).toBeLessThan(L.RECORD_SIZE);
        }
      }),
      { numRuns: 5000 },
    );
  });
});
