/** A guest that stands still in a hypercall, where KVM emulates kernel mode, is told of. */
import { afterEach, describe, expect, test } from 'vitest';
import { emulatesKernels } from './hypercall-loop.js';
import { longMode, protectedMode, runOnce, TestVms, whyNoKvm } from './testing/index.js';

const why = whyNoKvm() ?? (emulatesKernels() ? null : 'here KVM has hardware virtualization');
const vms = new TestVms();
afterEach(() => vms.dispose());

const SLICE_NS = 5e6;

describe.skipIf(why !== null)(`a KVM that emulates kernel mode ${why ?? ''}`, () => {
  test.each([
    ['VMMCALL', 'protected', [0x0f, 0x01, 0xd9]],
    ['VMCALL', 'protected', [0x0f, 0x01, 0xc1]],
    ['VMMCALL', 'long', [0x0f, 0x01, 0xd9]],
  ])('%s in %s mode is an error, not a guest that runs for ever', async (_name, mode, call) => {
    const vm = await vms.loaded([...call, 0xe6, 0x10, 0xf4]);
    const state = mode === 'long' ? longMode(vm, 0x1000) : protectedMode(0x1000);
    vm.vcpus[0]!.writeState(state);
    let last = runOnce(vm, SLICE_NS);
    for (let runs = 0; runs < 50 && last.end === 'slice'; runs++) last = runOnce(vm, SLICE_NS);
    expect(last.end).toBe('error');
    expect(last.exits).toMatchObject([
      { kind: 'error', code: 'hypercall-loop', message: expect.stringContaining('at 0x1000 ') },
    ]);
  });

  test.each([
    ['a jump to itself', [0xeb, 0xfe]],
    // inc ecx; jmp; and, never executed, a hypercall.
    ['a loop', [0x41, 0xeb, 0xfd, 0x0f, 0x01, 0xd9]],
  ])('%s is none', async (_name, code) => {
    const vm = await vms.loaded(code);
    vm.vcpus[0]!.writeState(protectedMode(0x1000));
    for (let runs = 0; runs < 5; runs++) {
      expect(runOnce(vm, SLICE_NS)).toEqual({ end: 'slice', exits: [] });
    }
  });
});
