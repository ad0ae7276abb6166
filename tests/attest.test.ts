// `cloister attest`, as built, on reports of real machines: every exit status by a process of its
// own, the first that applies; what is printed; a policy; a folder of certificates of all products.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signatures } from '@cloister/sev/attest';
import { hashes } from '@cloister/sev/measure';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vectors, vectorsAbsent } from '../tools/lib/vectors.mjs';
import { cloister } from './lib/command.js';
import { inProcess } from './lib/in-process.js';

const reports = join(vectors, 'reports');
const why = vectorsAbsent('reports');

const certs = join(reports, 'certs');
const reportOf = (id: string) => join(reports, 'reports', `${id}.bin`);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-attest-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

/** The report with one bit of its measurement turned over. */
function flipped(id: string): string {
  const bytes = readFileSync(reportOf(id));
  bytes[0x90]! ^= 1;
  return file(`${id}-flipped`, bytes);
}

async function verify(report: string, ...words: string[]) {
  const { status, stdout, stderr } = await cloister(['attest', 'verify', report, ...words]);
  return { status, out: stdout.toString(), errors: stderr };
}

describe.skipIf(why !== '')(`attest verify ends with the first status that applies${why}`, () => {
  const debug = 'milan-v2-vcek-debug';
  const at = ['--certs', certs, '--at', '2026-03-01'];
  const early = ['--certs', certs, '--at', '2001-01-01'];

  test('0: trusted', async () => {
    const { status, out, errors } = await verify(reportOf('turin-v5-vcek'), ...at);
    expect({ status, errors }).toEqual({ status: 0, errors: '' });
    expect(out).toMatch(/\ntrusted\n$/);
  });

  test('1: bad input, though signature, dates and policy are wrong as well', async () => {
    const bad = await verify(flipped(debug), ...early, '--policy', file('bad.json', '{"vmlp":0}'));
    expect({ ...bad, out: '' }).toMatchObject({ status: 1 });
    expect(bad.errors).toMatch(
      /^cloister: invalid-config: vmlp: expected one of allowDebug, .*\n$/,
    );
    const short = await verify(file('short', readFileSync(reportOf(debug)).subarray(1)), ...at);
    expect(short.errors).toMatch(/^cloister: invalid-file: .*short: report of 1183 bytes/);
    expect(short.status).toBe(1);
  });

  test('2: the signature, though dates and policy are wrong as well', async () => {
    const { status, out } = await verify(flipped(debug), ...early);
    expect(status).toBe(2);
    expect(out).toMatch(
      /WRONG signature.report\n[\s\S]*WRONG chain.vek-dates\n[\s\S]*WRONG policy.debug/,
    );
    expect(out).toMatch(/\nnot trusted: signature\n$/);
  });

  test('3: the chain, though the policy is wrong as well', async () => {
    const { status, out } = await verify(reportOf(debug), ...early);
    expect(status).toBe(3);
    expect(out).toMatch(/\nnot trusted: chain\n$/);
    const vlek = await verify(reportOf('milan-v3-vlek-aws'), ...at);
    expect(vlek.status).toBe(3);
    expect(vlek.out).toMatch(/WRONG chain.vek-dates\n {6}expected .*\n {6}found {4}2026-03-01/);
  });

  test('4: the policy', async () => {
    const { status, out } = await verify(reportOf(debug), ...at);
    expect(status).toBe(4);
    expect(out).toMatch(/\nWRONG policy.debug\n {6}expected no\n {6}found {4}yes\n/);
    expect(out).toMatch(/\nnot trusted: policy\n$/);
  });
});

describe.skipIf(why !== '')(`attest${why}`, () => {
  const run = (...words: string[]) => inProcess(['attest', ...words], folder);
  const turin = reportOf('turin-v5-vcek');
  const at = ['--certs', certs, '--at', '2026-03-01'];

  test('--json is trusted, checks and the report', async () => {
    const verdict = JSON.parse((await run('verify', turin, ...at, '--json')).out);
    expect(verdict).toMatchObject({ trusted: true, failure: null, report: { product: 'Turin' } });
    for (const check of verdict.checks) {
      expect(Object.keys(check)).toEqual(['id', 'ok', 'expected', 'found']);
    }
  });

  test('a policy in a file is what is demanded', async () => {
    const { report } = JSON.parse((await run('verify', turin, ...at, '--json')).out);
    const { measurement, hostData, reportData } = report;
    const policy = {
      measurement,
      hostData: [hostData, '00'.repeat(32)],
      reportData,
      minimumTcb: { reported: { snp: 4, microcode: 81 }, certificate: { fmc: 1 } },
      platformInfo: { required: 'aliasCheck' },
    };
    const demanding = (changes: object) => [
      ...at,
      '--policy',
      file('policy.json', JSON.stringify({ ...policy, ...changes })),
    ];
    const met = await run('verify', turin, ...demanding({}));
    expect(met.out).toContain('not checked: revocation\n');
    expect(met.status).toBe(0);
    const missed = await run('verify', turin, ...demanding({ requireCrl: true, vmpl: [1, 2] }));
    expect(missed.out).toContain('WRONG policy.vmpl\n      expected 1 or 2\n      found    0\n');
    expect(missed.status).toBe(3);
    const other = await run('verify', turin, ...demanding({ measurement: 'ff'.repeat(48) }));
    expect(other.status).toBe(4);
  });

  test('--certs reads PEM as well, and says which file is damaged', async () => {
    const mixed = mkdtempSync(join(folder, 'mixed-'));
    const pem = ['turin-v5-vcek-vek', 'ARK-Turin'].map((name) => {
      const base64 = readFileSync(join(certs, `${name}.der`)).toString('base64');
      return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
    });
    writeFileSync(join(mixed, 'two.PEM'), pem.join('\n'));
    cpSync(join(certs, 'SEV-Turin.der'), join(mixed, 'x.der'));
    writeFileSync(join(mixed, 'notes.txt'), 'not looked at');
    const words = ['verify', turin, '--certs', mixed, '--at', '2026-03-01'];
    expect((await run(...words)).status).toBe(0);
    writeFileSync(join(mixed, 'y.der'), readFileSync(join(certs, 'ARK-Milan.der')).subarray(0, 99));
    const { status, errors } = await run(...words);
    expect(status).toBe(1);
    expect(errors).toContain('y.der');
  });

  test('--vek says the product of a report that does not', async () => {
    const old = ['verify', reportOf('milan-v2-vcek'), '--at', '2025-01-01'];
    const none = ['--offline', '--cache', join(folder, 'none')];
    const unknown = await run(...old, ...none);
    expect(unknown.errors).toMatch(/does not say its product \(name it with --product/);
    const vek = ['--vek', join(certs, 'milan-v2-vcek-vek.der')];
    expect((await run(...old, ...none, ...vek)).errors).toMatch(/vcek\/v1\/Milan\/cert_chain/);
    const ca = ['SEV-Milan', 'ARK-Milan'].map((name) => readFileSync(join(certs, `${name}.der`)));
    const pem = ca.map((der) => {
      const lines = der.toString('base64').replace(/.{64}/g, '$&\n');
      return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
    });
    const chain = ['--chain', file('chain', pem.join(''))];
    expect((await run(...old, ...vek, ...chain)).status).toBe(0);
    const two = await run(...old, '--vek', file('two', pem.join('')), ...chain);
    expect(two.errors).toMatch(/two: 2 certificates, where one is wanted/);
  });

  test('fetch asks a server, keeps what it says, and needs it no more', async () => {
    const { server, asked } = keyServer();
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const kds = ['--kds', url, '--cache', join(folder, 'kds')];
    const out = join(folder, 'fetched');
    const fetched = await run('fetch', turin, ...kds, '--out', out);
    expect(fetched.errors).toMatch(/no revocation list/);
    expect(fetched.out).toBe('SEV-VCEK.der\nSEV-Turin.der\nARK-Turin.der\n');
    server.close();
    expect(asked).toEqual([
      '/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=81',
      '/vcek/v1/Turin/cert_chain',
      '/vcek/v1/Turin/crl',
    ]);
    const date = ['--at', '2026-03-01'];
    expect((await run('verify', turin, '--certs', out, ...date)).status).toBe(0);
    const offline = await run('verify', turin, ...kds, '--offline', ...date);
    expect(offline.out).toMatch(/\ntrusted\n$/);
    expect(offline.status).toBe(0);
    const empty = ['--cache', join(folder, 'empty'), '--offline'];
    expect((await run('verify', turin, ...empty, ...date)).status).toBe(1);
  });
});

/** AMD's answers for the Turin report; there is no list. */
function keyServer() {
  const asked: string[] = [];
  const pem = ['SEV-Turin', 'ARK-Turin'].map((name) => {
    const base64 = readFileSync(join(certs, `${name}.der`)).toString('base64');
    return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
  });
  const server = createServer((request, response) => {
    const url = request.url!;
    asked.push(url);
    if (url.endsWith('/cert_chain')) response.end(pem.join(''));
    else if (url.endsWith('/crl')) response.writeHead(404).end();
    else response.end(readFileSync(join(certs, 'turin-v5-vcek-vek.der')));
  });
  return { server, asked };
}

test('the package in Node is the build over node:crypto', () => {
  expect([hashes().name, signatures().name]).toEqual(['node:crypto', 'node:crypto']);
});

test('attest tells what is no report, and wrong usage, with status 1', async () => {
  const run = (...words: string[]) => inProcess(['attest', ...words], folder);
  expect(await run('show', 'missing')).toMatchObject({ status: 1, out: '' });
  expect(await run('show', file('text', 'no report'))).toMatchObject({ status: 1, out: '' });
  expect((await run('verify', 'x', '--unknown')).errors).toMatch(/unknown option '--unknown'/);
  const { out } = await run('verify', '--help');
  for (const name of ['certs', 'vek', 'chain', 'product', 'at', 'policy', 'offline', 'json']) {
    expect(out).toContain(`  --${name}`);
  }
});
