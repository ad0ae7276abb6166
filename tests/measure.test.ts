// `cloister measure`, as built and as a user starts it, on the firmware of Debian's package ovmf.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const cloister = join(root, 'packages', 'cli', 'bin', 'cloister.js');
const vectors = process.env['CLOISTER_VECTORS'] ?? join(root, '..', 'shared', 'vectors');
const ovmf = [
  '/usr/share/ovmf/OVMF.fd',
  join(vectors, 'measure', 'inputs', 'debian-OVMF-2022.11-6+deb12u2.fd'),
].find((path) => existsSync(path));
const why = ovmf === undefined ? ' (skipped: the Debian package ovmf is not installed)' : '';

function measure(...words: string[]) {
  const launch = ['--mode', 'snp', '--vcpus', '4', '--vcpu-type', 'EPYC-v4', '--ovmf', ovmf!];
  const args = [cloister, 'measure', ...launch, ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test.skipIf(ovmf === undefined)(`measure predicts the digest of a launch${why}`, () => {
  const plain = measure();
  expect(plain).toMatchObject({ status: 0, stderr: '' });
  expect(plain.stdout).toMatch(/^[0-9a-f]{96}\n$/);
  const other = measure('--guest-features', '0x21').stdout.trim();
  expect(other).not.toBe(plain.stdout.trim());
  const { status, stdout } = measure('--explain', other);
  expect(status).toBe(1);
  expect(stdout).toContain('guest features: given 0x1 (SNP), found 0x21 (SNP, DebugSwap)');
});
