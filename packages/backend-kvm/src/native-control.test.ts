/** What protections of the host ask of a VM, on the scripted kernel. */
import type { InstructionAssist } from '@cloister/core';
import { beforeEach, describe, expect, test } from 'vitest';
import { CAP } from './abi/constants.js';
import { ERRNO } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import * as S from './abi/structs.js';
import { kvmBackend } from './backend.js';
import { FakeSys, makeVm, ram } from './testing/index.js';

let sys: FakeSys;
beforeEach(() => {
  sys = new FakeSys();
});

describe('native control', () => {
  async function protectedVm() {
    sys.capabilities.set(CAP.VM_TYPES, 0b11101);
    const vm = await makeVm({ sys }, { vmType: 4 });
    vm.addSlot(ram());
    return { vm, native: vm.native };
  }

  test('the VM has the type that was asked for; registers are hidden', async () => {
    const { vm, native } = await protectedVm();
    expect(sys.calls('CREATE_VM')).toEqual([4]);
    expect([native.vmType, native.vmTypes]).toEqual([4, 0b11101]);
    expect(() => vm.vcpus[0]!.readState()).toThrow('the protection hides the registers');
    const probe = await kvmBackend({ sys }).probe();
    expect(probe.capabilities).toEqual(
      expect.arrayContaining(['protection.sev', 'protection.sev-es', 'protection.sev-snp']),
    );
    await vm.dispose();
  });

  test('an assist is refused: it would see what the protection hides', async () => {
    sys.capabilities.set(CAP.VM_TYPES, 0b11101);
    const assist = { name: 'assist' } as InstructionAssist;
    await expect(makeVm({ sys }, { vmType: 4, assist })).rejects.toMatchObject({
      code: 'unsupported',
    });
    expect(sys.open).toEqual({ files: 0, mappings: 0 });
  });

  test('a command carries its struct, attachments and /dev/sev; the firmware answers', async () => {
    const { vm, native } = await protectedVm();
    const struct = new Uint8Array(24);
    const certificate = Uint8Array.of(1, 2, 3);
    sys.answers.set('MEMORY_ENCRYPT_OP', (argument) => {
      const command = new StructView(S.SEV_CMD, argument as Uint8Array);
      expect(command.get('id')).toBe(100);
      expect(sys.files.get(command.get('sev_fd'))?.kind).toBe('sev');
      const passed = sys.bytesAt(command.get64('data'));
      const view = new DataView(passed.buffer, passed.byteOffset);
      expect([...sys.bytesAt(view.getBigUint64(8, true)).subarray(0, 3)]).toEqual([1, 2, 3]);
      passed[0] = 0x77;
      return 0;
    });
    const attachments = [{ at: 8, bytes: certificate }];
    expect(native.memoryEncryptOp(100, struct, attachments)).toBe(0);
    expect(struct[0]).toBe(0x77);
    sys.answers.set('MEMORY_ENCRYPT_OP', (argument) => {
      new StructView(S.SEV_CMD, argument as Uint8Array).set('error', 0x16);
      return -ERRNO.EIO;
    });
    expect(native.memoryEncryptOp(101, struct, [])).toBe(0x16);
    sys.answers.set('MEMORY_ENCRYPT_OP', () => -ERRNO.ENOTTY);
    expect(() => native.memoryEncryptOp(101, struct, [])).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
    expect(() => native.memoryEncryptOp(1, struct, [{ at: 20, bytes: certificate }])).toThrow(
      'does not fit at 20',
    );
    await vm.dispose();
    expect(sys.open).toEqual({ files: 0, mappings: 0 });
  });

  test('an attachment may be guest memory, by its address in this process', async () => {
    const { vm, native } = await protectedVm();
    const struct = new Uint8Array(16);
    native.memoryEncryptOp(3, struct, [{ at: 0, gpa: 0x3000, length: 0x2000 }]);
    native.registerRegion(0x3000, 0x2000);
    const region = sys.calls('MEMORY_ENCRYPT_REG_REGION')[0] as Uint8Array;
    const address = new DataView(struct.buffer).getBigUint64(0, true);
    expect(address).toBe(new StructView(S.ENC_REGION, region).get64('addr'));
    expect(() =>
      native.memoryEncryptOp(3, struct, [{ at: 0, gpa: 0xff000, length: 0x2000 }]),
    ).toThrow('one memory slot');
    await vm.dispose();
  });

  test('regions are given by their address in this process', async () => {
    const { vm, native } = await protectedVm();
    native.registerRegion(0x3000, 0x2000);
    const [region] = sys.calls('MEMORY_ENCRYPT_REG_REGION');
    const view = new StructView(S.ENC_REGION, region as Uint8Array);
    const slot = new StructView(
      S.USERSPACE_MEMORY_REGION,
      sys.calls('SET_USER_MEMORY_REGION')[0] as Uint8Array,
    );
    expect(view.get64('addr')).toBe(slot.get64('userspace_addr') + 0x3000n);
    expect(view.get64('size')).toBe(0x2000n);
    native.unregisterRegion(0x3000, 0x2000);
    native.setPrivate(0x3000, 0x1000, true);
    const attributes = sys.calls('SET_MEMORY_ATTRIBUTES')[0] as Uint8Array;
    expect(new StructView(S.MEMORY_ATTRIBUTES, attributes).get64('attributes')).toBe(8n);
    expect(() => native.registerRegion(0xfffff000, 0x1000)).toThrow('one memory slot');
    await vm.dispose();
  });
});

test('a protected guest finds where the C-bit is, and its own protection only', async () => {
  // EAX: SME, SEV, SEV-ES, SNP and coherence; EBX: C-bit 51, 5 bits fewer.
  sys.answers.set('GET_SUPPORTED_CPUID', (argument) => {
    const bytes = argument as Uint8Array;
    new StructView(S.CPUID2, bytes).set('nent', 1);
    new StructView(S.CPUID_ENTRY2, bytes, S.CPUID2.size)
      .set('function', 0x8000001f)
      .set('eax', 0x41b)
      .set('ebx', 0x173);
    return 0;
  });
  sys.capabilities.set(CAP.VM_TYPES, 0b11101);
  expect((await kvmBackend({ sys }).probe()).cBit).toBe(51);
  const found = async (vmType: number): Promise<number[]> => {
    const vm = await makeVm({ sys }, { vmType });
    const list = sys.calls('SET_CPUID2').at(-1) as Uint8Array;
    await vm.dispose();
    const entries = Array.from({ length: new StructView(S.CPUID2, list).get('nent') }, (_, at) => {
      return new StructView(S.CPUID_ENTRY2, list, S.CPUID2.size + at * S.CPUID_ENTRY2.size);
    });
    const own = entries.filter((entry) => entry.get('function') === 0x8000001f);
    return own.flatMap((entry) => [entry.get('eax'), entry.get('ebx')]);
  };
  expect(await found(0)).toEqual([0, 0]);
  expect(await found(2)).toEqual([0x402, 0x173]);
  expect(await found(3)).toEqual([0x40a, 0x173]);
  expect(await found(4)).toEqual([0x41a, 0x173]);
});
