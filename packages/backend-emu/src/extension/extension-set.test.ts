// Whose verdicts on pages may be remembered.
import type { CpuExtension, FillVerdict } from '@cloister/core';
import { expect, test } from 'vitest';
import { ExtensionSet } from './extension-set.js';

const fill = (): FillVerdict => ({ kind: 'device', gpa: 0 });
const lasts = (...all: Omit<CpuExtension, 'name'>[]) =>
  new ExtensionSet(all.map((each, i) => ({ name: `${i}`, ...each }))).verdictsLast;

test('verdicts last where their extension says so, and one bit at most names pages', () => {
  expect(lasts({ fill, lastingVerdicts: true })).toBe(true);
  expect(lasts({ fill, lastingVerdicts: true, tableBits: [51] })).toBe(true);
  expect(lasts({ fill, lastingVerdicts: true }, { tableBits: [51] })).toBe(true);
  expect(lasts({ fill })).toBe(false);
  expect(lasts({ lastingVerdicts: true })).toBe(false);
  expect(lasts({ fill }, { lastingVerdicts: true })).toBe(false);
  expect(lasts({ fill, lastingVerdicts: true, tableBits: [50, 51] })).toBe(false);
  expect(lasts({ fill, lastingVerdicts: true, tableBits: [51] }, { tableBits: [50] })).toBe(false);
});
