/**
 * The extension interface is not SEV's: a small guest under an extension of another architecture,
 * with a shared bit, an exception and an information record of its own, and a module that answers
 * some exits without the host (`TrustDomain` of core's tests).
 */
import {
  type BackendVmOptions,
  resetState,
  type SnapshotValue,
  type VcpuState,
  type VmExit,
} from '@cloister/core';
import { selectCpu } from '@cloister/core/cpu';
import { TrustDomain } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { EmulatedVm } from '../emulated-vm.js';
import type { JitMode } from '../jit/mode.js';

const AT = { tables: 0x2000, gdt: 0x5000, idt: 0x6000, stack: 0x8000, save: 0xb000, code: 0x10000 };
const DATA = { private: 0x9000, shared: 0xa000 };
const DEVICE = 0xd0000010;
const SHARED = 1n << 47n;
const SECRET = 0x5ec2e75ec2e75ec2n;
const HANDLERS = { 0x14: AT.code + 0x140, 0x40: AT.code + 0x100 };

/**
 * What the guest does, each result with OUT to port 0xe0: enables its APIC, asks CPUID 0x21 (of the
 * module) and 0x40000000 (of the host), reads port 0xe1, writes and reads the device; writes to
 * private memory and reads that as shared, then shared memory; TDG.VP.INFO; loads the secret in R9,
 * STI, HLT, tells the secret's half; OUT to port 0xf4. The handler of #VE fetches the information
 * and calls the host for CPUID, HLT, port I/O and MOV to and from memory.
 */
const CODE = `
b91b000000b8000de0fe31d20f30b90f080000b8ff0100000f30b82100000031c90fa289d8e7e0b80000004031c90fa2
89d8e7e0e5e1e7e0bf10004000b8feca000089078b07e7e0c7042500900000443322118b042500902000e7e0c7042500
a02000887766558b042500a02000e7e0b801000000660f01cc89c8e7e049b9c25ee7c25ee7c25efbf4fa4489c8e7e0e7
f4ebfe`;
const INTERRUPT = '505152b840404040e7e0b90b08000031c031d20f305a595848cf';
const VE = `
505152535541504151415241534154415541564157
4889e5b803000000660f01cc4489d0480145684189cb4c8b7d6083f90a741183f90c742b83f91e743083f9
3074490f0b4c8b65604c8b6d58e87f0000004c8965604c896d484c8975584c897d50eb564531e4e865000000eb4c4189
d44183e40741ffc44189d641c1ee100fbae2030f93c2440fb6eaeb1941bc040000004d89ce0fbae2010f92c2440fb6ea
48834568024155e825000000415d4585ed75074589db4c895d60415f415e415d415c415b415a415941585d5b5a595848
cf4531d2b900fc000031c0660f01ccc3`;

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (byte) => Number.parseInt(byte, 16));
}

function initialState(): VcpuState {
  const state = resetState();
  const data = { selector: 0x10, attributes: 0xc93, limit: 0xffffffff, base: 0n };
  return {
    ...state,
    ...{ cr0: 0x80000011n, cr3: BigInt(AT.tables), cr4: 0x20n, efer: 0x500n },
    ...{ es: data, ss: data, ds: data, fs: data, gs: data },
    cs: { selector: 8, attributes: 0xa9b, limit: 0xffffffff, base: 0n },
    gdtr: { base: BigInt(AT.gdt), limit: 0x17 },
    idtr: { base: BigInt(AT.idt), limit: 0xfff },
    gpr: { ...state.gpr, rsp: BigInt(AT.stack) },
    rip: BigInt(AT.code),
  };
}

/** Quadwords by their index in a page. */
function page(words: Readonly<Record<number, bigint>>): Uint8Array {
  const view = new DataView(new ArrayBuffer(4096));
  for (const [at, word] of Object.entries(words)) view.setBigUint64(Number(at) * 8, word, true);
  return new Uint8Array(view.buffer);
}

interface Machine {
  readonly vm: EmulatedVm;
  readonly domain: TrustDomain;
  readonly exits: VmExit[];
  /** Runs until the guest halts or says that it is done. */
  run(): string;
}

function machine(jit: JitMode): Machine {
  const domain = new TrustDomain({ initial: initialState(), saveArea: AT.save });
  const exits: VmExit[] = [];
  let done = false;
  const options: BackendVmOptions = {
    memorySize: 0x200000,
    cpus: 1,
    clock: { mode: 'icount', now: () => 0, at: () => ({ cancel: () => {} }), epochSeconds: 0 },
    random: { u32: () => 1, fill: () => {} },
    extensions: [domain],
    intercept: new Set(),
  };
  const vm = new EmulatedVm(options, selectCpu(), undefined, jit);
  vm.addSlot({
    ...{ id: 0, gpa: 0, size: 0x200000, readOnly: false, name: 'ram', encryptable: true },
  });
  const sink = (exit: VmExit): void => {
    if (exit.kind === 'io' && exit.port === 0xf4) done = true;
    if (exit.kind === 'io' && exit.direction === 'in') exit.data.set([4, 3, 2, 1]);
    if (exit.kind === 'mmio' && exit.direction === 'read') exit.data.set([0xef, 0xbe, 0, 0]);
    exits.push(structuredClone(exit));
    expect(() => vm.vcpus[0]!.readState()).toThrow('the protection hides the registers');
    if (done) vm.vcpus[0]!.kick();
  };
  const run = (): string => {
    for (let slice = 0; slice < 10_000; slice++) {
      const end = vm.vcpus[0]!.run(1 + (slice % 50), sink);
      if (done || end !== 'slice') return end;
    }
    return 'never ends';
  };
  return { vm, domain, exits, run };
}

function fill({ domain }: Machine): void {
  const gate = (handler: number) => BigInt(handler & 0xffff) | (0x8e000008n << 16n) | (1n << 48n);
  const gates = Object.entries(HANDLERS).map(([vector, at]) => [2 * Number(vector), gate(at)]);
  domain.add(AT.tables, page({ 0: BigInt(AT.tables) + 0x1003n }));
  domain.add(AT.tables + 0x1000, page({ 0: BigInt(AT.tables) + 0x2003n }));
  const large = 0x83n;
  domain.add(
    AT.tables + 0x2000,
    page({ 0: large, 1: large | SHARED, 2: 0xd0000000n | large | SHARED }),
  );
  domain.add(AT.gdt, page({ 1: 0x00af9b000000ffffn, 2: 0x00cf93000000ffffn }));
  domain.add(AT.idt, page(Object.fromEntries(gates)));
  domain.add(AT.code, bytes(CODE));
  domain.add(HANDLERS[0x40], bytes(INTERRUPT));
  domain.add(HANDLERS[0x14], bytes(VE));
}

/** What the guest tells, by OUT to port 0xe0. */
function told(exits: readonly VmExit[]): number[] {
  return exits.flatMap((exit) =>
    exit.kind === 'io' && exit.port === 0xe0
      ? [new DataView(exit.data.buffer, exit.data.byteOffset).getUint32(0, true)]
      : [],
  );
}

/** Whether some bytes of a snapshot are the secret. */
function holdsSecret(value: SnapshotValue | undefined): boolean {
  if (value instanceof Uint8Array) {
    const view = new DataView(value.buffer, value.byteOffset, value.length);
    for (let at = 0; at + 8 <= value.length; at++) {
      if (view.getBigUint64(at, true) === SECRET) return true;
    }
    return false;
  }
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsSecret);
}

function word(vm: EmulatedVm, gpa: number): number {
  const found = new Uint8Array(4);
  vm.memory.read(gpa, found);
  return new DataView(found.buffer).getUint32(0, true);
}

describe.each(['off', 'on', 'stress'] as const)('a trust domain with translation %s', (jit) => {
  it('runs its guest: the host gets what it is told, the module does the rest', () => {
    const m = machine(jit);
    fill(m);
    expect(m.run()).toBe('halted');
    m.vm.interrupts.sendMsi(0xfee00000, 0x40);
    expect(m.run()).toBe('slice');
    const [module, host, input, device, garbled, plain, width, ...rest] = told(m.exits);
    expect([module, host, input]).toEqual([0x65746e49, 0x4b4d564b, 0x01020304]);
    expect(device).toBe(0xbeef);
    expect([garbled, garbled === 0x11223344]).toEqual([word(m.vm, DATA.private), false]);
    expect([plain, word(m.vm, DATA.shared)]).toEqual([0x55667788, 0x55667788]);
    expect(width).toBe(48);
    expect(rest).toEqual([0x40404040, Number(SECRET & 0xffffffffn)]);
    const accesses = m.exits.flatMap((exit) =>
      exit.kind === 'mmio' ? [[exit.direction, exit.gpa, exit.size]] : [],
    );
    expect(accesses).toEqual([
      ['write', DEVICE, 4],
      ['read', DEVICE, 4],
    ]);
    // CPUID, IN, OUTs, the device, HLT; information on each, and TDG.VP.INFO.
    const { calls } = m.domain;
    expect(calls.host.filter((reason) => reason !== 30)).toEqual([10, 48, 48, 12]);
    expect(calls.module.filter((leaf) => leaf === 3).length).toBe(calls.host.length);
    expect(calls.module.filter((leaf) => leaf !== 3)).toEqual([1]);
  });

  it('has the same exits at the same instructions however it is executed', () => {
    const all = (['off', jit] as const).map((mode) => {
      const m = machine(mode);
      fill(m);
      m.run();
      m.vm.interrupts.sendMsi(0xfee00000, 0x40);
      m.run();
      return { exits: m.exits, instructions: m.vm.instructions() };
    });
    expect(all[1]).toEqual(all[0]);
  });

  it('shows its registers to nobody, and goes on where it was saved', () => {
    const m = machine(jit);
    fill(m);
    m.run();
    const saved = m.vm.snapshot();
    expect(holdsSecret(saved.state)).toBe(false);
    const other = machine(jit);
    other.vm.restore(saved);
    for (const each of [m, other]) {
      each.vm.interrupts.sendMsi(0xfee00000, 0x40);
      expect(each.run()).toBe('slice');
    }
    expect(told(other.exits)).toEqual(told(m.exits).slice(-2));
    const { state } = saved as { state: { extensions?: SnapshotValue } };
    const without = { ...saved, state: { ...state, extensions: {} } };
    expect(() => other.vm.restore(without)).toThrow('no state of trust-domain');
  });
});
