// Writes docs/instruction-coverage.md anew: runs the corpus and boots Debian's cloud kernel to see
// what executes.
//
//   npm run coverage-table
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfigFromFile, runnerImport } from 'vite';
import { image, initramfs } from '../guest-image/index.mjs';
import { BOOT_OK } from '../guest-image/init-scripts.mjs';
import { root } from '../lib/workspace.mjs';

const { config } = await loadConfigFromFile(
  { command: 'serve', mode: 'test' },
  join(root, 'vitest.config.ts'),
);
const { alias } = config.test.projects[0].resolve;
const load = async (name) =>
  (await runnerImport(join(root, 'tools', 'coverage-table', name), { resolve: { alias } })).module;

const { TableForms, executedByBoot, executedByPrograms, renderCoverage } = await load('index.ts');
const table = new TableForms();
const guest = await image({ kernel: 'cloud' });
const files = {
  kernel: readFileSync(guest.kernelPath),
  initrd: await initramfs({ init: BOOT_OK, busybox: guest.busyboxPath }),
};
const version = /Linux version ([^ ]+)/;
const boot = await executedByBoot(table, files, 'BOOT-OK');
const programs = await executedByPrograms(table);
const kernel = `Debian's ${version.exec(boot.console)?.[1] ?? 'kernel'}`;
const executed = { kernel, programs, boot: boot.forms };
const data = join(root, 'tools', 'coverage-table', 'executed.json');
writeFileSync(data, `${JSON.stringify(executed, null, 2)}\n`);
writeFileSync(join(root, 'docs', 'instruction-coverage.md'), renderCoverage(table, executed));
process.stdout.write(`${table.forms.size} forms, ${programs.length} executed by programs,`);
process.stdout.write(` ${boot.forms.length} in the boot of ${kernel}\n`);
