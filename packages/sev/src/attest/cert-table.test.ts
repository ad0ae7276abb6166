/**
 * The certificate table: what a host may have put there.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CertTableKind, encodeCertTable, parseCertTable } from './cert-table.js';

const entries = [
  { kind: 'vcek', data: Uint8Array.of(1, 2, 3) },
  { kind: 'ark', data: Uint8Array.of(4) },
] as const;

/** One entry of which the offset and the length are given. */
function table(offset: number, length: number, size = 64): Uint8Array {
  const bytes = encodeCertTable([{ kind: 'vcek', data: new Uint8Array(size - 48) }]);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, offset, true);
  view.setUint32(20, length, true);
  return bytes;
}

describe('a certificate table', () => {
  test('has its GUIDs in the order of RFC 4122', () => {
    const bytes = encodeCertTable(entries);
    expect([...bytes.subarray(0, 4)]).toEqual([0x63, 0xda, 0x75, 0x8d]);
    expect(parseCertTable(bytes).map(({ kind, data }) => ({ kind, data }))).toEqual(entries);
  });

  test('keeps entries that are not known here', () => {
    const bytes = encodeCertTable(entries);
    bytes[0] = 0;
    const [first] = parseCertTable(bytes);
    expect(first).toMatchObject({ guid: '00da758d-e664-4564-adc5-f4b93be8accd' });
    expect(first).not.toHaveProperty('kind');
  });

  test.each([
    ['an offset behind the end', 65, 0],
    ['a length behind the end', 48, 17],
    ['a sum that wraps in 32 bits', 0xfffffff0, 0x20],
    ['the largest of both', 0xffffffff, 0xffffffff],
    ['an offset among the entries', 24, 8],
  ])('with %s is refused', (_name, offset, length) => {
    expect(() => parseCertTable(table(offset, length))).toThrow(/certificate table/);
    expect(parseCertTable(table(48, 16))).toHaveLength(1);
  });

  test('without an end is refused', () => {
    expect(() => parseCertTable(new Uint8Array())).toThrow(/no end/);
    expect(() => parseCertTable(new Uint8Array(48).fill(1))).toThrow(/no end/);
    expect(() => parseCertTable(new Uint8Array(0x10000).fill(1))).toThrow(/no end/);
  });

  test('is read back as it was written', () => {
    const kinds: CertTableKind[] = ['vcek', 'vlek', 'ask', 'ark', 'crl', 'extra-platform-info'];
    const entry = fc.record({
      kind: fc.constantFrom(...kinds),
      data: fc.uint8Array({ maxLength: 40 }),
    });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 8 }), (list) => {
        const read = parseCertTable(encodeCertTable(list));
        expect(read.map(({ kind, data }) => ({ kind, data: [...data] }))).toEqual(
          list.map(({ kind, data }) => ({ kind, data: [...data] })),
        );
      }),
    );
  });
});
