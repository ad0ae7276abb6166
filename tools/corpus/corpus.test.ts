// The committed corpus of guest programs is what its sources give, and its table is whole.
import { CORPUS, CORPUS_IMAGES, DRIVEN, HOSTILE, PROBES } from '@cloister/core/testing';
import { expect, test } from 'vitest';
import { whyNoTools } from '../../examples/guests/build.mjs';
import { committed, generate, programNames } from './build.mjs';

test('every source is in the table, every program has a source', () => {
  const listed = [...CORPUS, ...DRIVEN, ...HOSTILE, ...PROBES].map(({ name }) => name).sort();
  expect(programNames()).toEqual(listed);
  expect(Object.keys(CORPUS_IMAGES)).toEqual(listed);
});

test('every program checks something', () => {
  for (const { name, end, console } of CORPUS) {
    const { checks, exits } = CORPUS_IMAGES[name]!;
    const telling = checks.length + exits.length - (end === 'triple-fault' ? 0 : 1);
    expect(telling > 0 || end === 'triple-fault' || console !== undefined, name).toBe(true);
  }
});

const reason = whyNoTools();
const title = 'the committed images are what the sources give';
test.skipIf(reason !== null)(reason === null ? title : `${title} (${reason})`, () => {
  expect(generate() === committed()).toBe(true);
});
