/** Lazy flags against their definition, bit by bit. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FLAG_AF,
  FLAG_CF,
  FLAG_OF,
  FLAG_PF,
  FLAG_SF,
  FLAG_ZF,
  FLAGS_ALL,
  FLAGS_STATUS,
} from './flags.js';
import * as L from './layout.js';
import { CpuRecord } from './record.js';

const newRecord = () => new CpuRecord(new ArrayBuffer(L.CPU_STRIDE), 0);
const BITS = [FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF];

describe('lazy flags', () => {
  it('hold all 64 combinations exactly', () => {
    const record = newRecord();
    for (let combination = 0; combination < 64; combination++) {
      const image = BITS.reduce((sum, bit, i) => sum | ((combination >> i) & 1 ? bit : 0), 0);
      record.setEflags(image, FLAGS_STATUS);
      expect(record.eflags()).toBe(image | 2);
    }
  });

  it('change only what the mask names', () => {
    const record = newRecord();
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer(), (before, image, mask) => {
        record.setEflags(before);
        expect(record.eflags()).toBe((before & FLAGS_ALL) | 2);
        record.setEflags(image, mask);
        expect(record.eflags()).toBe((((before & ~mask) | (image & mask)) & FLAGS_ALL) | 2);
      }),
    );
  });

  it('follow a result, a carry vector and an adjustment', () => {
    const record = newRecord();
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(3), (result, top) => {
        record.setU64(L.FLAG_RES, result);
        record.setU64(L.FLAG_CV, BigInt(top) << 62n);
        record.setU64(L.FLAG_ADJ, 0n);
        const flags = record.eflags();
        const ones = (result & 0xffn).toString(2).replaceAll('0', '').length;
        expect((flags & FLAG_ZF) !== 0).toBe(result === 0n);
        expect((flags & FLAG_SF) !== 0).toBe(result >> 63n === 1n);
        expect((flags & FLAG_PF) !== 0).toBe(ones % 2 === 0);
        expect((flags & FLAG_CF) !== 0).toBe(top >= 2);
        expect((flags & FLAG_OF) !== 0).toBe(top === 1 || top === 2);
      }),
    );
  });
});
