// Each mistake alone, and some together: the cause that is named is the one that was made.
import { describe, expect, test } from 'vitest';
import { firmwareImage } from '../testing/firmware-image.js';
import { explain } from './explain.js';
import { hashCmdline, kernelHashes } from './kernel-hashes.js';
import type { LaunchDescription } from './launch.js';
import { measure } from './measure.js';

const firmware = firmwareImage();
const kernel = new TextEncoder().encode('a kernel');
const base: LaunchDescription = { mode: 'snp', firmware, vcpus: 4, vcpuType: 'EPYC-v4' };
const booted = { ...base, kernel, initrd: kernel, append: 'quiet' };

type Mistake = [
  what: string,
  actual: LaunchDescription,
  described: LaunchDescription,
  inputs: string[],
  found?: RegExp,
];

const mistakes: Mistake[] = [
  ['features', { ...base, features: 0x21n }, base, ['guest features'], /DebugSwap/],
  ['two features', { ...base, features: 0x8021 }, base, ['guest features'], /SmtProtection/],
  ['vCPU count', { ...base, vcpus: 2 }, base, ['vcpus'], /^2$/],
  ['vCPU type', { ...base, vcpuType: 'EPYC-Genoa' }, base, ['vCPU type'], /EPYC-Genoa/],
  ['FPU defaults', { ...base, vmm: 'qemu-legacy' }, base, ['VMM (FPU defaults of the VMSA)']],
  ['EC2 rdx', { ...base, vmm: 'ec2-rdx0' }, { ...base, vmm: 'ec2' }, ['VMM (rdx of the VMSA)']],
  ['VMM', { ...base, vmm: 'gce' }, base, ['VMM'], /gce/],
  ['kernel hashes', base, booted, ['kernel hashes'], /off/],
  ['initrd', { ...base, kernel, append: 'quiet' }, booted, ['initrd']],
  ['newline', { ...booted, append: 'quiet\n' }, booted, ['command line'], /newline/],
  ['firmware', base, { ...base, firmware: withVariables() }, ['firmware'], /131072/],
  ['features and count', { ...base, vcpus: 7, features: 0x21 }, base, ['guest features', 'vcpus']],
  [
    'features and type',
    { ...base, vcpuType: 'EPYC-Milan', features: 0x21 },
    base,
    ['guest features', 'vCPU type'],
  ],
  ['mode', { ...base, mode: 'sev' }, { ...base, mode: 'seves' }, ['mode'], /sev/],
  ['ES count', { ...base, mode: 'seves', vcpus: 9 }, { ...base, mode: 'seves' }, ['vcpus']],
];

function withVariables(): Uint8Array {
  const whole = new Uint8Array(128 * 1024 + firmware.length);
  whole.set(firmware, 128 * 1024);
  return whole;
}

describe('explain names', () => {
  test.each(mistakes)('%s', (_, actual, described, inputs, found = /./) => {
    const { matches, causes } = explain(described, measure(actual));
    expect(matches).toBe(false);
    expect(causes.map(({ input }) => input).sort()).toEqual(inputs);
    expect(causes[0]!.found).toMatch(found);
  });

  test('nothing where the digest is as expected', () => {
    expect(explain(booted, measure(booted))).toMatchObject({ matches: true, causes: [] });
  });

  test('nothing where no variant fits, and says how many were tried', () => {
    const { matches, causes, tried } = explain(base, new Uint8Array(48));
    expect(matches).toBe(false);
    expect(causes).toEqual([]);
    expect(tried).toBeGreaterThan(1000);
  });

  test('a digest of another size as such', () => {
    expect(() => explain(base, new Uint8Array(32))).toThrow('48 bytes');
  });
});

test('an SVSM_CAA section that was left out is named', () => {
  const image = firmwareImage();
  const observed = measure({
    ...base,
    layout: {
      resetEip: 0x80b004,
      sections: [
        { gpa: 0x800000, size: 0x3000, type: 1 },
        { gpa: 0x80d000, size: 0x1000, type: 2 },
        { gpa: 0x80e000, size: 0x1000, type: 3 },
        { gpa: 0x810000, size: 0x1000, type: 0x10 },
      ],
    },
  });
  const { causes } = explain({ ...base, firmware: image }, observed);
  expect(causes).toEqual([
    { input: 'SVSM_CAA section', given: 'a zero page', found: 'not measured' },
  ]);
});

test('a command line that was hashed without its NUL is named', () => {
  const { kernel: hash, initrd } = kernelHashes({ kernel, initrd: kernel });
  const hashes = { kernel: hash, initrd, cmdline: hashCmdline('quiet') };
  const { causes } = explain(booted, measure({ ...base, hashes }));
  expect(causes).toEqual([
    { input: 'command line', given: '"quiet"', found: 'without the NUL at its end' },
  ]);
});
