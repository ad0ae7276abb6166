// Recording files: what is written reads back; damage is a bad file, never another exception.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isVmmError } from '../interfaces/index.js';
import { decodeRecording, encodeRecording, type InputRecording } from './recording.js';

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

describe('a recording file', () => {
  test('reads back as it was written', () => {
    fc.assert(
      fc.property(recording, (each) => {
        expect(decodeRecording(encodeRecording(each))).toEqual(each);
      }),
    );
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
