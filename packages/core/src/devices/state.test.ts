/** Checked reading of snapshots. */
import { describe, expect, it } from 'vitest';
import * as state from './state.js';

const format: state.StateFormat<{
  count: number;
  on: boolean;
  at: number | null;
  data: Uint8Array;
  list: number[];
}> = {
  type: 'part',
  version: 3,
  field: state.record({
    count: state.u8,
    on: state.bool,
    at: state.optional(state.time),
    data: state.bytes(4),
    list: state.list(state.u16, 2),
  }),
};

const good = { count: 255, on: true, at: null, data: Uint8Array.of(1), list: [1, 0xffff] };

describe('loadState', () => {
  it('copies what fits', () => {
    const loaded = state.loadState(format, { type: 'part', version: 3, state: good });
    expect(loaded).toEqual(good);
    loaded.data[0] = 9;
    loaded.list[0] = 9;
    expect([good.data[0], good.list[0]]).toEqual([1, 1]);
  });

  it.each([
    ['part.count', { ...good, count: 256 }],
    ['part.count', { ...good, count: -1 }],
    ['part.count', { ...good, count: 1.5 }],
    ['part.count', { ...good, count: '1' }],
    ['part.on', { ...good, on: 1 }],
    ['part.at', { ...good, at: undefined }],
    ['part.at', { ...good, at: Number.POSITIVE_INFINITY }],
    ['part.data', { ...good, data: new Uint8Array(5) }],
    ['part.data', { ...good, data: [1] }],
    ['part.list', { ...good, list: [1] }],
    ['part.list', { ...good, list: { 0: 1, 1: 2, length: 2 } }],
    ['part.list[1]', { ...good, list: [1, 65536] }],
    ['part.other', { ...good, other: 1 }],
    ['part', null],
    ['part', [good]],
  ])('names %s in its refusal', (path, damaged) => {
    const snapshot = { type: 'part', version: 3, state: damaged as never };
    expect(() => state.loadState(format, snapshot)).toThrow(
      expect.objectContaining({ code: 'snapshot-mismatch', path }),
    );
  });

  it('refuses another type or version, naming both', () => {
    for (const [type, version] of [
      ['part', 2],
      ['other', 3],
    ] as const) {
      expect(() => state.loadState(format, { type, version, state: good })).toThrow(
        `expected a snapshot part version 3, got ${type} version ${version}`,
      );
    }
  });
});

describe('saveState', () => {
  it('copies, and refuses a state outside its description at once', () => {
    const saved = state.saveState(format, good);
    expect(saved).toEqual({ type: 'part', version: 3, state: good });
    expect((saved.state as typeof good).data).not.toBe(good.data);
    expect(() => state.saveState(format, { ...good, count: 300 })).toThrow();
  });
});

it('bounds lists and exact bytes', () => {
  const few = state.listUpTo(state.u8, 2);
  expect(few([], 'x')).toEqual([]);
  expect(() => few([1, 2, 3], 'x')).toThrow('at most 2');
  const exact = state.bytes(2, true);
  expect(exact(Uint8Array.of(1, 2), 'x')).toHaveLength(2);
  expect(() => exact(Uint8Array.of(1), 'x')).toThrow('2 bytes');
});
