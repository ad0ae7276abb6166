// The program that the README shows is the one that is tried, and as short as it says.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const program = readFileSync(new URL('vmm.js', import.meta.url), 'utf8');
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

test('the README shows the program as it is', () => {
  expect(readme).toContain(`\`\`\`js\n${program}\`\`\`\n`);
});

test('it has at most twenty lines', () => {
  expect(program.trimEnd().split('\n').length).toBeLessThanOrEqual(20);
});
