/**
 * Interrupts on the real KVM: the PIC's from outside and in the kernel, messages, level-triggered
 * ones and their EOI, event file descriptors, NMI, the local APIC's timer; and a VM saved and
 * restored in the middle.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { signalEventFd, takeEventFd } from './event-fds.js';
import type { KvmIrqchip } from './interrupts.js';
import {
  hostClock,
  load,
  protectedMode,
  realSys,
  runOnce,
  TestVms,
  whyNoKvm,
} from './testing/index.js';
import type { KvmVm } from './vm.js';

const reason = whyNoKvm();

const vms = new TestVms();
afterEach(() => vms.dispose());

const VECTOR = 0x41;
const MSI_ADDRESS = 0xfee00000;
const LEVEL = 0xc000;
const HANDLER = 0x2000;
const IDT = 0x3000;

/** Ports that a run wrote to. */
function ports(vm: KvmVm, ns = 20e6): number[] {
  const { exits } = runOnce(vm, ns);
  return exits.flatMap((exit) => (exit.kind === 'io' ? [exit.port] : []));
}

/** Real mode, interrupts on, halting for ever; vector `vector` writes to port 0x80. */
function realGuest(vm: KvmVm, vector: number, before: readonly number[] = []): void {
  load(vm, [...before, 0xfb, 0xf4, 0xeb, 0xfd]); // sti; hlt; jmp to the hlt
  vm.memory.write(HANDLER, Uint8Array.of(0xe6, 0x80, 0xcf)); // out 0x80, al; iret
  vm.memory.write(4 * vector, Uint8Array.of(0x00, 0x20, 0, 0));
}

/** sti; hlt; jmp to the hlt */
const HALT = [0xfb, 0xf4, 0xeb, 0xfd];

/**
 * Protected mode with the APIC on; the handler writes to port 0x80, ends the interrupt and halts:
 * it does not return, since a weak host's KVM has no IRET there.
 */
function apicGuest(vm: KvmVm, before: readonly number[] = []): void {
  const code = [
    ...[0xbb, 0, 0, 0xe0, 0xfe], // mov ebx, 0xfee00000
    ...[0xc7, 0x83, 0xf0, 0, 0, 0, 0xff, 1, 0, 0], // mov dword [ebx + 0xf0], 0x1ff
    ...before,
    ...HALT,
  ];
  vm.memory.write(0x1000, Uint8Array.from(code));
  const end = [0xc7, 0x83, 0xb0, 0, 0, 0, 0, 0, 0, 0]; // mov dword [ebx + 0xb0], 0
  vm.memory.write(HANDLER, Uint8Array.of(0xe6, 0x80, ...end, ...HALT));
  vm.memory.write(IDT + 8 * VECTOR, Uint8Array.of(0x00, 0x20, 8, 0, 0, 0x8e, 0, 0));
  // The GDT that delivery looks into: flat code at 8, flat data at 16.
  const flat = (type: number) => [0xff, 0xff, 0, 0, 0, type, 0xcf, 0];
  vm.memory.write(0x4008, Uint8Array.of(...flat(0x9b), ...flat(0x93)));
  const state = protectedMode(0x1000);
  state.gdtr = { base: 0x4000n, limit: 0x17 };
  state.idtr = { base: BigInt(IDT), limit: 0x7ff };
  vm.vcpus[0]!.writeState(state);
}

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  test.each<KvmIrqchip>(['none', 'split'])('a PIC outside, irqchip %s', async (irqchip) => {
    const vm = await vms.withRam({ irqchip });
    realGuest(vm, 0x20);
    let asked = 0;
    vm.interrupts.connectExternal({
      acknowledge() {
        asked++;
        vm.interrupts.setExternal(false);
        return 0x20;
      },
    });
    expect(ports(vm)).toEqual([]);
    vm.interrupts.setExternal(true);
    expect(vm.vcpus[0]!.runnable).toBe(true);
    expect(ports(vm)).toEqual([0x80]);
    expect(asked).toBe(1);
    expect(vm.vcpus[0]!.runnable).toBe(false);
  });

  test('a PIC outside waits until interrupts are on', async () => {
    const vm = await vms.withRam();
    // out 0x70; nop; out 0x71, then sti
    realGuest(vm, 0x20, [0xe6, 0x70, 0x90, 0xe6, 0x71]);
    vm.interrupts.connectExternal({
      acknowledge() {
        vm.interrupts.setExternal(false);
        return 0x20;
      },
    });
    vm.interrupts.setExternal(true);
    expect(ports(vm)).toEqual([0x70, 0x71, 0x80]);
  });

  test('a line of the PIC in the kernel', async () => {
    const vm = await vms.withRam({ irqchip: 'kernel' });
    expect(vm.interrupts.irqchip).toBe('internal');
    const initialise = [[0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0x21, 0xf7]].flatMap(
      ([port, value]) => [0xb0, value!, 0xe6, port!],
    ); // biome-ignore format: ports and values
    realGuest(vm, 0x23, initialise);
    expect(ports(vm)).toEqual([]);
    vm.interrupts.setGsi(3, true);
    vm.interrupts.setGsi(3, false);
    expect(ports(vm)).toEqual([0x80]);
  });

  test('a reset takes the controllers in the kernel along', async () => {
    const vm = await vms.withRam({ irqchip: 'kernel' });
    const chips = () => (vm.snapshot().state as { chips: Uint8Array[] }).chips;
    const fresh = chips();
    load(vm, [0xb0, 0xef, 0xe6, 0x21, 0xf4]); // mov al, 0xef; out 0x21, al: a mask of the PIC; hlt
    ports(vm);
    expect(chips()).not.toEqual(fresh);
    vm.reset();
    expect(chips()).toEqual(fresh);
  });

  test('a message, and one that is level-triggered, whose end is told', async () => {
    const vm = await vms.withRam();
    apicGuest(vm);
    const ended: number[] = [];
    vm.interrupts.onEoi((vector) => void ended.push(vector));
    expect(ports(vm)).toEqual([]);
    vm.interrupts.sendMsi(MSI_ADDRESS, VECTOR);
    expect(ports(vm)).toEqual([0x80]);
    expect(ended).toEqual([]);
    vm.interrupts.sendMsi(MSI_ADDRESS, LEVEL | VECTOR);
    expect(ports(vm)).toEqual([0x80]);
    expect(ended).toEqual([VECTOR]);
  });

  test('an event file descriptor raises a message; a doorbell is no exit', async () => {
    const vm = await vms.withRam();
    // mov dx, 0x510; mov al, 7; out dx, al; mov al, 8; out dx, al
    const ring = [0x66, 0xba, 0x10, 5, 0xb0, 7, 0xee, 0xb0, 8, 0xee];
    apicGuest(vm, ring);
    const sys = realSys();
    const seven = vm.eventFds.doorbell({ space: 'io', address: 0x510, length: 1, value: 7n });
    const irq = vm.eventFds.interrupt({ address: MSI_ADDRESS, data: VECTOR });
    expect(ports(vm)).toEqual([0x510]);
    expect(takeEventFd(sys, seven.fd)).toBe(1);
    expect(takeEventFd(sys, seven.fd)).toBe(0);
    signalEventFd(sys, irq.fd);
    expect(ports(vm)).toEqual([0x80]);
    irq.close();
    irq.close();
    expect(() => vm.eventFds.interrupt({ gsi: 5 })).toThrow('no interrupt controller');
    const again = () => vm.eventFds.doorbell({ space: 'io', address: 0x510, length: 1, value: 7n });
    expect(again).toThrow('KVM_IOEVENTFD: EEXIST');
  });

  test('NMI wakes a guest that halts with interrupts off', async () => {
    const vm = await vms.withRam();
    realGuest(vm, 2);
    load(vm, [0xfa, 0xf4, 0xeb, 0xfd]);
    expect(ports(vm)).toEqual([]);
    vm.vcpus[0]!.nmi();
    expect(ports(vm)).toEqual([0x80]);
  });

  test('without APICs an NMI that was taken does not end a later HLT', async () => {
    const vm = await vms.withRam({ irqchip: 'none' });
    // cli; out 0x10; hlt; out 0x11; hlt
    load(vm, [0xfa, 0xe6, 0x10, 0xf4, 0xe6, 0x11, 0xf4]);
    vm.memory.write(HANDLER, Uint8Array.of(0xe6, 0x80, 0xcf)); // out 0x80, al; iret
    vm.memory.write(4 * 2, Uint8Array.of(0x00, 0x20, 0, 0));
    const seen: number[] = [];
    const run = () =>
      vm.vcpus[0]!.run(20e6, (exit) => {
        if (exit.kind !== 'io') return;
        seen.push(exit.port);
        if (exit.port === 0x10) vm.vcpus[0]!.nmi();
      });
    expect(run()).toBe('halted');
    expect(seen).toEqual([0x10, 0x80]);
    expect(vm.vcpus[0]!.runnable).toBe(false);
    vm.vcpus[0]!.nmi();
    expect(vm.vcpus[0]!.runnable).toBe(true);
    expect(run()).toBe('halted');
    expect(seen).toEqual([0x10, 0x80, 0x80, 0x11]);
  });

  test.each<KvmIrqchip>(['split', 'kernel', 'none'])(
    'a guest that halts runs again behind a reset or an older state, irqchip %s',
    async (irqchip) => {
      const vm = await vms.withRam({ irqchip });
      load(vm, [0xfa, 0xf4]);
      const saved = vm.snapshot();
      const cpu = vm.vcpus[0]!;
      const halts = () => runOnce(vm, 20e6).end;
      expect(halts()).toBe('halted');
      expect(cpu.runnable).toBe(false);
      vm.restore(saved);
      expect(cpu.runnable).toBe(true);
      expect(halts()).toBe('halted');
      const asleep = vm.snapshot();
      vm.reset();
      expect(cpu.runnable).toBe(true);
      vm.restore(asleep);
      expect(cpu.halted).toBe(true);
    },
  );

  test('the timer of a local APIC wakes the machine when every CPU sleeps', async () => {
    const set: number[] = [];
    let wake = () => {};
    const at = (ns: number, callback: () => void) => {
      set.push(ns);
      wake = callback;
      return { cancel: () => {} };
    };
    const vm = await vms.withRam({}, { clock: { ...hostClock, at } });
    // mov dword [ebx + 0x3e0], 0xb (by 1); [ebx + 0x320], VECTOR; [ebx + 0x380], 100 million
    apicGuest(vm, [
      ...[0xc7, 0x83, 0xe0, 3, 0, 0, 0xb, 0, 0, 0],
      ...[0xc7, 0x83, 0x20, 3, 0, 0, VECTOR, 0, 0, 0],
      ...[0xc7, 0x83, 0x80, 3, 0, 0, 0, 0xe1, 0xf5, 5],
    ]);
    const before = hostClock.now();
    expect(runOnce(vm, 5e6).end).toBe('halted');
    expect(vm.vcpus[0]!.runnable).toBe(false);
    expect(set.length).toBe(1);
    expect(set[0]).toBeGreaterThan(before);
    expect(set[0]! - before).toBeLessThan(110e6 + (hostClock.now() - before));
    while (hostClock.now() < set[0]! + 1e6);
    wake();
    expect(vm.vcpus[0]!.runnable).toBe(true);
    expect(ports(vm)).toEqual([0x80]);
  });

  test.each<KvmIrqchip>(['split', 'kernel', 'none'])(
    'a VM saved in the middle goes on in another, irqchip %s',
    async (irqchip) => {
      const first = await vms.withRam({ irqchip });
      // inc bx; mov [0x5000], bx; out 0x80; jmp back
      const code = [0x43, 0x89, 0x1e, 0, 0x50, 0xe6, 0x80, 0xeb, 0xf7];
      load(first, code);
      const some = (vm: KvmVm, count: number) => {
        let left = count;
        vm.vcpus[0]!.run(5e9, () => {
          if (--left === 0) vm.vcpus[0]!.shorten(0);
        });
        const bx = Number(vm.vcpus[0]!.readState().gpr.rbx);
        const word = new Uint8Array(2);
        vm.memory.read(0x5000, word);
        return [bx, word[0]];
      };
      expect(some(first, 3)).toEqual([3, 3]);
      const saved = structuredClone(first.snapshot());
      const second = await vms.withRam({ irqchip });
      second.restore(saved);
      expect(second.vcpus[0]!.readState()).toEqual(first.vcpus[0]!.readState());
      expect(some(second, 2)).toEqual([5, 5]);
      expect(some(first, 1)).toEqual([4, 4]);
    },
  );
});
