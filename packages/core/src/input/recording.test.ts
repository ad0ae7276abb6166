// Recording files: what is written reads back; damage is a bad file, never another exception.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isVmmError } from '../interfaces/index.js';
import type { InputRecording } from './recording.js';
import { decodeRecording } from './recording-reader.js';
import { encodeRecording, RecordingWriter } from './recording-writer.js';

const recording = fc
  .record({
    seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
    epochSeconds: fc.nat(),
    memory: fc.nat(),
    cpus: fc.integer({ min: 1, max: 8 }),
    inputs: fc.array(
      fc.record({
        at: fc.nat(),
        time: fc.nat(),
        source: fc.string(),
        data: fc.uint8Array({ maxLength: 50 }),
      }),
    ),
    end: fc.record({
      at: fc.nat(),
      time: fc.nat(),
      reason: fc.constantFrom('power-off', 'timeout', 'stopped'),
    }),
  })
  .map((each) => {
    // Stamps only go forward.
    const at = each.inputs.map((input) => input.at).sort((a, b) => a - b);
    const time = each.inputs.map((input) => input.time).sort((a, b) => a - b);
    const inputs = each.inputs.map((input, i) => ({ ...input, at: at[i]!, time: time[i]! }));
    return { ...each, inputs } as InputRecording;
  });

/** The file in pieces of these sizes, in turn; each lies where the last one was. */
function* reusedPieces(file: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  const buffer = new Uint8Array(Math.max(...sizes));
  for (let from = 0, i = 0; from < file.length; i++) {
    const piece = file.subarray(from, from + sizes[i % sizes.length]!);
    buffer.fill(0).set(piece);
    yield buffer.subarray(0, piece.length);
    from += piece.length;
  }
}

describe('a recording file', () => {
  test('reads back as it was written', () => {
    fc.assert(
      fc.property(recording, (each) => {
        expect(decodeRecording(encodeRecording(each))).toEqual(each);
      }),
    );
  });

  test('is written in blocks of any size, and read from pieces cut anywhere', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 });
    fc.assert(
      fc.property(recording, fc.integer({ min: 4, max: 300 }), sizes, (each, size, cuts) => {
        const blocks: Uint8Array[] = [];
        const writer = new RecordingWriter(each, (block) => blocks.push(block.slice()), size);
        for (const input of each.inputs) writer.add(input);
        writer.finish(each.end);
        expect(blocks.every(({ length }) => length > 0 && length <= size)).toBe(true);
        const file = Buffer.concat(blocks);
        expect(file.toString()).toBe(encodeRecording(each));
        expect(decodeRecording(reusedPieces(file, cuts))).toEqual(each);
      }),
    );
  });

  test('is the JSON that it was when it was made as one text', () => {
    fc.assert(
      fc.property(recording, ({ seed, epochSeconds, memory, cpus, inputs, end }) => {
        const lines = [
          { format: 'cloister-input', version: 1, seed, epochSeconds, memory, cpus },
          ...inputs.map(({ at, time, source, data }) => {
            return { at, time, source, data: Buffer.from(data).toString('base64') };
          }),
          { end },
        ];
        const file = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
        expect(encodeRecording({ seed, epochSeconds, memory, cpus, inputs, end })).toBe(file);
      }),
    );
  });

  test('may be JSON of another look', () => {
    const head = '{"cpus":1,"memory":1,"seed":"1","epochSeconds":0,"version":1,"format":"';
    const file = (input: string) =>
      `\ufeff${head}cloister-input"}\r\n${input}\n{"end":{"at":9,"time":9,"reason":"reset"}}`;
    const expected = { at: 1, time: 2, source: 'a', data: Uint8Array.of(5, 6) };
    for (const input of [
      '{"at":1,"time":2,"source":"a","data":"BQY="}',
      '{"at":1,"time":2,"source":"a","data":"BQY="}\r',
      '{"at":1,"time":2,"source":"a","data":"BQY"}',
      '{"at":1,"time":2,"source":"a","data":"\\u0042QY="}',
      '{"data":"AAAA","at":1,"time":2,"source":"a","data":"BQY="}',
      '{"at":1,"time":2,"data":"BQY=","source":"a"}',
      ' { "data" : "BQY=" , "source" : "\\u0061" , "time" : 2 , "at" : 1 } ',
    ]) {
      expect(decodeRecording(file(input)).inputs, input).toEqual([expected]);
    }
  });

  test('has lines and inputs of bounded length', () => {
    const head = { seed: '1', epochSeconds: 0, memory: 1, cpus: 1 };
    const end = { at: 9, time: 9, reason: 'stopped' } as const;
    const data = new Uint8Array(300);
    const file = encodeRecording({ ...head, inputs: [{ at: 1, time: 2, source: 'a', data }], end });
    const length = file.split('\n')[1]!.length;
    expect(decodeRecording(file, { lineMax: length }).inputs).toHaveLength(1);
    const message = `recording, line 2: it is longer than ${length - 1} bytes`;
    expect(() => decodeRecording(file, { lineMax: length - 1 })).toThrow(message);
    // No newline ever comes: it is not waited for.
    const endless = (function* () {
      for (;;) yield new Uint8Array(64);
    })();
    expect(() => decodeRecording(endless, { lineMax: 1000 })).toThrow('recording, line 1: it is');
    const writer = new RecordingWriter(head, () => {});
    const huge = { at: 1, time: 2, source: 'a', data: new Uint8Array(2 ** 28 + 1) };
    expect(() => writer.add(huge)).toThrow('input of 268435457 bytes does not fit a recording');
    expect(() => new RecordingWriter(head, () => {}, 3)).toThrow('no room');
  });

  test('that is cut off or changed is refused with its line, or reads as something valid', () => {
    fc.assert(
      fc.property(recording, fc.nat(), fc.string({ maxLength: 3 }), (each, place, junk) => {
        const file = encodeRecording(each);
        const cut = file.slice(0, place % (file.length - 1));
        expect(() => decodeRecording(cut)).toThrow(/recording, line \d+: /);
        const at = place % file.length;
        try {
          decodeRecording(file.slice(0, at) + junk + file.slice(at + junk.length));
        } catch (error) {
          expect(isVmmError(error) && error.code).toBe('invalid-file');
        }
      }),
    );
  });

  test('names what is wrong', () => {
    const head =
      '{"format":"cloister-input","version":1,"seed":"1","epochSeconds":0,"memory":1,"cpus":1}';
    const end = '{"end":{"at":9,"time":9,"reason":"stopped"}}';
    const line = (at: number) => `{"at":${at},"time":5,"source":"a","data":"AA=="}`;
    const bad = (text: string) => {
      try {
        decodeRecording(text);
      } catch (error) {
        return isVmmError(error) ? error.message : 'another exception';
      }
      return 'nothing';
    };
    expect(bad('')).toBe('recording, line 1: not JSON');
    expect(bad('{}')).toBe('recording, line 1: not a recording of input');
    expect(bad(head.replace('"version":1', '"version":2'))).toBe(
      'recording, line 1: version 2 is not known',
    );
    expect(bad(`${head}\n${line(7)}\n${line(6)}\n${end}\n`)).toBe(
      'recording, line 3: the stamps go back',
    );
    expect(bad(`${head}\n${line(7)}\n`)).toBe('recording, line 2: the file ends too early');
    expect(bad(`${head}\n${line(7).replace('AA==', '!')}\n${end}`)).toBe(
      'recording, line 2: data is not base64',
    );
    expect(bad(`${head}\n${end}\n${line(7)}\n`)).toBe(
      'recording, line 2: there is more behind the end',
    );
  });
});
