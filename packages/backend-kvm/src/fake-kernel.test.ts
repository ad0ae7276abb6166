/**
 * The backend against the scripted kernel: exits that no small guest can cause, errors of every
 * call, and that nothing stays open whatever fails.
 */
import { emulatedBackend } from '@cloister/backend-emu';
import { copyExit, type VmExit } from '@cloister/core';
import { beforeEach, describe, expect, test } from 'vitest';
import { CAP, EXIT, INTERNAL_ERROR, MP, MSR_EXIT_REASON, SYSTEM_EVENT } from './abi/constants.js';
import { ERRNO, NR } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import * as S from './abi/structs.js';
import { kvmBackend } from './backend.js';
import { FakeSys, interrupted, io, leave, load, makeVm, ram, runOnce } from './testing/index.js';
import type { KvmVm } from './vm.js';

let sys: FakeSys;
beforeEach(() => {
  sys = new FakeSys();
});

const open = () => makeVm({ sys });

/** A VM whose boot CPU goes through `steps`. */
async function scripted(...steps: FakeSys['script']): Promise<KvmVm> {
  const vm = await open();
  vm.addSlot(ram());
  sys.script.push(...steps);
  return vm;
}

async function exitsOf(...steps: FakeSys['script']) {
  const vm = await scripted(...steps);
  const result = runOnce(vm);
  await vm.dispose();
  return result;
}

describe('exits', () => {
  test('string I/O comes with all items; what a handler fills in goes back', async () => {
    const vm = await scripted(io('out', 0x1f0, 2, [1, 2, 3, 4, 5, 6]), io('in', 0x60, 1, [0, 0]));
    const seen: VmExit[] = [];
    vm.vcpus[0]!.run(1e6, (exit) => {
      seen.push(copyExit(exit));
      if (exit.kind === 'io' && exit.direction === 'in') exit.data.set([8, 9]);
    });
    expect(seen).toMatchObject([
      { kind: 'io', direction: 'out', port: 0x1f0, size: 2, count: 3, vcpu: 0, instructions: -1 },
      { kind: 'io', direction: 'in', count: 2, data: Uint8Array.of(0xff, 0xff) },
    ]);
    // The deadline's signal already completed the instruction: no entry only for that.
    expect(sys.completions).toBe(0);
    const runPage = [...sys.files.values()].find(({ kind }) => kind === 'vcpu')!.buffer!;
    expect([...new Uint8Array(runPage, 4096, 2)]).toEqual([8, 9]);
    await vm.dispose();
  });

  test('shorten completes the instruction before the run ends', async () => {
    const vm = await scripted(io('in', 0x60, 1, [0]));
    const end = vm.vcpus[0]!.run(1e9, () => vm.vcpus[0]!.shorten(0));
    expect(end).toBe('slice');
    expect(sys.completions).toBe(1);
    await vm.dispose();
  });

  test('MMIO addresses of 52 bits; lengths beyond 8 are cut', async () => {
    const fields = { phys_addr: 0xffffffffff000n, len: 4, is_write: 1 };
    const { exits } = await exitsOf(
      leave(EXIT.MMIO, S.EXIT_MMIO, fields),
      leave(EXIT.MMIO, S.EXIT_MMIO, { ...fields, len: 200 }),
    );
    expect(exits).toMatchObject([
      { kind: 'mmio', gpa: 0xffffffffff000, size: 4, direction: 'write' },
      { kind: 'mmio', size: 8 },
    ]);
  });

  test('MSRs fault unless claimed', async () => {
    const fields = { index: 0x10, data: 0x1122334455667788n, reason: MSR_EXIT_REASON.UNKNOWN };
    const vm = await scripted(leave(EXIT.X86_WRMSR, S.EXIT_MSR, fields), (page) => {
      expect(page.getUint8(S.EXIT_UNION)).toBe(1);
      return interrupted('timer')(page, sys);
    });
    const { exits } = runOnce(vm);
    expect(exits).toMatchObject([{ kind: 'msr', lo: 0x55667788, hi: 0x11223344, fault: true }]);
    await vm.dispose();
  });

  test.each([
    [SYSTEM_EVENT.SHUTDOWN, 'shutdown'],
    [SYSTEM_EVENT.RESET, 'reset'],
    [SYSTEM_EVENT.CRASH, 'crash'],
    [SYSTEM_EVENT.SEV_TERM, 'sev-term'],
  ])('system event %i is %s', async (type, event) => {
    const { exits } = await exitsOf(
      leave(EXIT.SYSTEM_EVENT, S.EXIT_SYSTEM_EVENT, { type, ndata: 1 }, (page) => {
        page.setBigUint64(S.EXIT_UNION + 8, 7n, true);
      }),
    );
    expect(exits).toMatchObject([{ kind: 'system-event', event, data: [7] }]);
  });

  test('a failed emulation is an error with the instruction', async () => {
    const fields = { suberror: INTERNAL_ERROR.EMULATION, ndata: 3, flags: 1, insn_size: 200 };
    const { end, exits } = await exitsOf(
      leave(EXIT.INTERNAL_ERROR, S.EXIT_EMULATION_FAILURE, fields, (page) => {
        page.setUint8(S.EXIT_UNION + 17, 0xd9);
      }),
    );
    expect(end).toBe('error');
    const [exit] = exits;
    expect(exit).toMatchObject({ kind: 'error', code: 'emulation-failure' });
    // A length that cannot be is cut to an instruction's.
    expect(exit!.kind === 'error' && exit!.bytes.length).toBe(15);
    expect(exit!.kind === 'error' && exit!.bytes[0]).toBe(0xd9);
  });

  test.each<[string, FakeSys['script'][number], string]>([
    [
      'other internal errors',
      leave(EXIT.INTERNAL_ERROR, S.EXIT_INTERNAL, { suberror: 3 }),
      'internal',
    ],
    ['a refused entry', leave(EXIT.FAIL_ENTRY, S.EXIT_FAIL_ENTRY), 'fail-entry'],
    ['an exit without a name', leave(4711), 'unknown-exit'],
    ['an exception', leave(EXIT.EXCEPTION), 'unknown-exit'],
    [
      'an unknown system event',
      leave(EXIT.SYSTEM_EVENT, S.EXIT_SYSTEM_EVENT, { type: 99 }),
      'system-event',
    ],
    ['KVM_RUN refused', () => -ERRNO.EFAULT, 'run-failed'],
    ['a closed vCPU', () => -ERRNO.EBADF, 'run-failed'],
    ['no memory', () => -ERRNO.ENOMEM, 'run-failed'],
  ])('the run ends with an error exit: %s', async (_what, step, code) => {
    const { exits } = await exitsOf(step);
    expect(exits).toMatchObject([{ kind: 'error', code }]);
  });

  test('a memory fault says where', async () => {
    const fields = { gpa: 0x123000, size: 4096, flags: 8 };
    const fault = leave(EXIT.MEMORY_FAULT, S.EXIT_MEMORY_FAULT, fields);
    const { end, exits } = await exitsOf((page) => {
      fault(page, sys);
      return -ERRNO.EFAULT;
    });
    expect(end).toBe('error');
    expect(exits).toMatchObject([
      { kind: 'memory-fault', gpa: 0x123000, size: 4096, private: true },
    ]);
  });
});

test('a dirty ring that is full for ever is an error, not a run without end', async () => {
  const full = leave(EXIT.DIRTY_RING_FULL);
  const { end, exits } = await exitsOf(...Array.from({ length: 100 }, () => full));
  expect(end).toBe('error');
  expect(exits).toMatchObject([{ kind: 'error', code: 'dirty-ring' }]);
});

describe('interruptions', () => {
  test('a signal that nobody asked for changes nothing; a kick ends the run', async () => {
    const vm = await scripted(
      interrupted('other'),
      interrupted('kick'),
      io('out', 1, 1, [1]),
      (page) => {
        vm.vcpus[0]!.kick();
        return interrupted('kick')(page, sys);
      },
    );
    const { end, exits } = runOnce(vm);
    expect(end).toBe('kicked');
    expect(exits.length).toBe(1);
    await vm.dispose();
  });

  test('EAGAIN of a CPU that waits for SIPI is no error', async () => {
    const vm = await makeVm({ sys }, { cpus: 2 });
    const cpu = vm.vcpus[1]!;
    // Nothing was sent to it: it does not run.
    vm.interrupts.sendMsi(0xfee01000, 0x4500);
    expect(cpu.runnable).toBe(true);
    expect(cpu.run(1e6, () => {})).toBe('waiting');
    expect(cpu.runnable).toBe(false);
    // The kernel has taken INIT and SIPI.
    for (const file of sys.files.values()) file.mpState = MP.RUNNABLE;
    vm.interrupts.sendMsi(0xfee01000, 0x4600);
    sys.script.push(() => -ERRNO.EAGAIN, io('out', 9, 1, [9]));
    const exits: VmExit[] = [];
    expect(cpu.run(1e6, (exit) => void exits.push(copyExit(exit)))).toBe('slice');
    expect(exits).toMatchObject([{ kind: 'io', vcpu: 1 }]);
    await vm.dispose();
  });

  test('the timer first looks whether the guest halts, then ends the run', async () => {
    const vm = await scripted();
    // 0.25, 0.5, 1, 2 and 4 ms, and the rest of ten.
    expect(runOnce(vm, 10e6)).toEqual({ end: 'slice', exits: [] });
    expect(sys.calls('RUN').length).toBe(6);
    await vm.dispose();
  });

  test('a guest that halts in the kernel is reported once and sleeps', async () => {
    const vm = await scripted((page) => {
      for (const file of sys.files.values()) file.mpState = MP.HALTED;
      return interrupted('timer')(page, sys);
    });
    expect(runOnce(vm)).toMatchObject({ end: 'halted', exits: [{ kind: 'hlt' }] });
    expect(vm.vcpus[0]!.runnable).toBe(false);
    vm.interrupts.sendMsi(0xfee00000, 0x41);
    expect(vm.vcpus[0]!.runnable).toBe(true);
    // It did not wake after all: no second exit.
    expect(runOnce(vm)).toMatchObject({ end: 'halted', exits: [] });
    vm.vcpus[0]!.kick();
    expect(vm.vcpus[0]!.runnable).toBe(true);
    expect(runOnce(vm)).toMatchObject({ end: 'kicked', exits: [] });
    expect(vm.vcpus[0]!.runnable).toBe(false);
    await vm.dispose();
  });
});

describe('errors', () => {
  test('no /dev/kvm, no permission, another version: unavailable, with what to do', async () => {
    const probe = () => kvmBackend({ sys }).probe();
    for (const [errno, reason, remedy] of [
      [ERRNO.ENOENT, 'there is no /dev/kvm', /load kvm_intel or kvm_amd/],
      [ERRNO.EACCES, 'this user may not open /dev/kvm', /usermod -aG kvm/],
      [ERRNO.EMFILE, '/dev/kvm cannot be opened: EMFILE', /--backend emu/],
    ] as const) {
      sys.failures.set('openat', errno);
      const result = await probe();
      expect(result).toMatchObject({ available: false, reason });
      expect(result.remedy).toMatch(remedy);
      await expect(open()).rejects.toMatchObject({ code: 'unavailable' });
    }
    sys.failures.clear();
    sys.answers.set('GET_API_VERSION', () => 11);
    expect((await probe()).reason).toContain('version 11');
    sys.answers.clear();
    sys.capabilities.set(CAP.IMMEDIATE_EXIT, 0);
    expect((await probe()).reason).toContain('exits on request');
    expect(sys.open).toEqual({ files: 0, mappings: 0 });
  });

  /** Calls that making a VM needs. */
  const NEEDED = [
    'CREATE_VM', 'CREATE_VCPU', 'GET_SUPPORTED_CPUID', 'SET_CPUID2', 'SET_SIGNAL_MASK',
    'GET_VCPU_MMAP_SIZE', 'GET_REGS', 'ENABLE_CAP', 'GET_SREGS', 'GET_LAPIC',
    'memfd_create', 'ftruncate', 'mmap', 'timer_create',
  ]; // biome-ignore format: a list

  test.each(NEEDED)('when %s fails no VM and nothing open is left', async (call) => {
    for (const errno of [ERRNO.ENOMEM, ERRNO.EINVAL, ERRNO.EMFILE]) {
      sys.failures.set(call, errno);
      await expect(makeVm({ sys }, { cpus: 2 })).rejects.toMatchObject({ name: 'VmmError' });
      expect(sys.open).toEqual({ files: 0, mappings: 0 });
    }
  });

  test('a slot that the kernel refuses is not there', async () => {
    const vm = await open();
    sys.failures.set('SET_USER_MEMORY_REGION', ERRNO.ENOMEM);
    expect(() => vm.addSlot(ram())).toThrow('KVM_SET_USER_MEMORY_REGION: ENOMEM');
    expect(vm.memory.slots).toEqual([]);
    sys.failures.clear();
    vm.addSlot(ram());
    await vm.dispose();
  });

  test('dispose gives everything back, once', async () => {
    const vm = await makeVm({ sys, dirtyRing: 64 }, { cpus: 3 });
    vm.addSlot(ram());
    vm.eventFds.doorbell({ space: 'io', address: 0x80, length: 1 });
    await vm.dispose();
    await vm.dispose();
    expect(sys.open).toEqual({ files: 0, mappings: 0 });
  });

  test('KVM-02 a protection that KVM lacks is refused before anything is made', async () => {
    await expect(makeVm({ sys }, { vmType: 3 })).rejects.toMatchObject({
      code: 'unsupported',
      message: "this host's KVM makes no SEV-ES VMs",
    });
    expect(sys.calls('CREATE_VM')).toEqual([]);
    expect(sys.open).toEqual({ files: 0, mappings: 0 });
  });
});

test('an event descriptor that is closed, or refused, gives its route back', async () => {
  const vm = await open();
  const { files } = sys.open;
  const routes = () => {
    const table = sys.calls('SET_GSI_ROUTING').at(-1) as Uint8Array;
    return new StructView(S.IRQ_ROUTING, table).get('nr');
  };
  const message = (data: number) => vm.eventFds.interrupt({ address: 0xfee00000, data });
  const [first, second] = [message(0x41), message(0x42)];
  expect(routes()).toBe(2);
  first.close();
  expect(routes()).toBe(1);
  for (const call of ['IRQFD', 'eventfd2', 'SET_GSI_ROUTING']) {
    sys.failures.set(call, ERRNO.EMFILE);
    expect(() => message(0x43)).toThrow('EMFILE');
    sys.failures.clear();
  }
  message(0x44).close();
  second.close();
  expect(routes()).toBe(0);
  sys.failures.set('SET_GSI_ROUTING', ERRNO.ENOMEM);
  // The guest's level-triggered message goes out all the same.
  vm.interrupts.sendMsi(0xfee00000, 0xc041);
  expect(sys.calls('SIGNAL_MSI').length).toBe(1);
  expect(sys.open.files).toBe(files);
  await vm.dispose();
});

test('memory that the host does not take back is filled with zeros', async () => {
  const vm = await open();
  vm.addSlot(ram());
  vm.memory.fill(0, 0x2000, 1);
  sys.failures.set('fallocate', ERRNO.EOPNOTSUPP);
  vm.memory.discard(0x1000, 0x1000);
  const back = new Uint8Array(0x2000);
  vm.memory.read(0, back);
  expect(back.indexOf(0)).toBe(0x1000);
  expect(back.lastIndexOf(1)).toBe(0xfff);
  await vm.dispose();
});

test('a look that takes the deadline’s signal does not leave a run without one', async () => {
  const vm = await open();
  vm.addSlot(ram());
  const cpu = [...sys.files.values()].find(({ kind }) => kind === 'vcpu')!;
  cpu.mpState = MP.HALTED;
  expect(runOnce(vm).end).toBe('halted');
  vm.interrupts.sendMsi(0xfee00000, 0x41);
  const calls: string[] = [];
  const syscall = sys.syscall.bind(sys);
  sys.syscall = (number, ...words) => {
    if (number === NR.timer_settime) calls.push('timer');
    return syscall(number, ...words);
  };
  sys.script.push(
    (page, kernel) => {
      calls.push('look');
      cpu.mpState = MP.RUNNABLE;
      return interrupted('timer')(page, kernel);
    },
    (page, kernel) => {
      calls.push('run');
      return leave(EXIT.SHUTDOWN)(page, kernel);
    },
  );
  expect(runOnce(vm).end).toBe('shutdown');
  const looked = calls.indexOf('look');
  expect(calls.slice(looked, looked + 3)).toEqual(['look', 'timer', 'run']);
  await vm.dispose();
});

test('the backend names the processor that a saved VM needs', () => {
  expect(kvmBackend({ cpu: 'host' }).cpu).toBe('host');
  const { cpu } = kvmBackend();
  expect(cpu).toBe(emulatedBackend().cpu);
  expect(kvmBackend({ cpu: `${cpu},-umip` }).cpu).not.toBe(cpu);
});

test('loading a guest goes through the same calls', async () => {
  const vm = await open();
  load(vm, [0xf4]);
  expect(sys.calls('SET_SREGS').length).toBeGreaterThan(0);
  const back = new Uint8Array(1);
  vm.memory.read(0x1000, back);
  expect(back[0]).toBe(0xf4);
  await vm.dispose();
});
