/**
 * Accesses of guest code through every paging structure against the reference walk: a covering
 * sample, and every case in the full run.
 */
import {
  absentCase,
  absentDimensions,
  bitCase,
  bitDimensions,
  type Dimensions,
  PAGING_STRUCTURES,
  type PagingCase,
  type PagingStructure,
  product,
  rightsCase,
  rightsDimensions,
  runPaging,
  valuesOf,
} from '@cloister/core/testing';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emulatedBackend } from '../backend.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const SAMPLE = 500;
const PROCESSOR = { physicalBits: 46, gigabytePages: true };
const FULL_LIMIT_MS = 900_000;

/** Numbers of the cases to run: all, or a sample that is the same each time. */
function numbers(dimensions: Dimensions): number[] {
  const count = product(dimensions);
  if (FULL || count <= SAMPLE) return Array.from({ length: count }, (_, number) => number);
  return fc.sample(fc.nat(count - 1), { seed: 1, numRuns: SAMPLE });
}

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

function* casesOf(structure: PagingStructure): Generator<PagingCase> {
  for (const n of numbers(rightsDimensions(structure))) yield rightsCase(structure, n);
  for (const n of numbers(absentDimensions(structure))) yield absentCase(structure, n);
  const bits = bitDimensions(structure, PROCESSOR.physicalBits);
  for (const n of numbers(bits)) yield bitCase(structure, PROCESSOR.physicalBits, n);
}

describe('guest accesses and the reference walk', () => {
  const backend = emulatedBackend({ cpu: ',+la57,+pku' });
  for (const structure of PAGING_STRUCTURES) {
    it(
      `agree on ${structure.name}`,
      async () => {
        for (const dimensions of [rightsDimensions, absentDimensions]) {
          const all = dimensions(structure);
          if (!FULL) expect(uncovered(all, numbers(all))).toEqual([]);
        }
        const report = await runPaging(backend, structure, casesOf(structure), {
          processor: PROCESSOR,
        });
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
