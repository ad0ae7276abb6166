// Guest memory: against a plain model, over scattered frames, some of them kept under a key.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MemoryBacking, MemorySlot } from '../interfaces/index.js';
import { dmaView, type SlotMemory, slotMemory } from './slot-memory.js';
import { packPages, unpackPages } from './sparse-pages.js';

const PAGE = 4096;
/** What a frame kept under the test's key looks like from the host. */
const KEY = 0xa5;

function slot(id: number, gpa: number, size: number, rest: Partial<MemorySlot> = {}): MemorySlot {
  return { id, gpa, size, readOnly: false, name: `s${id}`, encryptable: true, ...rest };
}

/** Frames in reverse order; pages of `secret` are kept in clear and shown XORed. */
function scattered(pages: number, secret: ReadonlySet<number> = new Set()) {
  const bytes = new Uint8Array(pages * PAGE);
  const touched: number[] = [];
  const pageAt = (offset: number) => pages - 1 - offset / PAGE;
  const view = (offset: number) => bytes.slice(offset, offset + PAGE).map((byte) => byte ^ KEY);
  const backing: MemoryBacking = {
    bytes,
    locate: (gpa) => (gpa / PAGE < pages ? (pages - 1 - gpa / PAGE) * PAGE : -1),
    written: (offset, length) => {
      expect(length).toBeGreaterThan(0);
      expect(Math.floor(offset / PAGE)).toBe(Math.floor((offset + length - 1) / PAGE));
      touched.push(pageAt(offset - (offset % PAGE)));
    },
    ciphertext: (offset) => (secret.has(pageAt(offset)) ? view(offset) : null),
    storeCiphertext: (offset, frame) => {
      expect(secret.has(pageAt(offset))).toBe(true);
      bytes.set(
        frame.map((byte) => byte ^ KEY),
        offset,
      );
    },
    convert: (gpa, length, to) => touched.push(gpa, length, to === 'private' ? 1 : 0),
    takeDirty: () => Uint32Array.from(touched),
  };
  return { memory: slotMemory(backing), backing, touched };
}

function whole(pages: number, secret?: ReadonlySet<number>): ReturnType<typeof scattered> {
  const made = scattered(pages, secret);
  made.memory.addSlot(slot(0, 0, pages * PAGE));
  return made;
}

describe('copies', () => {
  test('do what one flat array would, wherever the frames lie and whatever is private', () => {
    const PAGES = 4;
    const operation = fc.record({
      kind: fc.constantFrom('read', 'write', 'fill', 'span', 'scan', 'tryRead', 'tryWrite'),
      gpa: fc.nat(PAGES * PAGE + 50),
      length: fc.oneof(fc.nat(40), fc.nat(2 * PAGE)).map((length) => length + 1),
      byte: fc.nat(3),
    });
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 20 }),
        fc.subarray([0, 1, 2, 3]),
        (list, secret) => {
          const { memory, touched } = whole(PAGES, new Set(secret));
          const model = new Uint8Array(PAGES * PAGE);
          for (const page of secret) model.fill(KEY, page * PAGE, (page + 1) * PAGE);
          for (const { kind, gpa, length, byte } of list) {
            touched.length = 0;
            const fits = gpa + length <= model.length;
            const data = new Uint8Array(length).map((_, i) => byte + (i % 3));
            if (kind === 'tryRead' || kind === 'tryWrite') {
              expect(memory[kind](gpa, data)).toBe(fits);
            } else if (!fits) {
              expect(() => memory.read(gpa, data)).toThrow('is not backed by any slot');
            } else if (kind === 'read') {
              memory.read(gpa, data);
              expect(data).toEqual(model.slice(gpa, gpa + length));
            } else if (kind === 'write') memory.write(gpa, data);
            else if (kind === 'fill') memory.fill(gpa, length, byte);
            else if (kind === 'scan') {
              const needle = Uint8Array.of(byte, byte + 1, byte + 2);
              const text = Buffer.from(model.buffer, gpa, length);
              const found = text.indexOf(needle);
              expect(memory.scan(gpa, length, needle)).toBe(found < 0 ? -1 : gpa + found);
            } else {
              memory.withSpan(gpa, length, 'write', (span) => span.fill(byte));
            }
            if (!fits) continue;
            if (kind === 'write' || kind === 'tryWrite') model.set(data, gpa);
            if (kind === 'fill' || kind === 'span') model.fill(byte, gpa, gpa + length);
            const wrote = ['write', 'tryWrite', 'fill', 'span'].includes(kind) && length > 0;
            const first = Math.floor(gpa / PAGE);
            const count = wrote ? Math.floor((gpa + length - 1) / PAGE) - first + 1 : 0;
            expect(touched).toEqual(Array.from({ length: count }, (_, i) => first + i));
          }
          const all = new Uint8Array(model.length);
          memory.read(0, all);
          expect(all).toEqual(model);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('spans are split by page, and what is lent for reading is a copy', () => {
    const { memory } = whole(3);
    memory.fill(0, 3 * PAGE, 7);
    const seen: [number, number][] = [];
    memory.withSpan(PAGE - 2, PAGE + 4, 'read', (span, gpa) => {
      seen.push([gpa, span.length]);
      span.fill(0);
      expect(span.buffer.byteLength).toBe(span.length);
    });
    expect(seen).toEqual([
      [PAGE - 2, 2],
      [PAGE, PAGE],
      [2 * PAGE, 2],
    ]);
    const back = new Uint8Array(2);
    memory.read(PAGE, back);
    expect([...back]).toEqual([7, 7]);
  });

  test('a span that fails half-way has been written, the rest has not', () => {
    const { memory, touched } = whole(3);
    const spoil = (span: Uint8Array, gpa: number) => {
      span[0] = 7;
      if (gpa === PAGE) throw new Error('the device fails');
    };
    expect(() => memory.withSpan(0, 3 * PAGE, 'write', spoil)).toThrow('the device fails');
    expect(touched).toEqual([0, 1]);
  });

  test('ranges are lent as they are, joined where frames follow each other', () => {
    const { memory, touched } = whole(4, new Set([3]));
    const lengths: number[] = [];
    const lent = [
      { gpa: PAGE - 2, length: 4 },
      { gpa: 0, length: 5 },
    ];
    const fill = (spans: readonly Uint8Array[]) => {
      for (const span of spans) lengths.push(span.fill(7).length);
    };
    const drain = (spans: readonly Uint8Array[]) => {
      fill(spans);
      // The list is the borrower's: what was written is told all the same.
      (spans as Uint8Array[]).length = 0;
    };
    expect(memory.withSpans(lent, 'write', drain)).toBe(true);
    // The frames lie in reverse order: page 0 lies behind page 1.
    expect(lengths).toEqual([2, 2, 5]);
    expect(touched).toEqual([0, 1, 0]);
    const back = new Uint8Array(6);
    memory.read(PAGE - 3, back);
    expect([...back]).toEqual([0, 7, 7, 7, 7, 0]);
    const joined = [
      { gpa: PAGE, length: PAGE },
      { gpa: 0, length: 9 },
    ];
    expect(memory.withSpans(joined, 'read', fill)).toBe(true);
    expect(lengths.slice(3)).toEqual([PAGE + 9]);
    expect(touched).toEqual([0, 1, 0]);
    // Neither a frame under a key nor one that is not there is lent, nor what lies before it.
    for (const gpa of [3 * PAGE, 4 * PAGE - 1, 9 * PAGE]) {
      expect(memory.withSpans([lent[0]!, { gpa, length: 2 }], 'write', fill)).toBe(false);
    }
    expect(lengths).toHaveLength(4);
    const fails = () => memory.withSpans(lent, 'write', () => expect.unreachable());
    expect(fails).toThrow();
    expect(touched).toEqual([0, 1, 0, 0, 1, 0]);
  });

  test('a needle across a page’s and a piece’s border is found', () => {
    const { memory } = whole(40);
    const needle = Uint8Array.of(1, 2, 3, 4, 5);
    for (const at of [PAGE - 3, 16 * PAGE - 2, 16 * PAGE - 5, 40 * PAGE - 5]) {
      memory.fill(0, 40 * PAGE, 0);
      memory.write(at, needle);
      expect(memory.scan(0, 40 * PAGE, needle)).toBe(at);
      expect(memory.scan(at + 1, 40 * PAGE - at - 1, needle)).toBe(-1);
    }
  });
});

test('nothing at all may be copied anywhere', () => {
  const { memory, touched } = whole(1);
  memory.write(99 * PAGE, new Uint8Array(0));
  memory.read(99 * PAGE, new Uint8Array(0));
  expect(memory.tryWrite(99 * PAGE, new Uint8Array(0))).toBe(true);
  expect(memory.scan(0, PAGE, new Uint8Array(0))).toBe(0);
  expect(touched).toEqual([]);
});

describe('slots', () => {
  const made = (): SlotMemory => scattered(64).memory;

  test.each<[string, MemorySlot, string]>([
    ['unaligned', slot(1, 100, PAGE), 'the address 100 of memory slot s1 is not a multiple'],
    ['of odd size', slot(1, 0, 100), 'the size 100 of memory slot s1'],
    ['empty', slot(1, 0, 0), 'is empty'],
    ['too high', slot(1, 2 ** 52, PAGE), 'above 2^52'],
    ['of no number', slot(1, Number.NaN, PAGE), 'the address NaN'],
    ['twice', slot(0, 8 * PAGE, PAGE), 'memory slot 0 exists already (s0)'],
    ['overlapping', slot(1, 3 * PAGE, 4 * PAGE), 'memory slots s1 and s0 overlap'],
    ['around another', slot(1, 0, 20 * PAGE), 'memory slots s1 and s0 overlap'],
  ])('%s are refused', (_what, bad, message) => {
    const memory = made();
    memory.addSlot(slot(0, 4 * PAGE, 2 * PAGE));
    expect(() => memory.addSlot(bad)).toThrow(message);
    expect(memory.slots.length).toBe(1);
  });

  test('are kept in order, found, counted and removed', () => {
    const memory = made();
    memory.addSlot(slot(2, 8 * PAGE, PAGE, { readOnly: true }));
    memory.addSlot(slot(1, 0, 2 * PAGE));
    memory.addSlot(slot(3, 2 * PAGE, PAGE));
    expect(memory.slots.map(({ id }) => id)).toEqual([1, 3, 2]);
    expect(memory.ramSize).toBe(3 * PAGE);
    expect(memory.covers(0, 3 * PAGE)).toBe(true);
    expect(memory.covers(0, 3 * PAGE + 1)).toBe(false);
    expect(memory.covers(-1, 1)).toBe(false);
    expect(memory.covers(0.5, 1)).toBe(false);
    expect(memory.slotAt(8 * PAGE + 5)?.id).toBe(2);
    memory.removeSlot(3);
    expect(memory.covers(2 * PAGE, 1)).toBe(false);
    expect(() => memory.removeSlot(3)).toThrow('there is no memory slot 3');
  });

  test('that are read-only take the host’s writes, not a device’s', () => {
    const memory = made();
    memory.addSlot(slot(1, 0, PAGE));
    memory.addSlot(slot(2, PAGE, PAGE, { readOnly: true }));
    const dma = dmaView(() => memory);
    expect(dma.write(PAGE - 1, Uint8Array.of(1, 2))).toBe(false);
    const back = new Uint8Array(1);
    expect(dma.read(PAGE - 1, back)).toBe(true);
    expect(back[0]).toBe(0);
    memory.write(PAGE, Uint8Array.of(9));
    expect(dma.read(PAGE, back)).toBe(true);
    expect(back[0]).toBe(9);
  });
});

describe('private memory', () => {
  test('is converted by whole pages of slots that may be private', () => {
    const { memory, touched } = scattered(8);
    memory.addSlot(slot(1, 0, 2 * PAGE));
    memory.addSlot(slot(2, 2 * PAGE, PAGE, { encryptable: false }));
    memory.convert(0, 2 * PAGE, 'private');
    expect(touched).toEqual([0, 2 * PAGE, 1]);
    expect(() => memory.convert(1, PAGE, 'private')).toThrow('is not whole pages');
    expect(() => memory.convert(PAGE, 2 * PAGE, 'shared')).toThrow(
      'memory slot s2 cannot be private',
    );
    expect(() => memory.convert(7 * PAGE, PAGE, 'shared')).toThrow('not backed');
  });

  test('that is discarded reads as zeros', () => {
    const { memory } = whole(2, new Set([1]));
    memory.fill(0, 2 * PAGE, 5);
    memory.discard(0, 2 * PAGE);
    const back = new Uint8Array(2 * PAGE).fill(1);
    memory.read(0, back);
    expect(back.every((byte) => byte === 0)).toBe(true);
  });
});

describe('memory that is given back', () => {
  /** Frames in order but for the last two, and what was freed of them. */
  function freeing(answer: boolean) {
    const bytes = new Uint8Array(6 * PAGE).fill(7);
    const freed: number[][] = [];
    const written: number[] = [];
    const backing: MemoryBacking = {
      bytes,
      locate: (gpa) => (gpa / PAGE < 4 ? gpa : 9 * PAGE - gpa),
      written: (offset) => written.push(Math.floor(offset / PAGE)),
      ciphertext: (offset) => (offset === 2 * PAGE ? new Uint8Array(PAGE).fill(9) : null),
      storeCiphertext: (offset, frame) => bytes.set(frame, offset),
      convert: () => {},
      takeDirty: () => new Uint32Array(),
      free(offset, length) {
        freed.push([offset / PAGE, length / PAGE]);
        if (answer) bytes.fill(0, offset, offset + length);
        return answer;
      },
    };
    const memory = slotMemory(backing);
    memory.addSlot(slot(0, 0, 6 * PAGE));
    return { memory, bytes, freed, written };
  }

  test.each([true, false])('goes in whole plain runs, or is filled (freed: %s)', (answer) => {
    const { memory, bytes, freed, written } = freeing(answer);
    memory.discard(100, 6 * PAGE - 100);
    // Pages 0 (in part) and 2 (private) are not the host's to free.
    expect(freed).toEqual([[1, 1], [3, 1], [5, 1], [4, 1]]); // biome-ignore format: a list
    expect(bytes.findIndex((byte) => byte !== 7)).toBe(100);
    expect(bytes.subarray(100).every((byte) => byte === 0)).toBe(true);
    expect([...written].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(() => memory.discard(5 * PAGE, 2 * PAGE)).toThrow('not backed');
  });

  test('comes in runs as long as the frames follow each other', () => {
    const { memory, freed } = freeing(true);
    memory.discard(0, 2 * PAGE);
    expect(freed).toEqual([[0, 2]]);
  });
});

describe('memory in a snapshot', () => {
  const pages = fc.array(fc.constantFrom(0, 0, 1, 200), { minLength: 1, maxLength: 20 });

  test('packs the pages that are not zero, and unpacks to the same', () => {
    fc.assert(
      fc.property(pages, (bytes) => {
        const memory = new Uint8Array(bytes.length * PAGE);
        for (const [page, byte] of bytes.entries()) memory[page * PAGE + byte] = byte;
        const packed = packPages(memory) as { data: Uint8Array };
        expect(packed.data.length).toBe(bytes.filter((byte) => byte > 0).length * PAGE);
        const back = new Uint8Array(memory.length).fill(3);
        unpackPages(packed, back);
        expect(Buffer.compare(back, memory)).toBe(0);
        const used = bytes.flatMap((byte, page) =>
          byte > 0 ? [[page * PAGE, page * PAGE + PAGE] as const] : [],
        );
        const known = packPages(memory, used) as { data: Uint8Array };
        expect(Buffer.compare(known.data, packed.data)).toBe(0);
      }),
    );
  });

  test('that is damaged is refused and changes nothing', () => {
    const memory = new Uint8Array(4 * PAGE).fill(1, 0, 5 * 100);
    const good = packPages(memory) as { size: number; runs: Uint8Array; data: Uint8Array };
    const bad: unknown[] = [
      null,
      5,
      {},
      { ...good, size: 1 },
      { ...good, runs: new Uint8Array(7) },
      { ...good, runs: new Uint8Array(0) },
      { ...good, data: new Uint8Array(0) },
      { ...good, runs: Uint8Array.of(0, 0, 0, 9, 1, 0, 0, 0) },
      { ...good, runs: Uint8Array.of(0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff) },
      {
        ...good,
        data: new Uint8Array(2 * PAGE),
        runs: Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0),
      },
    ];
    for (const each of bad) {
      const target = new Uint8Array(4 * PAGE).fill(8);
      expect(() => unpackPages(each, target)).toThrow(/the saved memory/);
      expect(target.every((byte) => byte === 8)).toBe(true);
    }
  });
});
