// A capture: whole records, none of them behind the limit.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { pcapFile } from './pcap-file.js';

const HEADER = 24;
const RECORD = 16;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pcap-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

it('has every frame up to its limit, and says once that it ends', () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const path = join(folder, 'capture');
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 14, max: 300 }), { maxLength: 30 }),
      fc.option(fc.integer({ min: HEADER, max: 4000 }), { nil: undefined }),
      (lengths, limit) => {
        warned.mockClear();
        const capture = pcapFile(path, 0, limit === undefined ? {} : { limit });
        for (const [i, length] of lengths.entries()) {
          capture.frame(new Uint8Array(length).fill(i), i);
        }
        capture.close();
        let expected = HEADER;
        let kept = 0;
        for (const length of lengths) {
          if (expected + RECORD + length > (limit ?? Number.POSITIVE_INFINITY)) break;
          expected += RECORD + length;
          kept++;
        }
        expect(readFileSync(path).length).toBe(expected);
        expect(warned).toHaveBeenCalledTimes(kept < lengths.length ? 1 : 0);
      },
    ),
    { numRuns: 40 },
  );
});

it('refuses a limit without room for a header', () => {
  for (const limit of [0, HEADER - 1, Number.NaN]) {
    expect(() => pcapFile(join(folder, 'capture'), 0, { limit })).toThrow('no room for a header');
  }
});
