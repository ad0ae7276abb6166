/**
 * The backend on the real KVM, where there is one: small real-mode guests, a few instructions each.
 */
import { closeSync, existsSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import type { VmExit } from '@cloister/core';
import { afterEach, describe, expect, test } from 'vitest';
import { kvmBackend } from './backend.js';
import { kick } from './kick.js';
import {
  load,
  MIB,
  makeVm,
  protectedMode,
  ram,
  realMode,
  realSys,
  runOnce,
  TestVms,
  whyNoKvm,
} from './testing/index.js';
import type { KvmVm } from './vm.js';

const reason = whyNoKvm();

const vms = new TestVms();
afterEach(() => vms.dispose());

const HLT = 0xf4;
/** Stops a run from inside a sink when the guest halts or says so. */
const until = (vm: KvmVm, port: number) => (exit: VmExit) => {
  if (exit.kind === 'io' && exit.port === port) vm.vcpus[0]!.shorten(0);
};

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  test('probe lists what it can', async () => {
    const probe = await kvmBackend().probe();
    expect(probe.available).toBe(true);
    expect(probe.capabilities).toContain('cpu.native');
    expect(probe.details.map(([name]) => name)).toContain('split irqchip');
  });

  test('OUT and IN of every size carry their data both ways', async () => {
    const code = [
      0xba, 0x34, 0x12, // mov dx, 0x1234
      0xb0, 0x5a, 0xee, // mov al, 0x5a; out dx, al
      0xb8, 0xcd, 0xab, 0xef, // mov ax, 0xabcd; out dx, ax
      0x66, 0xef, // out dx, eax
      0xec, // in al, dx
      0xed, // in ax, dx
      0x66, 0xed, // in eax, dx
      0x66, 0xef, // out dx, eax
      0xe6, 0x99, // out 0x99, al
    ]; // biome-ignore format: instructions
    const vm = await vms.loaded(code);
    const { end, exits } = runOnce(vm, 2e9, (exit) => {
      if (exit.kind === 'io' && exit.direction === 'in') {
        expect([...exit.data]).toEqual(Array(exit.size).fill(0xff));
        exit.data.set([1, 2, 3, 4].slice(0, exit.size));
      }
      until(vm, 0x99)(exit);
    });
    expect(end).toBe('slice');
    expect(exits.map((exit) => exit.kind === 'io' && [exit.direction, exit.size, ...exit.data]))
      .toEqual([
        ['out', 1, 0x5a],
        ['out', 2, 0xcd, 0xab],
        ['out', 4, 0xcd, 0xab, 0, 0],
        ['in', 1, 1],
        ['in', 2, 1, 2],
        ['in', 4, 1, 2, 3, 4],
        ['out', 4, 1, 2, 3, 4],
        ['out', 1, 1],
      ]); // biome-ignore format: a table
    const state = vm.vcpus[0]!.readState();
    expect(state.rip).toBe(0x1000n + BigInt(code.length));
    expect(state.gpr.rax).toBe(0x04030201n);
  });

  test('string I/O carries all its items, merged or not', async () => {
    const code = [
      0xbe, 0x00, 0x20, 0xb9, 3, 0, // mov si, 0x2000; mov cx, 3
      0xba, 0x10, 0x00, 0xf3, 0x6e, // mov dx, 0x10; rep outsb
      0xbf, 0x00, 0x30, 0xb9, 4, 0, // mov di, 0x3000; mov cx, 4
      0xf3, 0x6c, 0xe6, 0x99, // rep insb; out 0x99, al
    ]; // biome-ignore format: instructions
    const vm = await vms.loaded(code);
    vm.memory.write(0x2000, Uint8Array.of(7, 8, 9));
    let next = 20;
    const { exits } = runOnce(vm, 2e9, (exit) => {
      if (exit.kind === 'io' && exit.direction === 'in') {
        for (let i = 0; i < exit.data.length; i++) exit.data[i] = next++;
      }
      until(vm, 0x99)(exit);
    });
    const bytes = (direction: string) =>
      exits.flatMap((exit) =>
        exit.kind === 'io' && exit.port === 0x10 && exit.direction === direction
          ? [...exit.data]
          : [],
      );
    expect(bytes('out')).toEqual([7, 8, 9]);
    expect(bytes('in')).toEqual([20, 21, 22, 23]);
    const back = new Uint8Array(4);
    vm.memory.read(0x3000, back);
    expect([...back]).toEqual([20, 21, 22, 23]);
  });

  test('MMIO reads and writes; a read-only slot gives its writes as MMIO', async () => {
    const code = [
      0xb8, 0x00, 0xf0, 0x8e, 0xd8, // mov ax, 0xf000; mov ds, ax
      0xa0, 0x00, 0x80, // mov al, [0x8000]   -> 0xf8000, no memory
      0xa2, 0x04, 0x80, // mov [0x8004], al
      0xa0, 0x00, 0x00, // mov al, [0]        -> 0xf0000, read-only
      0xa3, 0x02, 0x00, // mov [2], ax
      0xe6, 0x99,
    ]; // biome-ignore format: instructions
    const vm = await vms.make({}, { memorySize: 2 * MIB });
    vm.addSlot(ram(0xf0000));
    vm.addSlot({ ...ram(0x1000), id: 1, gpa: 0xf0000, readOnly: true, name: 'rom' });
    vm.memory.write(0xf0000, Uint8Array.of(0x77));
    load(vm, code);
    const { exits } = runOnce(vm, 2e9, (exit) => {
      if (exit.kind === 'mmio' && exit.direction === 'read') exit.data[0] = 0x42;
      until(vm, 0x99)(exit);
    });
    expect(exits).toMatchObject([
      { kind: 'mmio', direction: 'read', gpa: 0xf8000, size: 1 },
      { kind: 'mmio', direction: 'write', gpa: 0xf8004, data: Uint8Array.of(0x42) },
      { kind: 'mmio', direction: 'write', gpa: 0xf0002, data: Uint8Array.of(0x77, 0xf0) },
      { kind: 'io', port: 0x99 },
    ]);
  });

  test.each(['split', 'kernel', 'none'] as const)(
    'HLT is reported, irqchip %s',
    async (irqchip) => {
      const vm = await vms.loaded([0xfa, HLT], { irqchip });
      const { end, exits } = runOnce(vm, 20e6);
      expect(end).toBe('halted');
      expect(exits).toMatchObject([{ kind: 'hlt', interruptible: false }]);
      expect(vm.vcpus[0]!.runnable).toBe(false);
      expect(vm.vcpus[0]!.readState().rip).toBe(0x1002n);
    },
  );

  test('a triple fault is a shutdown', async () => {
    const vm = await vms.loaded([0x0f, 0x0b]);
    vm.vcpus[0]!.writeState(protectedMode(0x1000));
    const { end, exits } = runOnce(vm);
    expect(end).toBe('shutdown');
    expect(exits).toMatchObject([{ kind: 'shutdown', reason: 'triple-fault' }]);
    vm.reset();
    load(vm, [0xe6, 0x99, HLT]);
    expect(runOnce(vm, 2e9, until(vm, 0x99)).end).toBe('slice');
  });

  test('an unknown MSR asks, and faults unless answered', async () => {
    const code = [
      0x66, 0xb9, 0x78, 0x56, 0x34, 0x12, // mov ecx, 0x12345678
      0x0f, 0x32, // rdmsr
      0x0f, 0x30, // wrmsr
      0xe6, 0x99,
    ]; // biome-ignore format: instructions
    const vm = await vms.loaded(code);
    const { exits } = runOnce(vm, 2e9, (exit) => {
      if (exit.kind === 'msr') {
        exit.fault = false;
        if (exit.direction === 'read') Object.assign(exit, { lo: 0x11, hi: 0x22 });
      }
      until(vm, 0x99)(exit);
    });
    expect(exits).toMatchObject([
      { kind: 'msr', direction: 'read', index: 0x12345678 },
      { kind: 'msr', direction: 'write', index: 0x12345678, lo: 0x11, hi: 0x22 },
      { kind: 'io', port: 0x99, data: Uint8Array.of(0x11) },
    ]);
  });

  test('a deadline ends a guest that never leaves; so does a kick', async () => {
    const vm = await vms.loaded([0xeb, 0xfe]);
    expect(runOnce(vm, 3e6).end).toBe('slice');
    vm.vcpus[0]!.kick();
    expect(runOnce(vm, 1e12).end).toBe('kicked');
    kick(realSys(), vm.vcpus[0]!.kickHandle);
    expect(runOnce(vm, 1e12).end).toBe('kicked');
    expect(vm.vcpus[0]!.readState().rip).toBe(0x1000n);
  });

  test('a kick at HLT does not wake the vCPU', async () => {
    const vm = await vms.loaded([0xfa, HLT, 0xe6, 0x99], { irqchip: 'none' });
    const cpu = vm.vcpus[0]!;
    const { end } = runOnce(vm, 2e9, ({ kind }) => kind === 'hlt' && cpu.kick());
    expect(end).toBe('halted');
    expect(runOnce(vm, 2e9).end).toBe('kicked');
    expect(runOnce(vm, 2e9)).toEqual({ end: 'halted', exits: [] });
  });

  test('registers are read and written between runs and inside a sink', async () => {
    const vm = await vms.loaded([0xe6, 0x10, 0xe6, 0x11, 0xe6, 0x99]);
    const seen: bigint[] = [];
    runOnce(vm, 2e9, (exit) => {
      const cpu = vm.vcpus[0]!;
      seen.push(cpu.readState().gpr.rbx);
      const state = cpu.readState();
      state.gpr.rbx = BigInt(seen.length) * 0x100000001n;
      cpu.writeState(state);
      until(vm, 0x99)(exit);
    });
    expect(seen).toEqual([0n, 0x100000001n, 0x200000002n]);
    const state = realMode(0x1000);
    state.dr7 = 0x401n;
    state.gpr.r15 = 0xfedcba9876543210n;
    vm.vcpus[0]!.writeState(state);
    expect(vm.vcpus[0]!.readState()).toEqual({ ...state, rflags: 2n, cr8: 0n });
  });

  test('single steps and breakpoints are debug exits', async () => {
    const vm = await vms.loaded([0x90, 0x90, 0x90, 0xeb, 0xfb]);
    const cpu = vm.vcpus[0]!;
    cpu.debug({ singleStep: true });
    const rips: number[] = [];
    runOnce(vm, 2e9, (exit) => {
      if (exit.kind !== 'debug') return;
      expect(exit.vector).toBe(1);
      rips.push(exit.ripLo);
      if (rips.length === 4) cpu.shorten(0);
    });
    expect(rips).toEqual([0x1001, 0x1002, 0x1003, 0x1000]);
    cpu.debug({ breakpoints: [{ address: 0x1002n, kind: 'execute' }] });
    rips.length = 0;
    runOnce(vm, 2e9, (exit) => {
      if (exit.kind !== 'debug') return;
      rips.push(exit.ripLo);
      cpu.shorten(0);
    });
    expect(rips).toEqual([0x1002]);
    cpu.debug({});
    expect(runOnce(vm, 3e6).exits).toEqual([]);
  });

  test('an instruction that this KVM cannot execute is an error with its bytes', async () => {
    // popcnt eax, ecx: where it can, the guest goes on.
    const vm = await vms.loaded([0x66, 0xf3, 0x0f, 0xb8, 0xc1, 0xe6, 0x99]);
    const { end, exits } = runOnce(vm, 2e9, until(vm, 0x99));
    const last = exits.at(-1)!;
    if (last.kind === 'error') {
      expect(end).toBe('error');
      expect(last.code).toBe('emulation-failure');
      expect([...last.bytes.subarray(0, 5)]).toEqual([0x66, 0xf3, 0x0f, 0xb8, 0xc1]);
    } else expect(last.kind).toBe('io');
  });

  test('a VM that a handler of another runs leaves that one its deadline', async () => {
    const outer = await vms.loaded([0xe6, 0x10, 0xeb, 0xfe]);
    const inner = await vms.loaded([0xeb, 0xfe]);
    let within: string | null = null;
    const { end } = runOnce(outer, 20e6, () => {
      within = runOnce(inner, 2e6).end;
    });
    expect([within, end]).toEqual(['slice', 'slice']);
    expect(runOnce(inner, 2e6).end).toBe('slice');
  });

  test('a handler of a VM that makes exits all the time makes another one', async () => {
    const outer = await vms.loaded([0xe6, 0x10, 0xeb, 0xfc]);
    const made: Promise<unknown>[] = [];
    for (let round = 0; round < 4; round++) {
      let exits = 0;
      outer.vcpus[0]!.run(2e9, () => {
        if (++exits < 100) return;
        // Until the timer of that run sends its signals.
        for (const since = performance.now(); performance.now() < since + 2.5; );
        made.push(vms.make());
        outer.vcpus[0]!.shorten(0);
      });
    }
    expect(await Promise.allSettled(made)).toMatchObject(Array(4).fill({ status: 'fulfilled' }));
  });

  test('a vCPU whose descriptor became another file is an error', async () => {
    const vm = await vms.loaded([0xeb, 0xfe]);
    const nothing = openSync('/dev/null', 'r');
    const DUP2 = 33;
    realSys().syscall(DUP2, nothing, vm.vcpus[0]!.fd);
    closeSync(nothing);
    expect(runOnce(vm, 20e6)).toMatchObject({
      end: 'error',
      exits: [{ kind: 'error', code: 'run-failed', message: 'KVM_RUN: ENOTTY' }],
    });
  });

  test('more memory than there are addresses is refused, and leaves nothing open', async () => {
    const files = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        const link = `/proc/self/fd/${fd}`;
        return existsSync(link) && /kvm|cloister-guest/.test(readlinkSync(link));
      }).length;
    const before = files();
    const made = makeVm({}, { memorySize: 2 ** 48 });
    await expect(made).rejects.toMatchObject({ code: 'out-of-memory' });
    expect(files()).toBe(before);
  });

  test('KVM-02 protection is refused with what the host lacks; nothing stays open', async () => {
    await expect(makeVm({}, { vmType: 4 })).rejects.toMatchObject({
      code: 'unsupported',
      message: "this host's KVM makes no SEV-SNP VMs",
    });
    const extension = { name: 'sev' };
    await expect(makeVm({}, { extensions: [extension] })).rejects.toMatchObject({
      code: 'unsupported',
    });
    await expect(makeVm({}, { intercept: new Set(['cpuid'] as const) })).rejects.toThrow('CPUID');
  });
});
