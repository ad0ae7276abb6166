/** String comparisons in the ways that C libraries use them. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { stringIndex, stringMask } from './string-compare.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from './vector-operation.js';

const view = new DataView(new ArrayBuffer(L.RECORD_SIZE));
const CF = 1;
const ZF = 0x40;
const SF = 0x80;

function prepare(
  a: string,
  b: string,
  immediate: number,
  lengths?: readonly [number, number],
): void {
  for (let i = 0; i < 16; i++) {
    view.setUint8(SLOW_DESTINATION + i, a.charCodeAt(i) || 0);
    view.setUint8(SLOW_SOURCE + i, b.charCodeAt(i) || 0);
  }
  view.setBigUint64(L.ARG0, BigInt(immediate), true);
  view.setBigInt64(L.ARG1, BigInt(lengths?.[0] ?? -1), true);
  view.setBigInt64(L.ARG2, BigInt(lengths?.[1] ?? -1), true);
  view.setBigUint64(L.ARG3, lengths === undefined ? 0n : 1n, true);
}

function index(...of: Parameters<typeof prepare>): [number, number] {
  prepare(...of);
  stringIndex(view);
  return [view.getUint32(L.ARG0, true), view.getUint32(L.ARG1, true)];
}

describe('string comparison', () => {
  it('finds the first character of a set', () => {
    expect(index('aeiou', 'rhythm and', 0x00)).toEqual([7, CF | ZF | SF]);
    expect(index('xyz', 'no such one', 0x00)).toEqual([16, ZF | SF]);
  });

  it('finds the first character outside ranges', () => {
    expect(index('az', 'letters 123', 0x14)[0]).toBe(7);
  });

  it('finds the first difference', () => {
    expect(index('same start', 'same end', 0x18)[0]).toBe(5);
    expect(index('sixteen letters!', 'sixteen letters!', 0x18)).toEqual([16, 0]);
  });

  it('finds a substring, also one that begins at the end', () => {
    expect(index('needle', 'the needle', 0x0c)[0]).toBe(4);
    expect(index('needle', 'a haystack w nee', 0x0c)[0]).toBe(13);
  });

  it('takes the last one when asked', () => {
    expect(index('a', 'banana', 0x40)[0]).toBe(5);
  });

  it('saturates stated lengths, negative ones too', () => {
    expect(index('b', 'aaaaaaaaaaaaaaab', 0, [-1, 1000])).toEqual([15, CF | SF]);
  });

  it('spreads the mask over elements', () => {
    prepare('n', 'banana', 0x40);
    stringMask(view);
    expect(view.getBigUint64(SLOW_RESULT, true)).toBe(0x00000000ff00ff0000n >> 0n);
    prepare('n', 'banana', 0);
    stringMask(view);
    expect(view.getBigUint64(SLOW_RESULT, true)).toBe(0b10100n);
  });
});
