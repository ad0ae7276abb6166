// `cloister measure`, as built: as a user starts it, on the firmware of Debian's package ovmf; and
// the words for every case of the vectors, in this process.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vectors, vectorsAbsent } from '../tools/lib/vectors.mjs';
import { cloister } from './lib/command.js';
import { inProcess, type Result } from './lib/in-process.js';

const inputs = join(vectors, 'measure', 'inputs');
const absent = vectorsAbsent('measure/inputs');
const ovmf = ['/usr/share/ovmf/OVMF.fd', join(inputs, 'debian-OVMF-2022.11-6+deb12u2.fd')].find(
  (path) => existsSync(path),
);
const why = ovmf === undefined ? ' (skipped: the Debian package ovmf is not installed)' : '';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-measure-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const run = (...words: string[]): Promise<Result> => inProcess(['measure', ...words], folder);

test.skipIf(ovmf === undefined)(`measure predicts the digest of a launch${why}`, async () => {
  const measure = async (...words: string[]) => {
    const launch = ['--mode', 'snp', '--vcpus', '4', '--vcpu-type', 'EPYC-v4', '--ovmf', ovmf!];
    const { status, stdout, stderr } = await cloister(['measure', ...launch, ...words]);
    return { status, stdout: stdout.toString(), stderr };
  };
  const plain = await measure();
  expect(plain).toMatchObject({ status: 0, stderr: '' });
  expect(plain.stdout).toMatch(/^[0-9a-f]{96}\n$/);
  const other = (await measure('--guest-features', '0x21')).stdout.trim();
  expect(other).not.toBe(plain.stdout.trim());
  const { status, stdout } = await measure('--explain', other);
  expect(status).toBe(1);
  expect(stdout).toContain('guest features: given 0x1 (SNP), found 0x21 (SNP, DebugSwap)');
});

interface Case {
  readonly id: string;
  readonly mode: string;
  readonly tool?: string;
  readonly vmm?: string;
  readonly fms?: readonly number[];
  readonly digest?: string;
  readonly [field: string]: unknown;
}

const cases = (name: string): Case[] =>
  absent ? [] : JSON.parse(readFileSync(join(vectors, 'measure', `${name}.json`), 'utf8')).cases;

/** Which option a field of a case is, and whether it names a file of the inputs. */
const OPTIONS: Readonly<Record<string, readonly [option: string, isFile?: boolean]>> = {
  mode: ['--mode'],
  ovmf: ['--ovmf', true],
  kernel: ['--kernel', true],
  initrd: ['--initrd', true],
  append: ['--append'],
  svsm: ['--svsm', true],
  vars_size: ['--vars-size'],
  vcpus: ['--vcpus'],
  vcpu_type: ['--vcpu-type'],
  vcpu_sig: ['--vcpu-sig'],
  features: ['--guest-features'],
  ovmf_hash: ['--snp-ovmf-hash'],
};

/** The words of a case, with features other than those it names where they have no effect. */
function wordsOf(each: Case): string[] {
  const { fms = [], vmm, tool } = each;
  const names = ['--vcpu-family', '--vcpu-model', '--vcpu-stepping'];
  const legacy = vmm === 'ec2' ? tool === '0.0.12' : tool === '0.0.9';
  const type = vmm === 'ec2' ? (legacy ? 'ec2-rdx0' : 'ec2') : legacy ? 'QEMU-legacy' : vmm;
  return [
    ...Object.entries(OPTIONS).flatMap(([field, [option, isFile]]) => {
      const value = each[field];
      if (value === undefined) return [];
      return [option, isFile ? join(inputs, String(value)) : String(value)];
    }),
    ...fms.flatMap((number, index) => [names[index]!, String(number)]),
    ...(type === undefined ? [] : ['--vmm-type', type]),
  ];
}

describe.skipIf(absent !== '')(`the command gives the digests of the vectors${absent}`, () => {
  // SVSM cases there repeat a fault of the tool that made them.
  const asserted = cases('upstream-asserted').filter(({ mode }) => mode !== 'snp:svsm');
  let ran = 0;
  afterAll(() => {
    process.stdout.write(`measure, as built: ${ran} cases of the vectors ran\n`);
  });
  test.each([...cases('expected'), ...asserted])('$id $mode', async (each) => {
    const needsCount = each.mode !== 'sev' && each.mode !== 'snp:ovmf-hash';
    const count = needsCount && each['vcpus'] === undefined ? ['--vcpus', '1'] : [];
    const { status, out, errors } = await run(...wordsOf(each), ...count);
    ran += 1;
    if (each.digest === undefined) {
      expect({ status, out }).toEqual({ status: 2, out: '' });
      expect(errors).toMatch(/^cloister: (invalid-file|invalid-argument|unsupported): .+$/);
    } else {
      expect({ status, out, errors }).toEqual({ status: 0, out: `${each.digest}\n`, errors: '' });
    }
  });

  const SVSM = ['--mode', 'snp:svsm', '--svsm', join(inputs, 'svsm.bin')];
  SVSM.push('--ovmf', join(inputs, 'svsm_ovmf.fd'), '--vcpus', '2', '--vcpu-type', 'EPYC-v4');

  test('--vars-file is as good as --vars-size', async () => {
    const size = await run(...SVSM, '--vars-size', '0x84000');
    expect(size.status).toBe(0);
    const { status, out } = await run(...SVSM, '--vars-file', join(inputs, 'synth-64k-full.fd'));
    expect(status).toBe(0);
    expect(out).toBe((await run(...SVSM, '--vars-size', '65536')).out);
    expect(out).not.toBe(size.out);
  });

  test('--dump-vmsa writes the pages that the vectors have', async () => {
    const words = ['--mode', 'snp', '--vcpus', '2', '--vmm-type', 'ec2', '--dump-vmsa'];
    const { status } = await run(...words, '--ovmf', join(inputs, 'ovmf_AmdSev_suffix.bin'));
    expect(status).toBe(0);
    const written = readFileSync(join(folder, 'vmsa0.bin'));
    expect(written.equals(readFileSync(join(vectors, 'measure/vmsa/ec2-rdx600-bsp.bin')))).toBe(
      true,
    );
    expect(existsSync(join(folder, 'vmsa1.bin'))).toBe(true);
  });

  test('--output-format, --pages and --json print what they say', async () => {
    const words = ['--mode', 'snp', '--vcpus', '1', '--vmm-type', 'gce'];
    words.push('--ovmf', join(inputs, 'gce-fake-4k.fd'));
    const hex = (await run(...words)).out.trim();
    const base64 = Buffer.from(hex, 'hex').toString('base64');
    expect((await run(...words, '--output-format', 'base64')).out).toBe(`${base64}\n`);
    const lines = (await run(...words, '--pages')).out.trimEnd().split('\n');
    expect(lines.at(-1)).toBe(hex);
    expect(lines.at(-2)).toMatch(new RegExp(`^0xfffffffff000 vmsa +vmsa-0 +${hex}$`));
    expect(JSON.parse((await run(...words, '--json')).out)).toEqual({ mode: 'snp', digest: hex });
  });
});

test('the help names every option and command', async () => {
  const { out } = await run('--help');
  const names = [...Object.values(OPTIONS).map(([option]) => option), '--vars-file', '--vmm-type'];
  names.push('--vcpu-family', '--vcpu-model', '--vcpu-stepping', '--output-format', '--dump-vmsa');
  names.push('--explain', '--pages', '--json', '--igvm', 'id-block', 'secret', 'hmac');
  for (const name of names) expect(out).toContain(`  ${name}`);
  expect(out).toMatch(/krun and IGVM are unconfirmed/);
  for (const command of ['id-block', 'secret', 'hmac']) {
    expect((await run(command, '--help')).out).toMatch(new RegExp(`cloister measure ${command}`));
  }
});
