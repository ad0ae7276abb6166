/**
 * Guest memory on the real KVM: slots, pages given back to the host, logs of written pages.
 */
import { fstatSync } from 'node:fs';
import type { VmExit } from '@cloister/core';
import { afterEach, describe, expect, test } from 'vitest';
import { load, MIB, protectedMode, ram, runOnce, TestVms, whyNoKvm } from './testing/index.js';
import { isWeakHost } from './testing/weak-host.js';
import type { KvmVm } from './vm.js';

const reason = whyNoKvm();

const vms = new TestVms();
afterEach(() => vms.dispose());

/** Stops a run from inside a sink when the guest says so. */
const until = (vm: KvmVm, port: number) => (exit: VmExit) => {
  if (exit.kind === 'io' && exit.port === port) vm.vcpus[0]!.shorten(0);
};

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  test('memory that is given back is free for the host, and zeros for the guest', async () => {
    const SIZE = 16 * MIB;
    const vm = await vms.withRam({}, { memorySize: SIZE });
    const held = () => fstatSync(vm.memoryFd).blocks * 512;
    expect(held()).toBe(0);
    vm.memory.fill(0, SIZE, 0x5a);
    load(vm, [0xa0, 0, 0x50, 0xe6, 0x99, 0xeb, 0xf9]); // mov al, [0x5000]; out; jmp back
    const al = () =>
      runOnce(vm, 2e9, until(vm, 0x99)).exits.map((exit) => exit.kind === 'io' && exit.data[0]);
    expect(al()).toEqual([0x5a]);
    expect(held()).toBe(SIZE);
    vm.memory.takeDirty();
    vm.memory.discard(0x5000, 0x1000);
    vm.memory.discard(MIB, 8 * MIB);
    expect(held()).toBe(SIZE - 8 * MIB - 0x1000);
    expect(vm.memory.takeDirty().length).toBe(1 + (8 * MIB) / 4096);
    expect(al()).toEqual([0]);
    // A snapshot looks only at what is there.
    const { state } = vm.snapshot();
    expect(held()).toBeLessThanOrEqual(SIZE - 8 * MIB);
    vm.memory.fill(MIB, 8 * MIB, 1);
    vm.restore({ type: 'kvm-vm', version: 1, state });
    expect(held()).toBeLessThanOrEqual(SIZE - 8 * MIB);
    expect(al()).toEqual([0]);
    const back = new Uint8Array(SIZE);
    vm.memory.read(0, back);
    expect(back.subarray(MIB, 9 * MIB).every((byte) => byte === 0)).toBe(true);
    expect(back.subarray(9 * MIB).every((byte) => byte === 0x5a)).toBe(true);
    vm.removeSlot(0);
    expect(held()).toBe(0);
  });

  test('slots come and go while the VM lives', async () => {
    const code = [0xa0, 0x00, 0x80, 0xe6, 0x99, 0xeb, 0xf9]; // mov al,[8000h]; out; jmp -7
    const vm = await vms.make({}, { memorySize: MIB });
    vm.addSlot(ram(0x8000));
    load(vm, code);
    const kinds = () => runOnce(vm, 2e9, until(vm, 0x99)).exits.map(({ kind }) => kind);
    expect(kinds()).toEqual(['mmio', 'io']);
    vm.addSlot({ ...ram(0x1000), id: 1, gpa: 0x8000 });
    vm.memory.write(0x8000, Uint8Array.of(5));
    expect(kinds()).toEqual(['io']);
    vm.removeSlot(1);
    expect(kinds()).toEqual(['mmio', 'io']);
    expect(() => vm.addSlot({ ...ram(0x1000), id: 2, gpa: 0x8800 })).toThrow('is not a multiple');
    expect(() => vm.addSlot({ ...ram(0x1000), id: 2, gpa: 0x7000 })).toThrow('overlap');
    expect(() => vm.addSlot({ ...ram(4 * MIB), id: 2, gpa: 0x100000 })).toThrow(
      'no memory is left',
    );
  });

  test('written pages are logged, by log and by ring', async () => {
    const code = [0xc6, 0x06, 0x00, 0x50, 1, 0xe6, 0x99, 0xeb, 0xf7]; // mov byte [5000h],1; out
    for (const dirtyRing of [0, 1024]) {
      const vm = await vms.loaded(code, { dirtyRing });
      if (dirtyRing === 0) expect(vm.memory.takeDirty().length).toBe(256);
      else expect([...vm.memory.takeDirty()]).toContain(1);
      runOnce(vm, 2e9, until(vm, 0x99));
      vm.memory.write(0x9fff, Uint8Array.of(1, 2));
      expect([...vm.memory.takeDirty()]).toEqual([5, 9, 10]);
      expect([...vm.memory.takeDirty()]).toEqual([]);
    }
  });

  test('rings that fill again and again name each page once', async () => {
    const code = [
      0xbb, 4, 0, 0, 0, // mov ebx, 4
      0xbf, 0, 0, 1, 0, // mov edi, 0x10000
      0xff, 0x07, // inc dword [edi]
      0x81, 0xc7, 0, 0x10, 0, 0, // add edi, 0x1000
      0x81, 0xff, 0, 0, 0x80, 0, // cmp edi, 0x800000
      0x72, 0xf0, // jb to the inc
      0x4b, 0x75, 0xe8, // dec ebx; jnz to the mov edi
      0xe6, 0x99,
    ]; // biome-ignore format: instructions
    const vm = await vms.withRam({ dirtyRing: 1024 }, { memorySize: 8 * MIB });
    load(vm, code);
    vm.vcpus[0]!.writeState(protectedMode(0x1000));
    vm.memory.takeDirty();
    const [exit, ...more] = runOnce(vm, 5e9, until(vm, 0x99)).exits;
    expect(more).toEqual([]);
    // A weak host's KVM writes on past the end of a ring, and loses count.
    if (isWeakHost() && exit?.kind === 'error') return expect(exit.code).toBe('dirty-ring');
    expect(exit).toMatchObject({ kind: 'io', port: 0x99 });
    const pages = Array.from({ length: 0x7f0 }, (_, index) => 0x10 + index);
    expect([...vm.memory.takeDirty()]).toEqual(pages);
    expect([...vm.memory.takeDirty()]).toEqual([]);
  });
});
