// Recordings: what is written reads back; anything else is refused with its line.
import type { InputRecord, VmmError } from '@cloister/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseRecording, RecordWriter } from './record-file.js';

const header = {
  clock: 'wall',
  seed: 5,
  epochSeconds: 1_700_000_000,
  memory: 2 ** 28,
  cpus: 1,
} as const;

function written(records: readonly InputRecord[]): string {
  let text = '';
  const writer = new RecordWriter(
    {
      write: (block) => {
        text += Buffer.from(block).toString();
      },
      close: () => {},
    },
    header,
  );
  for (const record of records) writer.add(record);
  writer.close();
  return text;
}

const record = fc.record({
  at: fc.nat({ max: 2 ** 40 }),
  time: fc.nat({ max: 2 ** 40 }),
  source: fc.string({ maxLength: 10 }),
  data: fc.uint8Array({ maxLength: 40 }),
});

test('reads back what was written', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 10 }), (records) => {
      expect(parseRecording(written(records), 'r')).toEqual({ header, records });
    }),
    { numRuns: 50 },
  );
});

test('a line that was cut off by the end of the process is left out', () => {
  const text = written([{ at: 1, time: 2, source: 's', data: Uint8Array.of(3) }]);
  expect(parseRecording(`${text}{"at":9,"ti`, 'r').records.length).toBe(1);
});

function mistake(text: string): string {
  try {
    parseRecording(text, 'r');
  } catch (error) {
    return (error as VmmError).describe();
  }
  throw new Error('nothing was thrown');
}

test.each([
  ['', 'line 1: this is not a recording'],
  ['\x7fELF\n', 'line 1: not a JSON object'],
  ['{"format":"other"}\n', 'line 1: this is not a recording'],
  ['{"format":"cloister-input","version":9}\n', 'line 1: version 9 is not known'],
  ['{"format":"cloister-input","version":1,"seed":1}\n', 'line 1: a field is missing'],
  [`${written([])}{"at":-1}\n`, 'line 2: not a record of input'],
  [`${written([])}{"at":1,"time":1,"source":"s","data":"0g"}\n`, 'line 2: not a record of input'],
])('%j is refused', (text, message) => {
  expect(mistake(text)).toContain(`invalid-file: recording "r", ${message}`);
});
