/** Emulation assist: by the fake kernel and a scripted helper, and for real. */
import { emulatedAssist } from '@cloister/backend-emu';
import type { AssistEnd, AssistState, InstructionAssist } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { EXIT, INTERNAL_ERROR, VM_TYPE } from './abi/constants.js';
import { StructView } from './abi/struct.js';
import { EXIT_INTERNAL, XSAVE } from './abi/structs.js';
import { ioctl } from './sys/sys.js';
import { FakeSys, leave } from './testing/fake-sys.js';
import { load, longMode, MIB, makeVm, ram, realSys, runOnce, whyNoKvm } from './testing/index.js';

const FAILURE = leave(EXIT.INTERNAL_ERROR, EXIT_INTERNAL, { suberror: INTERNAL_ERROR.EMULATION });

/** A helper that ends every step as it is told. */
function helper(end: AssistEnd, change: (state: AssistState) => void = () => {}) {
  const steps: number[] = [];
  const assist: InstructionAssist = {
    name: 'scripted',
    open: ({ memorySize }) => ({
      memory: new Uint8Array(memorySize),
      msrs: [],
      addSlot: () => {},
      removeSlot: () => {},
      step(index, state, sink) {
        steps.push(index);
        change(state);
        if (end === 'shutdown') {
          sink({ kind: 'shutdown', vcpu: index, instructions: -1, reason: 'triple-fault' });
        }
        return end;
      },
    }),
  };
  return { assist, steps };
}

describe('on a scripted kernel', () => {
  test('what was executed is put back, and the guest goes on', async () => {
    const kernel = new FakeSys();
    const { assist, steps } = helper('done', ({ registers }) => {
      registers.rip = 0x1234n;
    });
    const vm = await makeVm({ sys: kernel }, { assist });
    load(vm, []);
    kernel.script.push(FAILURE, leave(EXIT.SHUTDOWN));
    const { end, exits } = runOnce(vm);
    expect(steps).toEqual([0]);
    expect([end, exits.map(({ kind }) => kind)]).toEqual(['shutdown', ['shutdown']]);
    const regs = kernel.calls('SET_REGS').at(-1) as Uint8Array;
    expect(new DataView(regs.buffer).getBigUint64(16 * 8, true)).toBe(0x1234n);
    expect(vm.statistics().at(-1)).toEqual(['instructions assisted', 1]);
    await vm.dispose();
    expect(kernel.open).toEqual({ files: 0, mappings: 0 });
  });

  test('a shutdown ends the run; its exit comes once', async () => {
    const kernel = new FakeSys();
    const vm = await makeVm({ sys: kernel }, { assist: helper('shutdown').assist });
    load(vm, []);
    kernel.script.push(FAILURE);
    const { end, exits } = runOnce(vm);
    expect([end, exits.map(({ kind }) => kind)]).toEqual(['shutdown', ['shutdown']]);
    await vm.dispose();
  });

  test('what the helper refuses is the error that it would be without it', async () => {
    for (const assist of [helper('refused').assist, undefined]) {
      const kernel = new FakeSys();
      const vm = await makeVm({ sys: kernel }, assist === undefined ? {} : { assist });
      load(vm, []);
      kernel.script.push(FAILURE);
      const before = kernel.calls('SET_REGS').length;
      const { end, exits } = runOnce(vm);
      expect(end).toBe('error');
      expect(exits).toMatchObject([{ kind: 'error', code: 'emulation-failure' }]);
      expect(kernel.calls('SET_REGS')).toHaveLength(before);
      await vm.dispose();
    }
  });

  test.each([
    ['a protected VM', {}, { vmType: VM_TYPE.SEV_VM }],
    ['a processor without a model', { cpu: 'host' }, {}],
  ])('%s takes no help, and no VM is left', async (_name, options, vmOptions) => {
    const kernel = new FakeSys();
    kernel.capabilities.set(235, 1 | (1 << VM_TYPE.SEV_VM));
    const { assist } = helper('done');
    const made = makeVm({ sys: kernel, ...options }, { assist, ...vmOptions });
    await expect(made).rejects.toMatchObject({ code: 'unsupported' });
    expect(kernel.open).toEqual({ files: 0, mappings: 0 });
  });
});

const reason = whyNoKvm();

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  /** MOVD XMM0, EAX; PADDB XMM0, XMM0; MOVD [0x3000], XMM0; OUT 0x80, AL; UD2 without an IDT. */
  const code = [
    0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfc, 0xc0, 0x66, 0x0f, 0x7e, 0x04, 0x25, 0x00, 0x30, 0x00,
    0x00, 0xe6, 0x80, 0x0f, 0x0b,
  ];

  async function longVm() {
    const vm = await makeVm({}, { assist: emulatedAssist() });
    vm.addSlot(ram());
    vm.memory.write(0x1000, Uint8Array.from(code));
    const state = longMode(vm, 0x1000);
    state.cr4 |= 0x600n;
    state.cr0 &= ~4n;
    state.gpr.rax = 0x01020304n;
    state.idtr.limit = 0;
    vm.vcpus[0]!.writeState(state);
    return vm;
  }

  test('both processors see the same memory and registers', async () => {
    const vm = await longVm();
    vm.memory.takeDirty();
    const { exits } = runOnce(vm);
    expect(exits.map(({ kind }) => kind)).toEqual(['io', 'shutdown']);
    const stored = new Uint8Array(4);
    vm.memory.read(0x3000, stored);
    expect([...stored]).toEqual([8, 6, 4, 2]);
    expect([...vm.memory.takeDirty()]).toContain(3);
    await vm.dispose();
  });

  test('extended state that the helper does not have stays', async () => {
    const vm = await longVm();
    const sys = realSys();
    const { fd } = vm.vcpus[0]!;
    const xsave = new StructView(XSAVE);
    ioctl(sys, fd, 'GET_XSAVE', xsave.bytes);
    // The upper halves of YMM0 to YMM15: component 2, at 576 on every processor that has it.
    xsave.bytes.fill(0xa5, 576, 576 + 256);
    xsave.bytes[512]! |= 7;
    ioctl(sys, fd, 'SET_XSAVE', xsave.bytes);
    runOnce(vm);
    const after = new StructView(XSAVE);
    ioctl(sys, fd, 'GET_XSAVE', after.bytes);
    expect(after.bytes[512]! & 4).toBe(4);
    expect([...after.bytes.subarray(576, 832)]).toEqual(new Array(256).fill(0xa5));
    expect([...after.bytes.subarray(160, 164)]).toEqual([8, 6, 4, 2]);
    await vm.dispose();
  });

  test('a slot that is taken away and added elsewhere is seen there', async () => {
    const vm = await makeVm({}, { assist: emulatedAssist(), memorySize: 2 * MIB });
    vm.addSlot(ram());
    vm.addSlot({ ...ram(0x1000), id: 1, gpa: 0x200000 });
    vm.removeSlot(1);
    vm.addSlot({ ...ram(0x2000), id: 1, gpa: 0x300000 });
    vm.memory.write(0x300000, Uint8Array.of(1, 2, 3, 4));
    // PADDB XMM0, [0x300000]; MOVD ECX, XMM0; UD2
    vm.memory.write(
      0x1000,
      Uint8Array.of(
        ...[0x66, 0x0f, 0xfc, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00],
        ...[0x66, 0x0f, 0x7e, 0xc1, 0xe6, 0x80, 0x0f, 0x0b],
      ),
    );
    const state = longMode(vm, 0x1000);
    state.cr4 |= 0x600n;
    state.idtr.limit = 0;
    vm.vcpus[0]!.writeState(state);
    let rcx = 0n;
    runOnce(vm, 2e9, (exit) => {
      if (exit.kind === 'io') rcx = vm.vcpus[0]!.readState().gpr.rcx;
    });
    expect(rcx).toBe(0x04030201n);
    await vm.dispose();
  });
});
