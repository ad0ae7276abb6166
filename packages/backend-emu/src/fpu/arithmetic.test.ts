/** Exact arithmetic against the host's doubles and floats; rounding modes among themselves. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { add, divide, multiply, rounded, squareRoot } from './arithmetic.js';
import {
  DOUBLE,
  DOWN,
  EXTENDED,
  type Format,
  NEAREST,
  newRounding,
  OE,
  PE,
  pack32,
  pack64,
  pack80,
  type Real,
  type Rounding,
  SINGLE,
  TRUNCATE,
  UE,
  UP,
  unpack32,
  unpack64,
  unpack80,
} from './real.js';

const view = new DataView(new ArrayBuffer(8));
const doubleOf = (bits: bigint): number => {
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
};
const bitsOf = (value: number): bigint => {
  view.setFloat64(0, value);
  return view.getBigUint64(0);
};
const floatOf = (bits: number): number => {
  view.setUint32(0, bits);
  return view.getFloat32(0);
};

/** Doubles with exponents near each other and near the ends more often than by chance. */
const doubles = fc
  .record({
    negative: fc.boolean(),
    exponent: fc.oneof(fc.integer({ min: 0, max: 2046 }), fc.integer({ min: 1000, max: 1046 })),
    fraction: fc.oneof(
      fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }),
      fc.integer({ min: 0, max: 52 }).map((bit) => 1n << BigInt(bit)),
      fc.constantFrom(0n, 1n, (1n << 52n) - 1n),
    ),
  })
  .map(({ negative, exponent, fraction }) => {
    const bits = (BigInt(exponent) << 52n) | (fraction & ((1n << 52n) - 1n));
    return negative ? bits | (1n << 63n) : bits;
  });

type Operation = (a: Real, b: Real, format: Format, rounding: Rounding) => Real;
const OPERATIONS: readonly [string, Operation, (a: number, b: number) => number][] = [
  ['addition', add, (a, b) => a + b],
  ['multiplication', multiply, (a, b) => a * b],
  ['division', divide, (a, b) => a / b],
  [
    'square root',
    (a, _b, format, rounding) => squareRoot(a, format, rounding),
    (a) => Math.sqrt(a),
  ],
];

describe('arithmetic', () => {
  for (const [name, operation, native] of OPERATIONS) {
    it(`does ${name} of doubles like the host`, () => {
      fc.assert(
        fc.property(doubles, doubles, (a, b) => {
          const expected = native(doubleOf(a), doubleOf(b));
          fc.pre(!Number.isNaN(expected));
          const rounding = newRounding(NEAREST, 0x3f);
          const result = operation(unpack64(a), unpack64(b), DOUBLE, rounding);
          expect(pack64(result)).toBe(bitsOf(expected));
          if (Number.isFinite(doubleOf(b)) && doubleOf(b) !== 0) {
            const overflows = !Number.isFinite(expected);
            expect((rounding.flags & OE) !== 0).toBe(overflows);
          }
        }),
        { numRuns: 400 },
      );
    });

    it(`does ${name} of floats like the host`, () => {
      const floats = fc.integer({ min: 0, max: 0x7f7fffff });
      fc.assert(
        fc.property(floats, floats, fc.boolean(), (a, b, negate) => {
          const second = negate ? (b | 0x80000000) >>> 0 : b;
          const expected = Math.fround(native(floatOf(a), floatOf(second)));
          fc.pre(!Number.isNaN(expected));
          const rounding = newRounding(NEAREST, 0x3f);
          const result = operation(unpack32(a), unpack32(second), SINGLE, rounding);
          view.setFloat32(0, expected);
          expect(pack32(result)).toBe(view.getUint32(0));
        }),
        { numRuns: 300 },
      );
    });

    it(`encloses ${name} between the directed modes`, () => {
      fc.assert(
        fc.property(doubles, doubles, (a, b) => {
          fc.pre(!Number.isNaN(native(doubleOf(a), doubleOf(b))));
          const by = (mode: number): [number, number] => {
            const rounding = newRounding(mode, 0x3f);
            const result = operation(unpack64(a), unpack64(b), DOUBLE, rounding);
            return [doubleOf(pack64(result)), rounding.flags];
          };
          const [down, flags] = by(DOWN);
          const [up] = by(UP);
          const [nearest] = by(NEAREST);
          const [cut] = by(TRUNCATE);
          expect(down <= up).toBe(true);
          expect(nearest === down || nearest === up).toBe(true);
          expect(cut === (cut < 0 ? up : down) || cut === 0).toBe(true);
          expect(down === up).toBe((flags & PE) === 0);
        }),
        { numRuns: 200 },
      );
    });
  }

  it('keeps the bits of every format', () => {
    fc.assert(
      fc.property(doubles, fc.integer({ min: 0, max: 0x7f7fffff }), (bits, single) => {
        expect(pack64(unpack64(bits))).toBe(bits);
        expect(pack32(unpack32(single))).toBe(single);
        const wide = pack80(unpack64(bits));
        const back = rounded(
          unpack80(wide.mantissa, wide.signExponent),
          DOUBLE,
          newRounding(0, 63),
        );
        expect(pack64(back)).toBe(bits);
      }),
      { numRuns: 300 },
    );
  });

  it('tells tiny results after rounding', () => {
    // (1 - 2^-53) * 2^-1022 rounds up to the least normal double: not tiny with 53 bits.
    const below = unpack80(0xfffffffffffff800n, 16383 - 1023);
    const rounding = newRounding(NEAREST, 0x3f);
    expect(pack64(rounded(below, DOUBLE, rounding))).toBe(1n << 52n);
    expect(rounding.flags).toBe(UE | PE);
    const nearer = unpack80(0xfffffffffffffc00n, 16383 - 1023);
    const second = newRounding(NEAREST, 0x3f);
    expect(pack64(rounded(nearer, DOUBLE, second))).toBe(1n << 52n);
    expect(second.flags).toBe(PE);
  });

  it('wraps the exponent of an unmasked overflow', () => {
    const large = unpack80(1n << 63n, 0x7ffe);
    const rounding = newRounding(NEAREST, 0x3f & ~OE);
    rounding.wrap = 24576;
    const result = pack80(multiply(large, large, EXTENDED, rounding));
    expect(rounding.flags).toBe(OE);
    expect(result).toEqual({ mantissa: 1n << 63n, signExponent: 2 * 0x7ffe - 0x3fff - 24576 });
  });
});
