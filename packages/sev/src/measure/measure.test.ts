// Launches of images made here, against a recomputation that shares nothing with the code: plain
// arrays of pages and node:crypto.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { firmwareImage, PLAIN_SECTIONS } from '../testing/firmware-image.js';
import { cpuSignature, cpuTypeSignature } from './cpu-signature.js';
import { parseFirmware, SECTION } from './firmware-tables.js';
import type { LaunchDescription } from './launch.js';
import { measure, vmsaPages } from './measure.js';

const sha384 = (bytes: Uint8Array) => createHash('sha384').update(bytes).digest();
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** The chain as the firmware ABI writes it down. */
function chain(pages: [gpa: bigint, type: number, bytes?: Uint8Array][]): string {
  let digest = Buffer.alloc(48);
  for (const [gpa, type, bytes] of pages) {
    const info = Buffer.alloc(0x70);
    digest.copy(info);
    if (bytes !== undefined) sha384(bytes).copy(info, 48);
    info.writeUInt16LE(0x70, 96);
    info.writeUInt8(type, 98);
    info.writeBigUInt64LE(gpa, 0x68);
    digest = sha384(info);
  }
  return digest.toString('hex');
}

const firmware = firmwareImage();
const firmwarePages: [bigint, number, Uint8Array][] = [
  [0xffffe000n, 1, firmware.subarray(0, 4096)],
  [0xfffff000n, 1, firmware.subarray(4096)],
];
const memory: [bigint, number][] = [0x800000n, 0x801000n, 0x802000n].map((gpa) => [gpa, 3]);
const kernel = Buffer.from('a kernel');
const snp: LaunchDescription = { mode: 'snp', firmware, vcpus: 3, vcpuType: 'EPYC-Milan' };

function vmsas(launch: LaunchDescription): [bigint, number, Uint8Array][] {
  return vmsaPages(launch).map((bytes) => [0xfffffffff000n, 2, bytes]);
}

describe('an SNP launch', () => {
  test('measures firmware, sections and vCPUs in order', () => {
    const expected = chain([
      ...firmwarePages,
      ...memory,
      [0x80d000n, 5],
      [0x80e000n, 6],
      [0x80f000n, 3],
      [0x810000n, 3],
      ...vmsas(snp),
    ]);
    expect(toHex(measure(snp))).toBe(expected);
  });

  test('SEV-11: puts the kernel hashes where the firmware looks for them', () => {
    const launch = { ...snp, kernel, append: 'quiet' };
    const guid = (text: string) => {
      const plain = Buffer.from(text.replaceAll('-', ''), 'hex');
      plain.subarray(0, 4).reverse();
      plain.subarray(4, 6).reverse();
      plain.subarray(6, 8).reverse();
      return plain;
    };
    const entry = (name: string, bytes: Uint8Array) =>
      Buffer.concat([guid(name), Buffer.of(50, 0), sha256(bytes)]);
    const page = Buffer.alloc(4096);
    Buffer.concat([
      guid('9438d606-4f22-4cc9-b479-a793d411fd21'),
      Buffer.of(168, 0),
      entry('97d02dd8-bd20-4c94-aa78-e7714d36ab2a', Buffer.from('quiet\0')),
      entry('44baf731-3a2f-4bd7-9af1-41e29169781d', Buffer.alloc(0)),
      entry('4de79437-abd2-427f-b835-d5b172d2045b', kernel),
    ]).copy(page, 0x400);
    const expected = chain([
      ...firmwarePages,
      ...memory,
      [0x80d000n, 5],
      [0x80e000n, 6],
      [0x80f000n, 3],
      [0x810000n, 1, page],
      ...vmsas(launch),
    ]);
    expect(toHex(measure(launch))).toBe(expected);
  });

  test('on EC2 has the CPUID page last, on GCE unmeasured memory', () => {
    const ec2: LaunchDescription = { mode: 'snp', firmware, vmm: 'ec2' };
    const gce: LaunchDescription = { mode: 'snp', firmware, vmm: 'gce' };
    const rest: [bigint, number][] = [
      [0x80f000n, 3],
      [0x810000n, 3],
    ];
    const onEc2 = [...memory, [0x80d000n, 5], ...rest, [0x80e000n, 6]] as [bigint, number][];
    expect(toHex(measure(ec2))).toBe(chain([...firmwarePages, ...onEc2, ...vmsas(ec2)]));
    const unmeasured = memory.map(([gpa]): [bigint, number] => [gpa, 4]);
    const onGce = [...unmeasured, [0x80d000n, 5], [0x80e000n, 6], ...rest] as [bigint, number][];
    expect(toHex(measure(gce))).toBe(chain([...firmwarePages, ...onGce, ...vmsas(gce)]));
  });

  test('goes on from the digest of the firmware', () => {
    const firmwareDigest = measure({ mode: 'snp:ovmf-hash', firmware });
    expect(toHex(firmwareDigest)).toBe(chain(firmwarePages));
    expect(measure({ ...snp, firmwareDigest })).toEqual(measure(snp));
  });

  test('lists every page with the digest after it', () => {
    const pages: string[] = [];
    const digest = measure(snp, (page) => void pages.push(`${page.name} ${toHex(page.digest)}`));
    expect(pages.length).toBe(2 + 3 + 4 + 3);
    expect(pages.at(-1)).toBe(`vmsa-2 ${toHex(digest)}`);
    expect(pages[1]).toBe(`firmware ${chain(firmwarePages)}`);
  });
});

describe('an SEV launch', () => {
  test('is the hash of the firmware, with the vCPUs for SEV-ES', () => {
    expect(toHex(measure({ mode: 'sev', firmware }))).toBe(sha256(firmware).toString('hex'));
    const es: LaunchDescription = { ...snp, mode: 'seves', features: 0x21 };
    const whole = Buffer.concat([firmware, ...vmsaPages(es)]);
    expect(toHex(measure(es))).toBe(sha256(whole).toString('hex'));
    expect(vmsaPages(es)[0]!.subarray(0x3b0, 0x3b8)).toEqual(new Uint8Array(8));
  });
});

describe('a KRUN launch (unconfirmed: no digest of a machine is known)', () => {
  test('starts the first vCPU with a stack, the others in the trampoline', () => {
    const [first, other] = vmsaPages({ ...snp, vmm: 'krun' }).map((page) => Buffer.from(page));
    expect(first!.readBigUInt64LE(0x1d8)).toBe(0x8ff0n);
    expect(first!.readBigUInt64LE(0x330)).toBe(0x7000n);
    expect(first!.readUInt16LE(0x12)).toBe(0x9a);
    expect(other!.readUInt16LE(0x10)).toBe(0x9100);
    expect(other!.readBigUInt64LE(0x18)).toBe(0x91000n);
    expect(other!.readBigUInt64LE(0x178)).toBe(0n);
  });
});

describe('refuses', () => {
  const refusals: [why: string, launch: LaunchDescription][] = [
    ['no firmware', { mode: 'sev' }],
    ['no vCPU type', { mode: 'snp', firmware }],
    ['two vCPU types', { ...snp, vcpuSignature: 1 }],
    ['an unknown vCPU type', { mode: 'snp', firmware, vcpuType: 'EPYC-Nowhere' }],
    ['no vCPUs', { ...snp, vcpus: 0 }],
    ['half a vCPU', { ...snp, vcpus: 1.5 }],
    ['features of more than 64 bits', { ...snp, features: 2n ** 64n }],
    ['an unknown VMM', { ...snp, vmm: 'constructor' as never }],
    ['an unknown mode', { ...snp, mode: 'tdx' as never }],
    ['an initrd without a kernel', { ...snp, initrd: kernel }],
    ['a short firmware digest', { ...snp, firmwareDigest: new Uint8Array(32) }],
    ['firmware that is not whole pages', { ...snp, firmware: firmware.subarray(1) }],
    ['metadata of another version', { ...snp, firmware: firmwareImage({ version: 2 }) }],
    ['no SVSM', { ...snp, mode: 'snp:svsm' }],
    ['an SVSM without an entry point', { ...snp, mode: 'snp:svsm', svsm: firmware, varsSize: 0 }],
    ['a CPUID section of two pages', { ...snp, firmware: sized(SECTION.cpuid, 0x2000) }],
    ['a section of no whole pages', { ...snp, firmware: sized(SECTION.secMem, 0x800) }],
    ['a section above 4 GiB', { ...snp, firmware: sized(SECTION.secMem, 0xfffff000) }],
    ['sections without end', { ...snp, firmware: sized(SECTION.secMem, 0x20000000) }],
    ['a section of an unknown type', { ...snp, firmware: sized(0x77, 0x1000) }],
    [
      'a kernel hashes table across two pages',
      { ...snp, kernel, firmware: firmwareImage({ hashTable: { base: 0x810fc0, size: 1024 } }) },
    ],
    [
      'a kernel where hashes are not supported',
      { ...snp, kernel, mode: 'sev', firmware: firmwareImage({ hashTable: { base: 0, size: 0 } }) },
    ],
  ];
  test.each(refusals)('%s', (_, launch) => {
    expect(() => measure(launch)).toThrow(expect.objectContaining({ name: 'VmmError' }));
  });

  function sized(type: number, size: number): Uint8Array {
    return firmwareImage({
      sections: [...PLAIN_SECTIONS.slice(0, 1), { gpa: 0x900000, size, type }],
    });
  }
});

describe('firmware tables', () => {
  const refusesOrParses = (image: Uint8Array) => {
    try {
      parseFirmware(image);
    } catch (error) {
      expect(error).toMatchObject({ name: 'VmmError', code: 'invalid-file' });
    }
  };

  test('of random bytes never throw anything but the typed error', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 256 }), refusesOrParses));
  });

  test('damaged in any way never throw anything but the typed error', () => {
    const at = fc.oneof(
      fc.integer({ min: 0x1000, max: 0x1060 }),
      fc.integer({ min: 0x1f40, max: 0x1fff }),
    );
    const damage = fc.array(fc.tuple(at, fc.integer({ min: 0, max: 255 })), { minLength: 1 });
    fc.assert(
      fc.property(damage, (changes) => {
        const image = Uint8Array.from(firmware);
        for (const [where, value] of changes) image[where] = value;
        refusesOrParses(image);
      }),
      { numRuns: 500 },
    );
  });

  test('with lengths that reach outside of the image are refused', () => {
    const tail = firmware.length - 32 - 18;
    for (const [at, value] of [
      [tail, 0xffff],
      [tail, 17],
      [tail - 18, 0xffff],
      [tail - 18, 0],
    ] as const) {
      const image = Buffer.from(firmware);
      image.writeUInt16LE(value, at);
      expect(() => parseFirmware(image)).toThrow(expect.objectContaining({ code: 'invalid-file' }));
    }
    const many = Buffer.from(firmware);
    many.writeUInt32LE(0xffffffff, 0x100c);
    expect(() => parseFirmware(many)).toThrow(expect.objectContaining({ code: 'invalid-file' }));
    many.writeUInt32LE(0xffffffff, 0x1004);
    expect(() => parseFirmware(many)).toThrow(expect.objectContaining({ code: 'invalid-file' }));
  });
});

test('CPU signatures', () => {
  expect(cpuTypeSignature('epyc-V4')).toBe(0x800f12);
  expect(cpuTypeSignature('EPYC-Milan')).toBe(0xa00f11);
  expect(cpuTypeSignature('EPYC-Turin')).toBe(0xb00f00);
  expect(cpuSignature({ family: 6, model: 0x9e, stepping: 13 })).toBe(0x906ed);
  expect(() => cpuSignature({ family: 300, model: 0, stepping: 0 })).toThrow('no CPU');
});
