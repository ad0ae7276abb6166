// The decoder against what the lz4 tool writes, against an encoder of random sequences, and
// against damage.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decompressLz4Legacy, isLz4Legacy } from './lz4-legacy.mjs';

const FOX = 'the quick brown fox; the quick brown fox; the quick brown fox jumps ';
const TEXT = `${FOX}${'a'.repeat(80)} over`;
/** `lz4 -l` of TEXT. */
const PACKED = Buffer.from(
  'AiFMGCwAAAD/BnRoZSBxdWljayBicm93biBmb3g7IBUAFY8ganVtcHMgYQEAPFAgb3Zlcg==',
  'base64',
);
const MAX = 1 << 24;

const u32 = (value: number) => Buffer.from(new Uint32Array([value]).buffer);
const frame = (...blocks: Buffer[]) =>
  Buffer.concat([u32(0x184c2102), ...blocks.flatMap((block) => [u32(block.length), block])]);

test('reads what the lz4 tool writes', () => {
  expect(isLz4Legacy(PACKED)).toBe(true);
  expect(decompressLz4Legacy(PACKED, MAX).toString()).toBe(TEXT);
});

test('joins blocks, and frames one after the other', () => {
  const twice = Buffer.concat([PACKED, PACKED]);
  expect(decompressLz4Legacy(twice, MAX).toString()).toBe(TEXT + TEXT);
});

/** A length as a nibble and the bytes that go on from it. */
function length(value: number): [nibble: number, more: number[]] {
  if (value < 15) return [value, []];
  const rest = value - 15;
  return [15, [...Array(Math.floor(rest / 255)).fill(255), rest % 255]];
}

type Sequence = { literals: Uint8Array; distance: number; match: number };

/** Encodes sequences and says what they mean, byte by byte. */
function encode(sequences: Sequence[]) {
  const packed: number[] = [];
  const plain: number[] = [];
  for (const { literals, distance, match } of sequences) {
    const [high, moreLiterals] = length(literals.length);
    const [low, moreMatch] = length(match - 4);
    plain.push(...literals);
    const back = 1 + (distance % plain.length);
    packed.push((high << 4) | low, ...moreLiterals, ...literals, back & 255, back >> 8);
    packed.push(...moreMatch);
    for (let i = 0; i < match; i++) plain.push(plain[plain.length - back]!);
  }
  packed.push(0x10, 0x21);
  plain.push(0x21);
  return { packed: frame(Buffer.from(packed)), plain: Buffer.from(plain) };
}

test('gives what any sequences of literals and matches mean', () => {
  const sequence = fc.record({
    literals: fc.uint8Array({ minLength: 1, maxLength: 600 }),
    distance: fc.nat(60_000),
    match: fc.integer({ min: 4, max: 700 }),
  });
  fc.assert(
    fc.property(fc.array(sequence, { maxLength: 12 }), (sequences) => {
      const { packed, plain } = encode(sequences);
      expect(decompressLz4Legacy(packed, MAX).equals(plain)).toBe(true);
    }),
    { numRuns: 100 },
  );
});

test.each([
  ['a block length', frame(Buffer.from([0x10, 0x21])).subarray(0, 6)],
  ['a block', frame(Buffer.from([0x20, 0x21, 0x21])).subarray(0, 9)],
  ['literals', frame(Buffer.from([0x20, 0x21]))],
  ['a length', frame(Buffer.from([0xf0, 0xff]))],
  ['an offset', frame(Buffer.from([0x10, 0x21, 0x01]))],
])('refuses a frame that ends inside %s', (what, bytes) => {
  expect(() => decompressLz4Legacy(bytes, MAX)).toThrow(`inside ${what}`);
});

test('refuses other bytes, a match from nowhere, and more than was allowed', () => {
  expect(() => decompressLz4Legacy(Buffer.from('gzip'), MAX)).toThrow('not an LZ4');
  const wild = frame(Buffer.from([0x10, 0x21, 0x02, 0x00]));
  expect(() => decompressLz4Legacy(wild, MAX)).toThrow('before the block');
  expect(() => decompressLz4Legacy(PACKED, 100)).toThrow('more than 100 bytes');
});

test('refuses a block that grows beyond 8 MiB', () => {
  const literals = Buffer.from([0x1f, 0x21, 0x01, 0x00]);
  const bomb = Buffer.concat([literals, Buffer.alloc(40_000, 255), Buffer.from([0])]);
  expect(() => decompressLz4Legacy(frame(bomb), MAX)).toThrow('larger than 8 MiB');
});

test('random bytes give an error or some output, never a hang', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        const output = decompressLz4Legacy(frame(Buffer.from(bytes)), MAX);
        expect(output.length).toBeLessThanOrEqual(8 << 20);
      } catch (error) {
        expect((error as Error).message).toMatch(/^LZ4/);
      }
    }),
    { numRuns: 300 },
  );
});
