// Frames under keys against a model that enciphers and deciphers each access by itself.
import type { FrameCipher } from '@cloister/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameKeys } from './frame-keys.js';

const PAGE = 4096;
const FRAMES = 36;
const SIZE = FRAMES * PAGE;

/** Each byte by key, address and its neighbour: undone from the end to the beginning. */
const cipher: FrameCipher = {
  encrypt(tag, spa, frames) {
    for (let at = 0; at < frames.length; at++) {
      const before = at % 16 === 0 ? 0 : frames[at - 1]!;
      frames[at] = frames[at]! + before + tag * 31 + ((spa + at) >> 4);
    }
  },
  decrypt(tag, spa, frames) {
    for (let at = frames.length - 1; at >= 0; at--) {
      const before = at % 16 === 0 ? 0 : frames[at - 1]!;
      frames[at] = frames[at]! - before - tag * 31 - ((spa + at) >> 4);
    }
  },
};

/** Memory as it stands, and accesses to it under keys. */
class Model {
  readonly raw = new Uint8Array(SIZE);

  read(spa: number, length: number, tag: number): Uint8Array {
    const first = spa - (spa % PAGE);
    const pages = this.raw.slice(first, Math.ceil((spa + length) / PAGE) * PAGE);
    if (tag !== 0) cipher.decrypt(tag, first, pages);
    return pages.slice(spa - first, spa - first + length);
  }

  write(spa: number, source: Uint8Array, tag: number): void {
    const first = spa - (spa % PAGE);
    const pages = this.raw.slice(first, Math.ceil((spa + source.length) / PAGE) * PAGE);
    if (tag !== 0) cipher.decrypt(tag, first, pages);
    pages.set(source, spa - first);
    if (tag !== 0) cipher.encrypt(tag, first, pages);
    this.raw.set(pages, first);
  }
}

/** As `toEqual`, which takes its time with so many bytes. */
function expectSame(bytes: Uint8Array, expected: Uint8Array, what?: string): void {
  expect(Buffer.compare(bytes, expected), what).toBe(0);
}

function keyed(isUnused: (frame: number) => boolean = () => true) {
  const dropped: number[] = [];
  const keys = new FrameKeys(new Uint8Array(SIZE), (frame) => void dropped.push(frame), isUnused);
  keys.cipher = cipher;
  return { keys, dropped };
}

const access = fc.record({
  kind: fc.constantFrom('read', 'write', 'require', 'view', 'raw', 'release'),
  tag: fc.integer({ min: 0, max: 2 }),
  spa: fc.nat(SIZE - 1),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
});

test('every view is what the cipher says, whatever is deciphered with what', () => {
  fc.assert(
    fc.property(fc.array(access, { maxLength: 40 }), fc.nat(6), (accesses, rest) => {
      const { keys } = keyed((frame) => frame % 7 !== rest);
      const model = new Model();
      for (const { kind, tag, spa, bytes } of accesses) {
        const frame = Math.floor(spa / PAGE);
        const length = Math.min(bytes.length, SIZE - spa);
        const target = new Uint8Array(length);
        if (kind === 'read') {
          keys.read(spa, target, tag);
          expectSame(target, model.read(spa, length, tag));
        } else if (kind === 'write') {
          keys.write(spa, bytes.subarray(0, length), tag);
          model.write(spa, bytes.subarray(0, length), tag);
        } else if (kind === 'require') keys.require(frame, tag);
        else if (kind === 'view') {
          expectSame(keys.view(frame, tag), model.read(frame * PAGE, PAGE, tag));
        } else if (kind === 'raw') expectSame(keys.raw(), model.raw);
        else if (tag !== 0) keys.release(tag);
      }
      expectSame(keys.raw(), model.raw);
    }),
    { numRuns: 25 },
  );
});

test('unused neighbours are deciphered with a frame, up to sixteen', () => {
  const { keys, dropped } = keyed((frame) => frame !== 20);
  keys.require(23, 1);
  expect([...keys.tags].flatMap((tag, frame) => (tag === 1 ? [frame] : []))).toEqual([
    ...[21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31],
  ]);
  expect([keys.switches, dropped]).toEqual([11, [23]]);
});

test('a watch ends once, however many frames go over it', () => {
  const { keys } = keyed();
  let ends = 0;
  keys.watch(20, () => void ends++);
  for (const frame of [0, 16, 32]) keys.require(frame, 1);
  expect(ends).toBe(1);
});

describe('a frame that is owed', () => {
  const owing = () => {
    const { keys } = keyed();
    const model = new Model();
    const content = Uint8Array.of(1, 2, 3, 4);
    let stored = 0;
    const store = () => {
      stored++;
      keys.write(5 * PAGE, content, 1);
    };
    keys.write(5 * PAGE + 100, Uint8Array.of(9), 1);
    model.write(5 * PAGE + 100, Uint8Array.of(9), 1);
    keys.owe(5, 1, store);
    keys.owe(5, 1, store);
    model.write(5 * PAGE, content, 1);
    return { keys, model, count: () => stored };
  };

  test('is stored when its key goes', () => {
    const { keys, model, count } = owing();
    expect([keys.owes(5), count()]).toEqual([true, 0]);
    keys.release(1);
    expect([keys.owes(5), count()]).toEqual([false, 1]);
    expectSame(keys.raw(), model.raw);
  });

  test.each([0, 1, 2])('is stored before it is read or written under key %i', (tag) => {
    for (const look of ['read', 'write', 'replace', 'require', 'claim'] as const) {
      const { keys, model, count } = owing();
      const at = 5 * PAGE + 2;
      const page = new Uint8Array(PAGE).fill(7);
      if (look === 'read') {
        const target = new Uint8Array(4);
        keys.read(at, target, tag);
        expectSame(target, model.read(at, 4, tag));
      } else if (look === 'write') {
        keys.write(at, Uint8Array.of(8), tag);
        model.write(at, Uint8Array.of(8), tag);
      } else if (look === 'replace') {
        keys.replace(5, tag, page);
        model.write(5 * PAGE, page, tag);
      } else if (look === 'require') keys.require(5, tag);
      else {
        keys.claim(5, tag);
        keys.replace(5, tag, page);
        model.write(5 * PAGE, page, tag);
      }
      expect([keys.owes(5), count()], look).toEqual([false, 1]);
      expectSame(keys.raw(), model.raw, look);
    }
  });
});
