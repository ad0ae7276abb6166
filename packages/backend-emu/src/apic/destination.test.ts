/** Destinations against a direct reading of the manuals' tables. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { logicalIdX2, matchesX, matchesX2 } from './destination.js';

const FLAT = 0xffffffff;
const CLUSTER = 0x0fffffff;
const byte = fc.nat(255);

describe('xAPIC destinations', () => {
  it('name one ID, or all by 0xff', () => {
    fc.assert(
      fc.property(byte, byte, byte, (id, ldr, destination) => {
        const state = { xapicId: id, ldr: (ldr << 24) >>> 0, dfr: FLAT };
        expect(matchesX(state, destination, false)).toBe(destination === id || destination === 255);
      }),
    );
  });

  it('name any of eight members, or any of four in one of fifteen clusters', () => {
    fc.assert(
      fc.property(byte, byte, (ldr, destination) => {
        const state = (dfr: number) => ({ xapicId: 1, ldr: (ldr << 24) >>> 0, dfr });
        const bits = (value: number) => value.toString(2).padStart(8, '0').split('');
        const shared = (from: number) =>
          bits(ldr).some((bit, at) => at >= from && bit === '1' && bits(destination)[at] === '1');
        const all = destination === 255;
        expect(matchesX(state(FLAT), destination, true)).toBe(all || shared(0));
        const cluster = ldr >> 4 === destination >> 4;
        expect(matchesX(state(CLUSTER), destination, true)).toBe(all || (cluster && shared(4)));
      }),
    );
  });
});

describe('x2APIC destinations', () => {
  it('name one ID, all, or members of a cluster of sixteen', () => {
    const id = fc.nat(4095);
    fc.assert(
      fc.property(id, id, fc.nat(65535), (own, other, members) => {
        expect(matchesX2(own, other, false)).toBe(own === other);
        const destination = ((other >> 4) * 65536 + members) >>> 0;
        const member = Math.floor(members / 2 ** (own % 16)) % 2 === 1;
        expect(matchesX2(own, destination, true)).toBe(own >> 4 === other >> 4 && member);
        expect(matchesX2(own, 0xffffffff, false)).toBe(true);
        expect(matchesX2(own, 0xffffffff, true)).toBe(true);
        expect(matchesX2(own, logicalIdX2(own), true)).toBe(true);
        expect(matchesX2(other, logicalIdX2(own), true)).toBe(own === other);
      }),
    );
  });
});
