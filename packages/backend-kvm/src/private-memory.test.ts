/** Private memory of protected VMs: on the scripted kernel, and slots with it on the real one. */
import { beforeEach, describe, expect, test } from 'vitest';
import { CAP } from './abi/constants.js';
import { ERRNO, NR } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import * as S from './abi/structs.js';
import { KvmGuestMemory } from './guest-memory.js';
import { KvmHost } from './host.js';
import { ioctl } from './sys/sys.js';
import { FakeSys, MIB, makeVm, ram, realSys, whyNoKvm } from './testing/index.js';

let sys: FakeSys;
beforeEach(() => {
  sys = new FakeSys();
  sys.capabilities.set(CAP.VM_TYPES, 0b11101);
});

const slot = { ...ram(), encryptable: true };
const snp = () => makeVm({ sys }, { vmType: 4, memorySize: 2 * MIB });
const files = () => [...sys.files.values()].filter(({ kind }) => kind === 'private').length;

describe('an SNP VM', () => {
  test('has a file that nobody maps for each slot that may be private', async () => {
    const vm = await snp();
    vm.addSlot(slot);
    vm.addSlot({ ...ram(0x1000), id: 1, gpa: 0xfff00000, name: 'rom' });
    const [made] = sys.calls('CREATE_GUEST_MEMFD') as Uint8Array[];
    expect(new StructView(S.CREATE_GUEST_MEMFD, made!).get64('size')).toBe(BigInt(MIB));
    const [region] = sys.calls('SET_USER_MEMORY_REGION2') as Uint8Array[];
    const view = new StructView(S.USERSPACE_MEMORY_REGION2, region!);
    expect([view.get('flags'), view.get64('memory_size')]).toEqual([4, BigInt(MIB)]);
    expect(sys.files.get(view.get('guest_memfd'))?.kind).toBe('private');
    expect(sys.calls('SET_USER_MEMORY_REGION').length).toBe(1);
    // KVM keeps no log of such a slot: it is not asked to.
    expect(vm.memory.takeDirty().length).toBe(257);
    expect(sys.calls('SET_USER_MEMORY_REGION2').length).toBe(1);
    vm.memory.takeDirty();
    expect(sys.calls('GET_DIRTY_LOG').length).toBe(1);
    vm.removeSlot(0);
    expect(files()).toBe(0);
    vm.addSlot(slot);
    await vm.dispose();
    expect(sys.open).toEqual({ files: 0, mappings: 0 });
  });

  test('has pages converted both ways; what becomes shared is the host’s again', async () => {
    const vm = await snp();
    vm.addSlot(slot);
    vm.memory.convert(0x3000, 0x2000, 'private');
    expect(sys.punched).toEqual([]);
    vm.memory.convert(0x4000, 0x1000, 'shared');
    expect(sys.punched).toEqual([{ kind: 'private', offset: 0x4000, length: 0x1000 }]);
    const calls = (sys.calls('SET_MEMORY_ATTRIBUTES') as Uint8Array[]).map((bytes) => {
      const view = new StructView(S.MEMORY_ATTRIBUTES, bytes);
      return [view.get64('address'), view.get64('size'), view.get64('attributes')];
    });
    expect(calls).toEqual([
      [0x3000n, 0x2000n, 8n],
      [0x4000n, 0x1000n, 0n],
    ]);
    sys.failures.set('fallocate', ERRNO.EIO);
    expect(() => vm.memory.convert(0x3000, 0x1000, 'shared')).toThrow('cannot be freed');
    await vm.dispose();
  });

  test('gives back private pages that are discarded, wherever they lie', async () => {
    const vm = await snp();
    vm.addSlot({ ...ram(0x1000), id: 1, gpa: 0xfff00000, name: 'rom' });
    vm.addSlot({ ...slot, gpa: 0x100000 });
    vm.memory.convert(0x103000, 0x2000, 'private');
    vm.memory.discard(0x104000, 0x1000);
    expect(sys.punched.filter(({ kind }) => kind === 'private')).toEqual([
      { kind: 'private', offset: 0x4000, length: 0x1000 },
    ]);
    await vm.dispose();
  });

  test('whose slot the kernel refuses keeps no file of it', async () => {
    const vm = await snp();
    sys.failures.set('SET_USER_MEMORY_REGION2', ERRNO.EINVAL);
    expect(() => vm.addSlot(slot)).toThrow('KVM_SET_USER_MEMORY_REGION2: EINVAL');
    expect(files()).toBe(0);
    await vm.dispose();
  });
});

function whyNoGuestMemfd(): string | null {
  const why = whyNoKvm();
  if (why !== null) return why;
  const host = KvmHost.open(realSys()) as KvmHost;
  const has = host.capability(CAP.GUEST_MEMFD) > 0;
  host.close();
  return has ? null : "this host's KVM has no guest_memfd";
}

const reason = whyNoGuestMemfd();

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  test('a slot with private memory comes and goes', () => {
    const kernel = realSys();
    const host = KvmHost.open(kernel) as KvmHost;
    const vmFd = ioctl(kernel, host.fd, 'CREATE_VM', 0);
    const memory = new KvmGuestMemory({ sys: kernel, vmFd, size: 2 * MIB, withPrivate: true });
    memory.addSlot(slot);
    memory.removeSlot(0);
    memory.addSlot({ ...slot, gpa: MIB });
    expect(memory.locate(MIB)).toBe(0);
    // An ordinary VM has the files, where the kernel allows that, but no private pages.
    expect(() => memory.convert(MIB, 0x1000, 'private')).toThrow('KVM_SET_MEMORY_ATTRIBUTES');
    memory.dispose();
    kernel.syscall(NR.close, vmFd);
    host.close();
  });
});
