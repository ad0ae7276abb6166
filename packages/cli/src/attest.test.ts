/**
 * `cloister attest` on reports of real machines (skipped where the vectors are not), and on what is
 * no report at all.
 */
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseArguments } from './arguments.js';
import { attest, attestStatusOfError } from './attest.js';
import { main } from './main.js';
import { FakeHost } from './testing/fake-host.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const vectors = process.env['CLOISTER_VECTORS'] ?? join(root, '..', 'shared', 'vectors');
const reports = join(vectors, 'reports');
const why = existsSync(reports) ? '' : ` (skipped: no vectors at ${reports})`;

const report = (id: string): string => join(reports, 'reports', `${id}.bin`);
const certs = join(reports, 'certs');
const AT = ['--at', '2026-03-01'];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-attest-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

/** Runs the command as `main` does, with its standard output as text. */
async function run(...words: string[]): Promise<{ status: number; out: string }> {
  let out = '';
  try {
    const invocation = parseArguments(['attest', ...words], { version: '0', cwd: folder });
    if (invocation.command !== 'attest') throw new Error(`took ${invocation.command}`);
    const status = await attest(invocation, {
      cwd: folder,
      warn: () => {},
      print: async (text) => {
        out += text;
      },
      fetch: () => Promise.reject(new TypeError('no network in tests')),
    });
    return { status, out };
  } catch (error) {
    return { status: attestStatusOfError(error), out };
  }
}

describe.skipIf(why !== '')(`cloister attest on the vectors${why}`, () => {
  const turin = report('turin-v5-vcek');

  test('verify is 0 for a report that is trusted, with all certificates at hand', async () => {
    const { status, out } = await run('verify', turin, '--certs', certs, ...AT);
    expect(status).toBe(0);
    expect(out.trimEnd().split('\n').at(-1)).toBe('trusted');
  });

  test('verify takes the certificate and its chain as files', async () => {
    const pem = ['SEV-Turin', 'ARK-Turin'].map((name) => {
      const base64 = readFileSync(join(certs, `${name}.der`)).toString('base64');
      return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
    });
    const vek = ['--vek', join(certs, 'turin-v5-vcek-vek.der')];
    const chain = file('chain', pem.join(''));
    const verify = ['verify', turin, ...vek, '--chain', chain, ...AT];
    expect((await run(...verify)).status).toBe(0);
    expect((await run(...verify, '--product', 'Milan')).status).toBe(3);
  });

  test('verify goes by what a file is, not by its name', async () => {
    const other = mkdtempSync(join(folder, 'names-'));
    const names = ['turin-v5-vcek-vek', 'SEV-Turin', 'ARK-Turin'];
    for (const [index, name] of names.entries()) {
      const odd = ['ark.der', 'crl.pem', '1.DER'][index]!;
      copyFileSync(join(certs, `${name}.der`), join(other, odd));
    }
    expect((await run('verify', turin, '--certs', other, ...AT)).status).toBe(0);
  });

  test('verify is 2 for a signature, before anything else that is wrong', async () => {
    const bytes = readFileSync(report('milan-v2-vcek-debug'));
    bytes[0x60]! ^= 1;
    const bad = file('flipped', bytes);
    expect((await run('verify', bad, '--certs', certs, '--at', '2020-01-01')).status).toBe(2);
  });

  test('verify is 3 for the chain: a VLEK that ended', async () => {
    const aws = report('milan-v3-vlek-aws');
    expect((await run('verify', aws, '--certs', certs, '--at', '2026-01-01')).status).toBe(3);
    // Within its dates the policy's VMPL is what is left.
    expect((await run('verify', aws, '--certs', certs, '--at', '2025-06-01')).status).toBe(4);
    const policy = file('vmpl.json', '{"vmpl": [1]}');
    const verify = ['verify', aws, '--certs', certs, '--at', '2025-06-01', '--policy', policy];
    expect((await run(...verify)).status).toBe(0);
  });

  test('verify is 4 for the policy, and --json says all', async () => {
    const debug = ['verify', report('milan-v2-vcek-debug'), '--certs', certs, ...AT];
    const { status, out } = await run(...debug, '--json');
    expect(status).toBe(4);
    const verdict = JSON.parse(out);
    expect(Object.keys(verdict)).toEqual(['trusted', 'failure', 'checks', 'unchecked', 'report']);
    expect(verdict.checks.filter(({ ok }: { ok: boolean }) => !ok)).toEqual([
      { id: 'policy.debug', ok: false, expected: 'no', found: 'yes' },
    ]);
    expect(verdict.report.guestPolicy.set).toContain('debug');
  });

  test('verify is 1 for a policy with a misspelt rule, no certificate, no network', async () => {
    const verify = ['verify', turin, ...AT];
    const policy = file('misspelt.json', '{"mesurement": "00"}');
    expect((await run(...verify, '--certs', certs, '--policy', policy)).status).toBe(1);
    const empty = mkdtempSync(join(folder, 'empty-'));
    expect((await run(...verify, '--certs', empty)).status).toBe(1);
    expect((await run(...verify, '--cache', empty)).status).toBe(1);
    expect((await run(...verify, '--cache', empty, '--offline')).status).toBe(1);
    expect((await run(...verify, '--certs', certs, '--at', 'noon')).status).toBe(1);
  });

  test('show prints every field, unknown bits too', async () => {
    const { status, out } = await run('show', turin);
    expect(status).toBe(0);
    expect(out).toMatch(/^platformInfo\.unknown +0x40$/m);
    expect(out).toMatch(/^reportedTcb\.fmc +1$/m);
    const json = JSON.parse((await run('show', turin, '--json')).out);
    expect(json).toMatchObject({ version: 5, product: 'Turin', cpuid: { family: 0x1a } });
  });
});

describe('cloister attest', () => {
  test('is 1 for what is no report, and for wrong usage', async () => {
    expect((await run('show', file('short', 'no report'))).status).toBe(1);
    expect((await run('show', 'missing')).status).toBe(1);
    expect((await run('verify')).status).toBe(1);
    expect((await run('verify', 'x', '--unknown')).status).toBe(1);
    expect((await run()).status).toBe(1);
    expect(await main(['attest', 'show', join(folder, 'missing')], new FakeHost())).toBe(1);
  });
});
