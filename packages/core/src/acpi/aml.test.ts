// The AML encoder against bytes from the specification, and a reader of its own for lengths.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as aml from './aml.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = (value: string) => Buffer.from(value).toString('hex');

/** Reads a PkgLength as a guest does: the length and how many bytes it took. */
function readPackageLength(bytes: Uint8Array) {
  const [lead = 0] = bytes;
  const extra = lead >> 6;
  if (extra === 0) return { length: lead & 0x3f, used: 1 };
  let length = lead & 0xf;
  for (let i = 0; i < extra; i += 1) length |= (bytes[1 + i] ?? 0) << (4 + 8 * i);
  return { length, used: 1 + extra };
}

describe('names', () => {
  it('pads segments and marks roots, parents and paths', () => {
    expect(hex(aml.namePath('_HID'))).toBe(text('_HID'));
    expect(hex(aml.namePath('\\_S5'))).toBe(text('\\_S5_'));
    expect(hex(aml.namePath('^^FOO'))).toBe(text('^^FOO_'));
    expect(hex(aml.namePath('\\_SB.COM1'))).toBe(text('\\') + '2e' + text('_SB_COM1'));
    expect(hex(aml.namePath('A.B.C'))).toBe('2f03' + text('A___B___C___'));
    expect(hex(aml.namePath('\\'))).toBe('5c00');
  });

  it('refuses what is no name', () => {
    for (const bad of ['abcd', 'TOOLONG', '1ABC', 'A..B', 'A B', 'A\\B', '\u00c4']) {
      expect(() => aml.namePath(bad)).toThrow(/not a name/);
    }
  });
});

describe('data', () => {
  it('writes integers in their shortest form', () => {
    const cases: [number | bigint, string][] = [
      [0, '00'],
      [1, '01'],
      [2, '0a02'],
      [0xff, '0aff'],
      [0x100, '0b0001'],
      [0x10000, '0c00000100'],
      [0xffffffff, '0cffffffff'],
      [0x1_0000_0000n, '0e0000000001000000'],
      [2n ** 64n - 1n, '0effffffffffffffff'],
    ];
    for (const [value, bytes] of cases) expect(hex(aml.integer(value))).toBe(bytes);
    expect(() => aml.integer(-1)).toThrow(/not a u64/);
    expect(() => aml.integer(2n ** 64n)).toThrow(/not a u64/);
  });

  it('writes strings, buffers and packages', () => {
    expect(hex(aml.string('AB'))).toBe('0d414200');
    expect(() => aml.string('\u00fc')).toThrow(/ASCII/);
    expect(() => aml.string('a\0b')).toThrow(/ASCII/);
    expect(hex(aml.buffer(Uint8Array.of(1, 2, 3)))).toBe('11060a03010203');
    expect(hex(aml.pkg(aml.integer(5), aml.integer(0)))).toBe('1205020a0500');
    expect(() => aml.pkg(...new Array<aml.Aml>(256).fill(aml.integer(0)))).toThrow(/255/);
  });

  it('compresses EISA ids as the specification shows', () => {
    expect(hex(aml.eisaId('PNP0501'))).toBe('0c41d00501');
    expect(hex(aml.eisaId('PNP0A03'))).toBe('0c41d00a03');
    expect(hex(aml.hardwareId('LNRO0005'))).toBe('0d4c4e524f3030303500');
    expect(() => aml.eisaId('LNRO0005')).toThrow(/EISA/);
  });
});

describe('package length', () => {
  it('counts itself, in as few bytes as fit', () => {
    const lengths = [0, 1, 62, 63, 64, 4092, 4093, 4094, 5000, 0xffffc, 0xffffd, 0x100000];
    for (const length of lengths) {
      const bytes = aml.packageLength(new Uint8Array(length));
      const read = readPackageLength(bytes);
      expect(read.length).toBe(bytes.length);
      expect(read.used).toBe(bytes.length - length);
      const shorter = read.used - 1;
      const limits = [0, 0x3f, 0xfff, 0xfffff];
      if (shorter > 0) expect(length + shorter).toBeGreaterThan(limits[shorter] ?? 0);
    }
  });

  it('nests: every term ends where its parent says', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(300), { maxLength: 20 }), (sizes) => {
        const devices = sizes.map((size, index) =>
          aml.device(`D${String(index).padStart(3, '0')}`, aml.buffer(new Uint8Array(size))),
        );
        const bytes = aml.scope('\\_SB', ...devices);
        const outer = readPackageLength(bytes.subarray(1));
        expect(1 + outer.length).toBe(bytes.length);
        let at = 1 + outer.used + 5;
        for (const device of devices) {
          expect(hex(bytes.subarray(at, at + 2))).toBe('5b82');
          const inner = readPackageLength(bytes.subarray(at + 2));
          expect(2 + inner.length).toBe(device.length);
          at += device.length;
        }
        expect(at).toBe(bytes.length);
      }),
    );
  });
});
