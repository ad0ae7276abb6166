/**
 * Saved VMs that do not fit, on the scripted kernel and on the real one: refused, nothing changed.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ERRNO } from './abi/linux.js';
import { FakeSys, load, realMode, TestVms, whyNoKvm } from './testing/index.js';

const vms = new TestVms();
afterEach(() => vms.dispose());

let sys: FakeSys;
beforeEach(() => {
  sys = new FakeSys();
});

describe('a saved VM', () => {
  async function saved() {
    const vm = await vms.withRam({ sys, irqchip: 'kernel' }, { cpus: 2 });
    vm.memory.fill(0, 0x1000, 1);
    const snapshot = vm.snapshot();
    vm.memory.fill(0, 0x1000, 2);
    const { state } = snapshot;
    const change = (fields: object) => ({
      ...snapshot,
      state: { ...(state as object), ...fields },
    });
    const first = () => {
      const byte = new Uint8Array(1);
      vm.memory.read(0, byte);
      return byte[0];
    };
    sys.log.length = 0;
    return { vm, state: state as Record<string, never>, snapshot, change, first };
  }

  test('is looked through before anything is changed', async () => {
    const { vm, state, change, first } = await saved();
    const [cpu] = state['cpus'] as unknown as object[];
    const bad: Record<string, unknown>[] = [
      { irqchip: 'split' },
      { cpus: [cpu] },
      { cpus: [cpu, { ...cpu, xsave: new Uint8Array(7) }] },
      { cpus: [cpu, { ...cpu, msrs: new Uint8Array(15) }] },
      { cpus: [cpu, { ...cpu, lapic: undefined }] },
      { halted: [false] },
      { halted: [false, 1] },
      { chips: [] },
      { chips: [new Uint8Array(520), new Uint8Array(520), new Uint8Array(519)] },
      { clock: new Uint8Array(7) },
      { memory: null },
    ];
    for (const fields of bad) {
      expect(() => vm.restore(change(fields) as never), JSON.stringify(fields)).toThrow(
        expect.objectContaining({ code: 'snapshot-mismatch' }),
      );
    }
    expect(first()).toBe(2);
    expect(sys.log.filter(({ name }) => name.startsWith('SET_'))).toEqual([]);
  });

  test('of which the kernel refuses a part leaves the VM as it was', async () => {
    const { vm, snapshot, first } = await saved();
    // Every vCPU's registers are 7 now, those of the saved one 0.
    sys.answers.set('GET_REGS', (bytes) => {
      (bytes as Uint8Array).fill(7);
      return 0;
    });
    let times = 0;
    // That of the second vCPU.
    sys.answers.set('SET_XSAVE', () => (++times === 2 ? -ERRNO.EINVAL : 0));
    expect(() => vm.restore(snapshot)).toThrow(
      expect.objectContaining({ code: 'snapshot-mismatch' }),
    );
    expect(first()).toBe(2);
    const registers = sys.calls('SET_REGS').map((bytes) => (bytes as Uint8Array)[0]);
    expect(registers).toEqual([0, 0, 7, 7]);
    sys.answers.clear();
    vm.restore(snapshot);
    expect(first()).toBe(1);
  });
});

const reason = whyNoKvm();

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  test('a saved VM of another kind is refused and changes nothing', async () => {
    const vm = await vms.withRam();
    load(vm, [0xf4]);
    const saved = vm.snapshot();
    const other = await vms.withRam({ irqchip: 'none' });
    const state = realMode(0x1234);
    other.vcpus[0]!.writeState(state);
    expect(() => other.restore(saved)).toThrow(
      expect.objectContaining({ code: 'snapshot-mismatch' }),
    );
    expect(() => other.restore({ ...saved, type: 'emulated-vm' })).toThrow('not the state');
    const { state: fields } = other.snapshot();
    const damaged = { ...(fields as object), cpus: [{}] };
    expect(() => other.restore({ ...saved, state: damaged })).toThrow('of this host');
    const empty = { ...(fields as object), cpus: [null] };
    expect(() => other.restore({ ...saved, state: empty })).toThrow('not the state');
    const chipless = { ...(fields as object), chips: 7 };
    expect(() => other.restore({ ...saved, state: chipless })).toThrow('interrupt controllers');
    const clockless = { ...(fields as object), clock: null };
    expect(() => other.restore({ ...saved, state: clockless })).toThrow('clock');
    expect(other.vcpus[0]!.readState().rip).toBe(0x1234n);
  });
});
