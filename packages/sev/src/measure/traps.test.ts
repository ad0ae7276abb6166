// What other tools got wrong, or their users stumbled over: one test for each, named after it.
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { firmwareImage } from '../testing/firmware-image.js';
import { explain } from './explain.js';
import { checkIdAuth, createIdAuth, encodeIdBlock } from './id-block.js';
import { importIdKey } from './id-key.js';
import type { LaunchDescription } from './launch.js';
import { snpChain } from './launch-chain.js';
import { measure, vmsaPages } from './measure.js';

const firmware = firmwareImage();
const snp: LaunchDescription = { mode: 'snp', firmware, vcpus: 2, vcpuType: 'EPYC-v4' };
const pageOf = (launch: LaunchDescription, index = 0) => Buffer.from(vmsaPages(launch)[index]!);

const SEV_FEATURES = 0x3b0;
const RDX = 0x310;
const MXCSR = 0x408;
const FCW = 0x410;

describe('trap: the VMSA', () => {
  test('has SEV_FEATURES 0x1 unless told, not what some host adds', () => {
    expect(pageOf(snp).readBigUInt64LE(SEV_FEATURES)).toBe(1n);
    expect(measure(snp)).toEqual(measure({ ...snp, features: 1 }));
  });

  test('has no SEV_FEATURES for SEV-ES, whatever is asked', () => {
    const es: LaunchDescription = { ...snp, mode: 'seves' };
    expect(measure({ ...es, features: 0x21 })).toEqual(measure(es));
    expect(pageOf({ ...es, features: 0x21 }).readBigUInt64LE(SEV_FEATURES)).toBe(0n);
  });

  test('has the FPU defaults of the host’s kernel: both or neither, also under an SVSM', () => {
    const svsm = firmwareImage({ size: 0x4000, svsmEntry: 0x10 });
    const under: LaunchDescription = { ...snp, mode: 'snp:svsm', svsm, varsSize: 0x1000 };
    for (const launch of [snp, under]) {
      const [now, before] = [pageOf(launch), pageOf({ ...launch, vmm: 'qemu-legacy' })];
      expect([now.readUInt32LE(MXCSR), now.readUInt16LE(FCW)]).toEqual([0x1f80, 0x37f]);
      expect([before.readUInt32LE(MXCSR), before.readUInt16LE(FCW)]).toEqual([0, 0]);
    }
  });

  test('has RDX 0x600 on EC2 now and 0 before, and a mismatch says so', () => {
    const ec2: LaunchDescription = { mode: 'snp', firmware, vcpus: 2, vmm: 'ec2' };
    const before: LaunchDescription = { ...ec2, vmm: 'ec2-rdx0' };
    expect(pageOf(ec2).readBigUInt64LE(RDX)).toBe(0x600n);
    expect(pageOf(before).readBigUInt64LE(RDX)).toBe(0n);
    const { causes } = explain(before, measure(ec2));
    expect(causes.map(({ input }) => input)).toEqual(['VMM (rdx of the VMSA)']);
  });

  test('keeps the segment in which KRUN starts its other vCPUs (unconfirmed)', () => {
    const page = pageOf({ ...snp, vmm: 'krun' }, 1);
    expect([page.readUInt16LE(0x10), page.readBigUInt64LE(0x18)]).toEqual([0x9100, 0x91000n]);
  });

  test('comes from a vCPU type in any spelling; half a CPU is refused', () => {
    expect(measure({ ...snp, vcpuType: 'epyc-V4' })).toEqual(measure(snp));
    const { vcpuType: _, ...without } = snp;
    const half = { ...without, vcpuModel: { family: 23 } as never };
    expect(() => measure(half)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    expect(() => measure({ ...snp, vcpuType: 'EPYC-v99' })).toThrow(/EPYC-v99/);
  });
});

describe('trap: the chain', () => {
  test('has the permissions of VMPL1, 2, 3 at 0x65, 0x66, 0x67', () => {
    const permissions = { vmpl1: 1, vmpl2: 2, vmpl3: 4 };
    const bytes = new Uint8Array(4096).fill(7);
    const region = { name: 'a', gpa: 0x5000, size: 4096, type: 'normal', bytes } as const;
    const chain = snpChain();
    chain.add({ ...region, permissions });
    const info = Buffer.alloc(0x70);
    createHash('sha384').update(bytes).digest().copy(info, 0x30);
    info.set([0x70, 0, 1, 0, 0, 1, 2, 4], 0x60);
    info.writeUInt32LE(0x5000, 0x68);
    expect(toHex(chain.digest())).toBe(createHash('sha384').update(info).digest('hex'));
  });

  test('is not what SEV and SEV-ES platforms return: that is an HMAC, and told apart', () => {
    const blob = new Uint8Array(48);
    expect(() => explain({ mode: 'sev', firmware }, blob)).toThrow(/32 bytes/);
    try {
      explain({ mode: 'sev', firmware }, blob);
    } catch (error) {
      expect((error as { remedy: string }).remedy).toMatch(/HMAC.*measure hmac/);
    }
  });
});

test('trap: an ID block that the firmware would refuse is found before the launch', async () => {
  const pkcs8 = async () => {
    const name = { name: 'ECDSA', namedCurve: 'P-384' };
    const { privateKey } = await crypto.subtle.generateKey(name, true, ['sign', 'verify']);
    return importIdKey(new Uint8Array(await crypto.subtle.exportKey('pkcs8', privateKey)));
  };
  const [id, author] = [await pkcs8(), await pkcs8()];
  const block = encodeIdBlock({ digest: measure(snp), policy: 0x30000n });
  const auth = await createIdAuth(block, { id, author });
  expect(await checkIdAuth(block, auth)).toMatchObject({ blockSigned: true, keySigned: true });
  const other = encodeIdBlock({ digest: measure(snp), policy: 0x30001n });
  expect(await checkIdAuth(other, auth)).toMatchObject({ blockSigned: false, keySigned: true });
  auth[0x680]! ^= 1;
  expect(await checkIdAuth(block, auth)).toMatchObject({ blockSigned: true, keySigned: false });
});
