// The table of clauses in docs/virtio.md is the kit's.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { KIT_CLAUSES } from './virtio-kit.js';

const DOCS = new URL('../../../../docs/virtio.md', import.meta.url);

it('docs/virtio.md lists every clause of the kit, and no other', () => {
  const table = ['| section | the device |', '|---|---|'];
  for (const { section, title } of KIT_CLAUSES) table.push(`| ${section} | ${title} |`);
  expect(readFileSync(DOCS, 'utf8')).toContain(table.join('\n'));
});
