/**
 * Accesses of guest code through every paging structure against the reference walk: a covering
 * sample, and every case in the full run.
 */
import {
  absentDimensions,
  caseNumbers,
  type Dimensions,
  PAGING_STRUCTURES,
  pagingCases,
  rightsDimensions,
  runPaging,
  valuesOf,
} from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { emulatedBackend } from '../backend.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const SAMPLE = FULL ? undefined : 300;
const PROCESSOR = { physicalBits: 46, gigabytePages: true };
const FULL_LIMIT_MS = 900_000;

/** Pairs of values of two dimensions that no case of `chosen` has. */
function uncovered(dimensions: Dimensions, chosen: readonly number[]): string[] {
  const seen = new Set<string>();
  for (const number of chosen) {
    const values = Object.entries(valuesOf(dimensions, number));
    for (const [a, x] of values) for (const [b, y] of values) seen.add(`${a}=${x} ${b}=${y}`);
  }
  const missing: string[] = [];
  for (const [a, m] of dimensions) {
    for (const [b, n] of dimensions) {
      if (a >= b) continue;
      for (let x = 0; x < m; x++) {
        for (let y = 0; y < n; y++) {
          if (!seen.has(`${a}=${x} ${b}=${y}`)) missing.push(`${a}=${x} ${b}=${y}`);
        }
      }
    }
  }
  return missing;
}

describe('guest accesses and the reference walk', () => {
  it('agree without 1 GiB pages, which are then reserved', async () => {
    const structure = PAGING_STRUCTURES.find(({ name }) => name === '4 levels, 1G pages')!;
    const cases = pagingCases(structure, PROCESSOR.physicalBits, 200);
    const processor = { ...PROCESSOR, gigabytePages: false };
    const report = await runPaging(emulatedBackend({ cpu: ',-pdpe1gb' }), structure, cases, {
      processor,
    });
    expect(report).toEqual({ cases: 600, faults: 600, differences: [] });
  });

  const backend = emulatedBackend({ cpu: ',+la57' });
  for (const structure of PAGING_STRUCTURES) {
    it(
      `agree on ${structure.name}`,
      async () => {
        for (const dimensions of [rightsDimensions, absentDimensions]) {
          const all = dimensions(structure);
          if (!FULL) expect(uncovered(all, caseNumbers(all, SAMPLE))).toEqual([]);
        }
        const cases = pagingCases(structure, PROCESSOR.physicalBits, SAMPLE);
        const report = await runPaging(backend, structure, cases, { processor: PROCESSOR });
        process.stdout.write(
          `paging, ${structure.name}: ${report.cases} cases, ${report.faults} faults\n`,
        );
        expect(report.differences).toEqual([]);
        expect(report.faults).toBeGreaterThan(report.cases / 4);
        expect(report.faults).toBeLessThan(report.cases);
      },
      FULL ? FULL_LIMIT_MS : undefined,
    );
  }
});
