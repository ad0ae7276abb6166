/**
 * For this package's tests: VMs of one loaded program, on the fake kernel or the real one.
 */
import {
  type BackendVmOptions,
  copyExit,
  type ExitSink,
  type RunEnd,
  resetState,
  systemHost,
  type VcpuState,
  type VmExit,
} from '@cloister/core';
import { type KvmOptions, kvmBackend } from '../backend.js';
import { KvmHost } from '../host.js';
import { addonSys } from '../sys/addon.js';
import type { Sys } from '../sys/sys.js';
import type { KvmVm } from '../vm.js';

/** Why there is no KVM here, or null. */
export function whyNoKvm(): string | null {
  const loaded = addonSys();
  if (!('sys' in loaded)) return loaded.reason;
  const host = KvmHost.open(loaded.sys);
  if (!(host instanceof KvmHost)) return host.reason;
  host.close();
  return null;
}

/** The real kernel; only where `whyNoKvm` is null. */
export function realSys(): Sys {
  const loaded = addonSys();
  if ('sys' in loaded) return loaded.sys;
  throw new Error(loaded.reason);
}

const host = systemHost();

/** A clock of the host's, for VMs without a machine around them. */
export const hostClock = {
  mode: 'wall',
  epochSeconds: 0,
  now: () => Math.round(host.now() * 1e6),
  at: () => ({ cancel: () => {} }),
} as const;

export const RANDOM = { fill: (target: Uint8Array) => void target.fill(0), u32: () => 0 };

export const MIB = 1 << 20;

/** A VM of 1 MiB; `options` of the backend and of the VM. */
export async function makeVm(
  options: KvmOptions = {},
  vm: Partial<BackendVmOptions> = {},
): Promise<KvmVm> {
  const made = (await kvmBackend(options).createVm({
    memorySize: MIB,
    cpus: 1,
    clock: hostClock,
    random: RANDOM,
    extensions: [],
    intercept: new Set(),
    ...vm,
  })) as KvmVm;
  return made;
}

/** VMs of one test: `afterEach(() => vms.dispose())`. */
export class TestVms {
  private readonly open: KvmVm[] = [];

  /** As `makeVm`, without memory slots. */
  async make(...options: Parameters<typeof makeVm>): Promise<KvmVm> {
    const vm = await makeVm(...options);
    this.open.push(vm);
    return vm;
  }

  /** With a slot of RAM, as large as the VM's memory. */
  async withRam(...[options, more]: Parameters<typeof makeVm>): Promise<KvmVm> {
    const vm = await this.make(options, more);
    vm.addSlot(ram(more?.memorySize));
    return vm;
  }

  /** With RAM and `code` in it, about to run. */
  async loaded(code: readonly number[], ...options: Parameters<typeof makeVm>): Promise<KvmVm> {
    const vm = await this.withRam(...options);
    load(vm, code);
    return vm;
  }

  async dispose(): Promise<void> {
    for (const vm of this.open.splice(0)) await vm.dispose();
  }
}

/** The slot of RAM from 0 on. */
export function ram(size = MIB) {
  return { id: 0, gpa: 0, size, readOnly: false, name: 'ram', encryptable: false };
}

/** Real mode at 0:`ip`, flat 16-bit segments. */
export function realMode(ip: number): VcpuState {
  const state = resetState();
  for (const name of ['cs', 'ds', 'es', 'ss', 'fs', 'gs'] as const) {
    const attributes = name === 'cs' ? 0x9b : 0x93;
    state[name] = { selector: 0, attributes, limit: 0xffff, base: 0n };
  }
  state.rip = BigInt(ip);
  state.gpr.rsp = 0x7000n;
  return state;
}

/** Protected mode without paging, flat 32-bit segments, no IDT. */
export function protectedMode(ip: number): VcpuState {
  const state = realMode(ip);
  for (const name of ['cs', 'ds', 'es', 'ss', 'fs', 'gs'] as const) {
    state[name].selector = name === 'cs' ? 8 : 16;
    state[name].attributes |= 0xc00;
    state[name].limit = 0xffffffff;
  }
  state.cr0 |= 1n;
  state.idtr.limit = 0;
  return state;
}

const TABLES = 0x8000;

/** Long mode, the first GiB mapped to itself by tables that this writes to the guest. */
export function longMode(vm: KvmVm, ip: number): VcpuState {
  const tables = new BigUint64Array(3 * 512);
  tables[0] = BigInt(TABLES + 0x1000) | 3n;
  tables[512] = BigInt(TABLES + 0x2000) | 3n;
  for (let index = 0; index < 512; index++) tables[1024 + index] = BigInt(index * 0x200000) | 0x83n;
  vm.memory.write(TABLES, new Uint8Array(tables.buffer));
  const state = protectedMode(ip);
  state.cs.attributes = (state.cs.attributes & ~0x400) | 0x200;
  state.cr0 |= 0x80000000n;
  state.cr3 = BigInt(TABLES);
  state.cr4 = 0x20n;
  state.efer = 0x500n;
  state.tr = { selector: 0x18, attributes: 0x8b, limit: 0x67, base: 0n };
  return state;
}

/** Loads `code` at 0x1000 and points the boot CPU at it, in real mode. */
export function load(vm: KvmVm, code: readonly number[] | Uint8Array): void {
  if (vm.memory.slots.length === 0) vm.addSlot(ram());
  vm.memory.write(0x1000, Uint8Array.from(code));
  vm.vcpus[0]!.writeState(realMode(0x1000));
}

/** Runs the boot CPU; every exit is copied, after `answer` had it. */
export function runOnce(
  vm: KvmVm,
  ns = 2e9,
  answer: ExitSink = () => {},
): { readonly end: RunEnd; readonly exits: VmExit[] } {
  const exits: VmExit[] = [];
  const end = vm.vcpus[0]!.run(ns, (exit) => {
    answer(exit);
    exits.push(copyExit(exit));
  });
  return { end, exits };
}
