// Everything that is checked without running the product: lint and format, types, the direction
// of imports, tidiness. Every check runs; all that failed are named at the end.
//
//   node tools/check.mjs [--fast]    --fast leaves out the type checks
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './lib/workspace.mjs';

const bin = (...path) => join(root, 'node_modules', ...path);
const tsc = (project) => [bin('typescript', 'bin', 'tsc'), '-p', project, '--pretty', 'false'];

const CHECKS = [
  { name: 'lint and format', args: [bin('@biomejs', 'biome', 'bin', 'biome'), 'check', '.'] },
  { name: 'imports', args: [join(root, 'tools', 'check-imports.mjs')] },
  {
    name: 'tidy',
    args: [bin('vitest', 'vitest.mjs'), 'run', '--project', 'unit', 'tools/tidy.test.ts'],
  },
  { name: 'types: everything', args: tsc('tsconfig.json'), slow: true },
  // These without Node's types: what they hold must run in a browser.
  { name: 'types: core', args: tsc('packages/core'), slow: true },
  { name: 'types: sev', args: tsc('packages/sev'), slow: true },
  { name: 'types: virtio', args: tsc('packages/virtio'), slow: true },
  { name: 'types: backend-emu', args: tsc('packages/backend-emu'), slow: true },
  { name: 'types: backend-kvm', args: tsc('packages/backend-kvm'), slow: true },
];

const fast = process.argv.includes('--fast');
const failed = CHECKS.filter(({ name, args, slow }) => {
  if (fast && slow) return false;
  process.stdout.write(`check: ${name}\n`);
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  return status !== 0;
});
for (const { name } of failed) process.stdout.write(`check: ${name} failed\n`);
if (failed.length === 0) process.stdout.write('check: all good\n');
process.exitCode = failed.length > 0 ? 1 : 0;
