// Files of saved VMs: what is written reads back; damage is a bad file, never another exception.
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isVmmError, type Snapshot, type SnapshotValue } from '../interfaces/index.js';
import { decodeSnapshot, encodeSnapshot } from './snapshot-file.js';

const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter((each) => !Object.is(each, -0)),
    fc.string({ unit: 'binary' }),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(
      fc.string().filter((key) => key !== '$bytes' && key !== '__proto__'),
      tie('value'),
      { maxKeys: 4, noNullPrototype: true },
    ),
  ),
}));

const snapshot = fc.record({
  type: fc.string(),
  version: fc.nat(),
  state: value as fc.Arbitrary<SnapshotValue>,
});

async function outcome(file: Uint8Array): Promise<string> {
  try {
    await decodeSnapshot(file);
    return 'read';
  } catch (error) {
    return isVmmError(error) ? error.code : String(error);
  }
}

describe('a file of a saved VM', () => {
  test('reads back as it was written', async () => {
    await fc.assert(
      fc.asyncProperty(snapshot, async (each) => {
        expect(await decodeSnapshot(await encodeSnapshot(each))).toEqual(each);
      }),
    );
  });

  test('holds big memory in pieces', async () => {
    const big = new Uint8Array(5 * 2 ** 20 + 3).map((_, i) => i * i);
    const file = await encodeSnapshot({ type: 'x', version: 1, state: { big, end: 1 } });
    const back = (await decodeSnapshot(file)).state as { big: Uint8Array; end: number };
    expect(Buffer.compare(back.big, big)).toBe(0);
    expect(back.end).toBe(1);
  });

  test('that is cut off or changed is refused, or changed in nothing that counts', async () => {
    const good: Snapshot = {
      type: 'cloister-vm',
      version: 1,
      state: { list: [1, 'two', Uint8Array.of(1, 2, 3)], memory: new Uint8Array(300).fill(7) },
    };
    const file = await encodeSnapshot(good);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(file.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, flip) => {
          expect(await outcome(file.slice(0, at))).toBe('invalid-file');
          const changed = file.slice();
          changed[at]! ^= flip;
          // Some bits of a gzip stream say nothing of the data: then it is the same data.
          if ((await outcome(changed)) === 'read')
            expect(await decodeSnapshot(changed)).toEqual(good);
          else expect(await outcome(changed)).toBe('invalid-file');
        },
      ),
      { numRuns: 300 },
    );
  });

  test('of anything else inside a good gzip stream is refused too', async () => {
    const inside = gunzipSync(await encodeSnapshot({ type: 'a', version: 1, state: { b: 'c' } }));
    const repacked = (edit: (bytes: Uint8Array) => Uint8Array) => outcome(gzipSync(edit(inside)));
    expect(await repacked((bytes) => bytes)).toBe('read');
    await fc.assert(
      fc.asyncProperty(fc.nat(inside.length - 1), fc.nat(255), async (at, byte) => {
        const result = await repacked((bytes) => {
          const changed = new Uint8Array(bytes);
          changed[at] = byte;
          return changed;
        });
        expect(['read', 'invalid-file']).toContain(result);
      }),
    );
    expect(await repacked((bytes) => bytes.subarray(0, 17))).toBe('invalid-file');
    expect(await repacked((bytes) => Buffer.concat([bytes, bytes]))).toBe('invalid-file');
    const text = (json: string) =>
      repacked((bytes) => {
        const head = new Uint8Array(bytes.subarray(0, 20));
        new DataView(head.buffer).setUint32(16, json.length, true);
        return Buffer.concat([head, Buffer.from(json)]);
      });
    expect(await text('{"type":"a","version":1,"state":{"$bytes":-1}}')).toBe('invalid-file');
    expect(await text('{"type":"a","version":1,"state":{"$bytes":99999999999}}')).toBe(
      'invalid-file',
    );
    expect(await text('{"type":"a"}')).toBe('invalid-file');
    expect(await text('null')).toBe('invalid-file');
    expect(await outcome(new Uint8Array(0))).toBe('invalid-file');
  });

  test('does not unpack without end', async () => {
    const bomb = gzipSync(new Uint8Array(50 * 2 ** 20));
    await expect(decodeSnapshot(bomb, { maxBytes: 2 ** 20 })).rejects.toThrow(
      'it holds more than 1048576 bytes',
    );
  });

  test('cannot hold what JSON cannot', async () => {
    const bad = (state: unknown) =>
      encodeSnapshot({ type: 'x', version: 1, state: state as SnapshotValue });
    await expect(bad({ a: Number.NaN })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(bad({ a: Number.POSITIVE_INFINITY })).rejects.toThrow('the number Infinity');
    await expect(bad({ a: { $bytes: 3 } })).rejects.toThrow('a field $bytes');
  });
});
