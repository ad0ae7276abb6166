// The program that the README shows is the one that is tried, on a report of a real machine.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { vectors, vectorsAbsent } from '../../tools/lib/vectors.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(vectors, 'reports');
const why = vectorsAbsent('reports');

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test('the README shows the program as it is', () => {
  const program = readFileSync(new URL('verify.js', import.meta.url), 'utf8');
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(`\`\`\`js\n${program}\`\`\`\n`);
  const lines = program.split('\n').filter((line) => line !== '' && !line.startsWith('//'));
  expect(lines).toHaveLength(5);
});

test.skipIf(why !== '')(`it verifies a Turin report of the vectors${why}`, async () => {
  const files = ['reports/turin-v5-vcek.bin', 'certs/turin-v5-vcek-vek.der'];
  const names = [...files, 'certs/SEV-Turin.der', 'certs/ARK-Turin.der'];
  vi.useFakeTimers({ now: new Date('2026-06-01'), toFake: ['Date'] });
  const before = process.argv;
  process.argv = ['node', 'verify.js', ...names.map((name) => join(folder, name))];
  const written = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  await import('./verify.js');
  process.argv = before;
  expect(written.mock.calls.map(([chunk]) => chunk)).toEqual(['true []\n']);
});
