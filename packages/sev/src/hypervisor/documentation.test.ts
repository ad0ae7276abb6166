// The table of events in docs/sev-es.md is the table of the code.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { GHCB_EVENTS } from './ghcb-protocol.js';
import { SEV_HOSTS } from './profile.js';

const PAGE = fileURLToPath(new URL('../../../../docs/sev-es.md', import.meta.url));

test('docs/sev-es.md lists each event with what it needs and returns', () => {
  const [, table = ''] = readFileSync(PAGE, 'utf8').split('<!-- events -->\n');
  const [rows = ''] = table.split('<!-- end of events -->');
  const documented = rows
    .trim()
    .split('\n')
    .slice(2)
    .map((row) => row.split('|').map((cell) => cell.trim()))
    .map(([, code, , needs, returns, , vmm]) => `${code}: ${needs} -> ${returns} ${vmm}`);
  const actual = [...GHCB_EVENTS].map(([number, { required, returns }]) => {
    const code = `${number.toString(16).toUpperCase()}h`;
    const vmm = SEV_HOSTS.openbsd.events.has(number) ? 'vmm' : '';
    return `${code}: ${required.join(', ')} -> ${returns.join(', ')} ${vmm}`;
  });
  expect(documented).toEqual(actual);
});
