// Batches of frames: every stream of bytes gives the same frames however it is cut, and none throws
// but where it says so.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  batchOf,
  FRAME_MAX,
  FrameAssembler,
  formatMac,
  frameAt,
  framesOf,
  parseMac,
} from './frames.js';
import { control } from './net-control.js';
import { NetFilter } from './net-filter.js';

const frames = fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 12 });

it('a batch gives back its frames', () => {
  fc.assert(
    fc.property(frames, (list) => {
      expect([...framesOf(batchOf(list))].map((each) => [...each])).toEqual(
        list.map((each) => [...each]),
      );
    }),
  );
});

it('a stream gives its frames, wherever it is cut', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 50 })), (list, cuts) => {
      const stream = batchOf(list);
      const assembler = new FrameAssembler();
      const found: number[][] = [];
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const size = cuts[turn % Math.max(1, cuts.length)] ?? 17;
        for (const batch of assembler.push(stream.slice(at, at + size))) {
          found.push(...[...framesOf(batch)].map((each) => [...each]));
        }
        at += size;
      }
      expect(found).toEqual(list.map((each) => [...each]));
    }),
    // The last frame is empty.
    { examples: [[[new Uint8Array(0), new Uint8Array(2), new Uint8Array(0)], [1]]] },
  );
});

it('a batch lasts until it is released, whatever comes after it and becomes of its piece', () => {
  const size = fc.integer({ min: 10_000, max: 60_000 });
  fc.assert(
    fc.property(fc.array(fc.tuple(size, fc.boolean()), { maxLength: 20 }), (list) => {
      const assembler = new FrameAssembler();
      const kept: { readonly batch: Uint8Array; readonly byte: number }[] = [];
      list.forEach(([length, released], byte) => {
        const piece = batchOf([new Uint8Array(length).fill(byte)]);
        // Alone, and across two pieces.
        const cut = byte % 2 === 0 ? piece.length : 5000;
        const batches = assembler.push(piece.subarray(0, cut));
        batches.push(...assembler.push(piece.subarray(cut)));
        piece.fill(0xff);
        for (const batch of batches) {
          if (released) assembler.release(batch);
          else kept.push({ batch, byte });
        }
      });
      for (const { batch, byte } of kept) {
        const [frame] = framesOf(batch);
        expect(frame!.every((each) => each === byte)).toBe(true);
      }
    }),
    { numRuns: 30 },
  );
});

it('a stream out of step is noticed, and a damaged batch ends early', () => {
  const long = new Uint8Array(4);
  new DataView(long.buffer).setUint32(0, FRAME_MAX + 1);
  expect(() => new FrameAssembler().push(long)).toThrow(RangeError);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(220), (bytes, at) => {
      for (const frame of framesOf(bytes)) expect(frame.length).toBeLessThanOrEqual(bytes.length);
      frameAt(bytes, at);
    }),
  );
});

it('any command is answered', () => {
  const filter = new NetFilter();
  const all = { rx: true, rxExtra: true, macAddress: true, vlan: true };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(4), fc.nat(6), (bytes, kind, code) => {
      const command = Uint8Array.of(kind, code, ...bytes);
      const answer = control(command, {
        filter,
        ...all,
        setMac: (mac) => expect(mac.length).toBe(6),
      });
      expect(typeof answer).toBe('boolean');
      filter.passes(bytes, new Uint8Array(6), true);
      filter.load(filter.save());
    }),
  );
});

it('addresses of devices are read, others refused', () => {
  const mac = parseMac('52:54:00:aB:cd:ef')!;
  expect([...mac]).toEqual([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
  expect(formatMac(mac)).toBe('52:54:00:ab:cd:ef');
  for (const bad of [
    '',
    '52:54:00:ab:cd',
    '01:00:5e:00:00:01',
    '00:00:00:00:00:00',
    'gg:1:2:3:4:5',
  ]) {
    expect(parseMac(bad), bad).toBeNull();
  }
});
