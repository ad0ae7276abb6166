// C's layout, and access by name. tools/kernel-headers compares the packages' tables with C's.
import { describe, expect, test } from 'vitest';
import { offsetOf, StructView, struct } from './struct.js';

describe('structs', () => {
  const inner = struct('inner', { a: 'u8', b: 'u32' });
  const outer = struct('outer', { x: 'u16', y: [inner, 2], z: 'u64', w: 's32' });

  test('are laid out as C does', () => {
    expect(inner.size).toBe(8);
    expect(offsetOf(outer, 'y')).toBe(4);
    expect(offsetOf(outer, 'z')).toBe(24);
    expect(outer.size).toBe(40);
    expect(struct('packed', { a: 'u8', b: 'u32' }, { packed: true }).size).toBe(5);
    expect(() => offsetOf(outer, 'nothing')).toThrow('struct outer has no field nothing');
  });

  test('are read and written by name', () => {
    const nested = struct('nested', { head: 'u32', inner });
    const made = new StructView(nested).set('inner.b', 0xdeadbeef).set('head', -1);
    expect(made.get('inner.b')).toBe(0xdeadbeef);
    expect([...made.bytes.subarray(8)]).toEqual([0xef, 0xbe, 0xad, 0xde]);
    const wide = new StructView(outer).set('z', -2n).set('w', -5).set('x', 0x12345);
    expect(wide.get64('z')).toBe(2n ** 64n - 2n);
    expect(wide.get('w')).toBe(-5);
    expect(wide.get('x')).toBe(0x2345);
    expect(() => wide.get('inner.q')).toThrow('no field');
  });
});
