// `cloister measure`, from words to standard output, over a firmware made here.
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measure as digestOfLaunch, toHex } from '@cloister/sev/measure';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { main } from './main.js';
import { nodeHost } from './node-host.js';

let folder = '';
/** 8 KiB with a reset block and no sections: all that a digest needs. */
const firmware = Buffer.alloc(8192, 0x90);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-measure-'));
  const entry = (data: Buffer, guid: string) => {
    const length = Buffer.alloc(2);
    length.writeUInt16LE(data.length + 18);
    return Buffer.concat([data, length, Buffer.from(guid, 'hex')]);
  };
  const reset = entry(Buffer.from('04b08000', 'hex'), 'de71f7007e1acb4f890e68c77e2fb44e');
  const footer = entry(reset, 'de82b596b21ff745baeaa366c55a082d');
  footer.copy(firmware, 8192 - 32 - footer.length);
  writeFileSync(join(folder, 'OVMF.fd'), firmware);
});

afterAll(() => rmSync(folder, { recursive: true }));

async function run(...words: string[]) {
  let out = '';
  const errors: string[] = [];
  const host = nodeHost();
  const stdout = {
    on: () => undefined,
    write: (bytes: Uint8Array, done: () => void) => {
      out += Buffer.from(bytes).toString();
      done();
      return true;
    },
  };
  const port = { ...host, cwd: folder, stdin: undefined as never, stdout: stdout as never };
  const status = await main(['measure', ...words], {
    ...port,
    warn: (line) => void errors.push(line),
  });
  return { status, out, errors: errors.join('\n') };
}

const SNP = ['--mode', 'snp', '--vcpus', '4', '--vcpu-type', 'EPYC-v4', '--ovmf', 'OVMF.fd'];
const expected = (features = 1n) =>
  toHex(digestOfLaunch({ mode: 'snp', vcpus: 4, vcpuType: 'EPYC-v4', firmware, features }));

describe('measure', () => {
  test('prints the digest and a newline only', async () => {
    expect(await run(...SNP)).toEqual({ status: 0, out: `${expected()}\n`, errors: '' });
    const base64 = Buffer.from(expected(0x21n), 'hex').toString('base64');
    const words = ['--guest-features', '33', '--output-format', 'base64', '--vmm-type', 'qemu'];
    expect((await run(...SNP, ...words)).out).toBe(`${base64}\n`);
  });

  test('takes a vCPU by its signature, and by family, model and stepping', async () => {
    const rest = ['--mode', 'snp', '--vcpus=4', '--ovmf', 'OVMF.fd'];
    const model = ['--vcpu-family', '23', '--vcpu-model', '1', '--vcpu-stepping', '2'];
    expect((await run(...rest, '--vcpu-sig', '0x800f12')).out).toBe(`${expected()}\n`);
    expect((await run(...rest, ...model)).out).toBe(`${expected()}\n`);
  });

  test('goes on from the digest of the firmware', async () => {
    const { out } = await run('--mode', 'snp:ovmf-hash', '--ovmf', 'OVMF.fd');
    expect((await run(...SNP, '--snp-ovmf-hash', out.trim())).out).toBe(`${expected()}\n`);
  });

  test('explains a mismatch, with status 1', async () => {
    const { status, out } = await run(...SNP, '--explain', expected(0x21n));
    expect(status).toBe(1);
    expect(out).toMatch(/guest features: given 0x1 \(SNP\), found 0x21 \(SNP, DebugSwap\)/);
    expect((await run(...SNP, '--explain', expected())).status).toBe(0);
  });

  test('lists pages, as text and as JSON', async () => {
    const lines = (await run(...SNP, '--pages')).out.trimEnd().split('\n');
    expect(lines.length).toBe(2 + 4 + 1);
    expect(lines[0]).toMatch(/^0x0000ffffe000 normal {5}firmware {9}[0-9a-f]{96}$/);
    const json = JSON.parse((await run(...SNP, '--pages', '--json')).out);
    expect(json).toMatchObject({ mode: 'snp', digest: expected() });
    expect(json.pages.at(-1)).toMatchObject({ name: 'vmsa-3', digest: expected() });
  });

  test('dumps VMSAs', async () => {
    expect((await run(...SNP, '--dump-vmsa')).status).toBe(0);
    expect(readFileSync(join(folder, 'vmsa3.bin')).readUInt32LE(0x310)).toBe(0x800f12);
  });

  const refused: [why: string, words: string[]][] = [
    ['no mode', ['--ovmf', 'OVMF.fd']],
    ['no firmware', ['--mode', 'sev']],
    ['no number of vCPUs', ['--mode', 'snp', '--ovmf', 'OVMF.fd']],
    ['a family alone', [...SNP, '--vcpu-family', '23']],
    ['a file that is not there', ['--mode', 'sev', '--ovmf', 'nothing.fd']],
    ['a VMM that is not known', [...SNP, '--vmm-type', 'xen']],
    ['features that are no number', [...SNP, '--guest-features', 'snp']],
    ['a kernel that the firmware does not take', [...SNP, '--kernel', 'OVMF.fd']],
    ['a firmware that is no IGVM file', ['--igvm', 'OVMF.fd']],
    ['an IGVM file and a mode', ['--igvm', 'OVMF.fd', '--mode', 'snp']],
    ['too short a digest', [...SNP, '--explain', '00']],
  ];
  test.each(refused)('refuses %s', async (_, words) => {
    const { status, out, errors } = await run(...words);
    expect({ status, out }).toEqual({ status: 2, out: '' });
    expect(errors).toMatch(/^cloister: invalid-(argument|file): /);
  });
});

describe('measure id-block', () => {
  test('makes what it then checks', async () => {
    for (const name of ['id', 'author']) {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
      const pem = privateKey.export({ type: 'sec1', format: 'pem' });
      writeFileSync(join(folder, `${name}.pem`), pem);
    }
    const keys = ['--id-key', 'id.pem', '--author-key', 'author.pem'];
    const made = await run('id-block', '--measurement', expected(), ...keys, '--json');
    expect(made.status).toBe(0);
    const { idBlock, idAuth, idKeyDigest } = JSON.parse(made.out);
    writeFileSync(join(folder, 'auth.txt'), `${idAuth}\n`);
    writeFileSync(join(folder, 'block.bin'), Buffer.from(idBlock, 'base64'));
    const checked = await run('id-block', '--block', 'block.bin', '--auth', 'auth.txt');
    expect(checked.status).toBe(0);
    expect(checked.out).toContain(`id-key-digest ${idKeyDigest}\n`);
    expect(checked.out).toContain('key-signed true\n');
    const other = Buffer.from(idBlock, 'base64').fill(0, 0, 1).toString('base64');
    expect((await run('id-block', '--block', other, '--auth', 'auth.txt')).status).toBe(1);
  });
});

describe('measure hmac and secret', () => {
  const tik = '66320db73158a35a255d051758e95ed4';
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  const nonce = '4fbe0bedbad6c86ae8f68971d103e554';
  const mac = '6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea';
  const firmwareOf = ['--api-major', '0', '--api-minor', '18', '--build-id', '15'];
  const words = ['hmac', '--tik', tik, '--digest', empty, ...firmwareOf];

  test('hmac', async () => {
    expect((await run(...words, '--policy', '0', '--nonce', nonce)).out).toBe(`${mac}\n`);
    const blob = ['--launch-measure-blob', mac + nonce];
    expect((await run(...words, '--policy', '0', ...blob)).status).toBe(0);
    expect((await run(...words, '--policy', '1', ...blob)).status).toBe(1);
    expect((await run(...words, '--policy', '0')).status).toBe(2);
  });

  test('secret', async () => {
    writeFileSync(join(folder, 'pass'), 'MY-LUKS-PASSPHRASE');
    const keys = ['--tik', 'c6d5a9956133050912b24bbe5c372686'];
    keys.push('--tek', '52a869b79ab9c13bb6a92b0561619cb3');
    keys.push('--iv', 'ac5474ed4dd32c7d989ec523d92559ec');
    const blob =
      '4cb780efad3b959427b4b8d1635fe2fac6ed75267eef9cf1a73e0fc7d873a412' +
      'f022d179436a38a6b03efb7659bfd652';
    const what = ['--secret', '736869e5-84f0-4973-92ec-06879ce3da0b:pass'];
    const all = ['secret', ...keys, '--launch-measure-blob', blob, ...what];
    const { out } = await run(...all, '--secret-file', 'packet.bin');
    const [name, header] = out.trim().split(' ');
    expect(name).toBe('header');
    expect(Buffer.from(header!, 'base64').toString('hex')).toBe(
      '00000000ac5474ed4dd32c7d989ec523d92559ec' +
        'bc152cde610e17f0aef557334a2d4fca42c22c4312e3b5b85a3d47b0aac857e5',
    );
    expect(readFileSync(join(folder, 'packet.bin')).toString('hex')).toMatch(/^d14ddee4f717bf45/);
  });
});
