// Frames under keys against a model that enciphers and deciphers each access by itself.
import type { FrameCipher } from '@cloister/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameKeys } from './frame-keys.js';

const PAGE = 4096;
const FRAMES = 36;
const SIZE = FRAMES * PAGE;

/**
 * Each byte by key, address in two pages and its neighbour: undone from the end to the beginning.
 */
const cipher: FrameCipher = {
  encrypt(tag, spa, frames) {
    for (let at = 0; at < frames.length; at++) {
      const before = at % 16 === 0 ? 0 : frames[at - 1]!;
      frames[at] = frames[at]! + before + tag * 31 + ((spa + at) >> 5);
    }
  },
  decrypt(tag, spa, frames) {
    for (let at = frames.length - 1; at >= 0; at--) {
      const before = at % 16 === 0 ? 0 : frames[at - 1]!;
      frames[at] = frames[at]! - before - tag * 31 - ((spa + at) >> 5);
    }
  },
};

/** The same, which tells what zeros are: two pages of it. */
const knowing: FrameCipher = {
  ...cipher,
  zeros(tag) {
    const zeros = new Uint8Array(2 * PAGE);
    cipher.decrypt(tag, 0, zeros);
    return zeros;
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

function keyed(chosen = cipher) {
  const dropped: number[] = [];
  const keys = new FrameKeys(new Uint8Array(SIZE), (frame) => void dropped.push(frame));
  keys.cipher = chosen;
  return { keys, dropped };
}

const access = fc.record({
  kind: fc.constantFrom('read', 'write', 'require', 'view', 'raw', 'release'),
  tag: fc.integer({ min: 0, max: 2 }),
  spa: fc.nat(SIZE - 1),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
});

const ciphers = fc.constantFrom(cipher, knowing);

test('every view is what the cipher says, whatever is deciphered or copied', () => {
  fc.assert(
    fc.property(fc.array(access, { maxLength: 40 }), ciphers, (accesses, chosen) => {
      const { keys } = keyed(chosen);
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

test('a frame that nobody has written is copied, not deciphered, and only then', () => {
  const deciphered: number[] = [];
  const decrypt: FrameCipher['decrypt'] = (tag, spa, frames) => {
    deciphered.push(spa / PAGE);
    cipher.decrypt(tag, spa, frames);
  };
  const { keys, dropped } = keyed({ ...knowing, decrypt });
  keys.write(4 * PAGE, Uint8Array.of(1), 0);
  for (const frame of [3, 4, 5]) keys.require(frame, 1);
  expect([deciphered, dropped, keys.switches]).toEqual([[4], [3, 4, 5], 3]);
  // What was copied is ciphertext once the host has it again: zeros only by chance.
  keys.require(3, 0);
  expect([...keys.view(3, 0)].every((byte) => byte === 0)).toBe(true);
  keys.write(5 * PAGE, Uint8Array.of(7), 1);
  keys.require(5, 0);
  keys.require(5, 2);
  expect(deciphered).toEqual([4, 5]);
});

test('a blank frame that is claimed is zeros under any key', () => {
  const { keys } = keyed(knowing);
  keys.write(4 * PAGE, Uint8Array.of(1), 0);
  const claimed = (frame: number, tag: number) => {
    keys.claim(frame, tag);
    return keys.isBlank(frame);
  };
  expect([3, 4].map((frame) => claimed(frame, 1))).toEqual([true, false]);
  expect(keys.view(3, 1)).toEqual(new Uint8Array(PAGE));
  expect(claimed(3, 2)).toBe(true);
  expect(keys.view(3, 2)).toEqual(new Uint8Array(PAGE));
  // As any other it is enciphered, not copied as if the host had seen zeros.
  const ciphertext = keys.view(3, 0);
  keys.require(3, 1);
  expect([keys.view(3, 0), keys.isBlank(3)]).toEqual([ciphertext, false]);
  keys.owe(5, 0, () => keys.write(5 * PAGE, Uint8Array.of(7), 0));
  expect([keys.isBlank(5), claimed(5, 1)]).toEqual([false, false]);
  // Nor is one blank whose key is gone.
  keys.claim(6, 1);
  keys.release(1);
  expect([keys.isBlank(6), keys.view(6, 0).some((byte) => byte !== 0)]).toEqual([false, true]);
});

test('a watch ends once, however many frames go over it', () => {
  const { keys } = keyed();
  let ends = 0;
  keys.watch(20, () => void ends++);
  for (let frame = 0; frame < FRAMES; frame++) keys.require(frame, 1);
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
