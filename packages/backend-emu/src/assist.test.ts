/** Single instructions for a vCPU that runs elsewhere. */
import {
  type AssistState,
  copyExit,
  resetState,
  type VcpuState,
  type VmExit,
} from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import { expect, test } from 'vitest';
import { emulatedAssist } from './assist.js';

const SIZE = 0x10000;
const CODE = 0x1000;
const random = { fill: (target: Uint8Array) => void target.fill(7), u32: () => 7 };
const ram = { id: 0, gpa: 0, readOnly: false, name: 'ram', encryptable: false };

function open(cpu = 'cloister-v1') {
  const written: number[] = [];
  const session = emulatedAssist().open({
    memorySize: SIZE,
    cpus: 2,
    cpu,
    random,
    written: (offset) => void written.push(offset),
  });
  // System memory in another order than the guest's.
  session.addSlot({ ...ram, size: SIZE / 2 }, SIZE / 2);
  session.addSlot({ ...ram, id: 1, gpa: 0x100000, size: SIZE / 2 }, 0);
  const guest = session.memory.subarray(SIZE / 2);
  const exits: VmExit[] = [];
  const step = (bytes: readonly number[], state = fresh(), index = 0) => {
    guest.set(bytes, CODE);
    const end = session.step(index, state, (exit) => {
      if (exit.kind === 'io' && exit.direction === 'in') exit.data.fill(0x5a);
      exits.push(copyExit(exit));
    });
    return { end, state };
  };
  return { session, guest, written, exits, step };
}

/** Protected mode, flat, without paging, at CODE. */
function protectedState(): VcpuState {
  const state = resetState();
  for (const name of ['cs', 'ds', 'es', 'ss', 'fs', 'gs'] as const) {
    const attributes = name === 'cs' ? 0xc9b : 0xc93;
    state[name] = { selector: name === 'cs' ? 8 : 16, attributes, limit: 0xffffffff, base: 0n };
  }
  state.cr0 = 0x11n;
  state.cr4 = 0x600n;
  state.rip = BigInt(CODE);
  state.gpr.rsp = 0x7000n;
  return state;
}

function fresh(): AssistState {
  const fpu = new Uint8Array(512);
  fpu.set([0x7f, 0x03]);
  fpu.set([0x80, 0x1f], 24);
  return {
    registers: protectedState(),
    breakpoints: [0n, 0n, 0n, 0n],
    fpu,
    pkru: 0,
    msrs: new Array<bigint>(9).fill(0n),
    tsc: 0n,
    shadow: false,
    nmiBlocked: false,
  };
}

const XMM0 = 160;

test('an SSE instruction changes its register and RIP, and nothing else', () => {
  const { step } = open();
  const state = fresh();
  state.fpu.fill(3, XMM0, XMM0 + 32);
  const before = structuredClone(state);
  // PADDB XMM0, XMM1
  expect(step([0x66, 0x0f, 0xfc, 0xc1], state).end).toBe('done');
  before.fpu.fill(6, XMM0, XMM0 + 16);
  // What FXSAVE stores of a processor, not of its state.
  before.fpu.set(state.fpu.subarray(28, 32), 28);
  before.registers.rip += 4n;
  expect(state).toEqual(before);
});

test('x87 goes there and back', () => {
  const { step } = open();
  const { state } = step([0xd9, 0xe8]);
  // FLD1: one register in use, TOP 7, 1.0 in ST0.
  expect(state.fpu[4]).toBe(0x80);
  expect((state.fpu[3]! >> 3) & 7).toBe(7);
  expect([...state.fpu.subarray(32, 42)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
  state.registers.rip = BigInt(CODE);
  step([0xdc, 0xc0], state);
  expect([...state.fpu.subarray(40, 42)]).toEqual([0x00, 0x40]);
});

test('changed code and page tables are seen', () => {
  const { step } = open();
  expect(step([0xb0, 0x11]).state.registers.gpr.rax).toBe(0x11n);
  expect(step([0xb0, 0x22]).state.registers.gpr.rax).toBe(0x22n);
});

test('writes are told, once a step, by their place in system memory', () => {
  const { step, written, guest, session } = open();
  // MOV [0x3000], EAX
  const store = [0xa3, 0x00, 0x30, 0x00, 0x00];
  step(store);
  expect(written).toEqual([SIZE / 2 + 0x3000]);
  step(store);
  expect(written).toHaveLength(2);
  // MOV BYTE [0x100000], 1: the first byte of system memory.
  step([0xc6, 0x05, 0x00, 0x00, 0x10, 0x00, 0x01]);
  expect(written.at(-1)).toBe(0);
  expect([session.memory[0], guest[0]]).toEqual([1, 0]);
});

test("a fault is delivered through the guest's IDT", () => {
  const { step, guest } = open();
  const state = fresh();
  state.registers.idtr = { base: 0x2000n, limit: 0xff };
  state.registers.gdtr = { base: 0x2800n, limit: 0x1f };
  guest.set([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0], 0x2808);
  // #UD: interrupt gate to 8:0x4000.
  guest.set([0x00, 0x40, 8, 0, 0, 0x8e, 0, 0], 0x2000 + 6 * 8);
  expect(step([0x0f, 0x0b], state).end).toBe('done');
  expect(state.registers.rip).toBe(0x4000n);
  expect(state.registers.gpr.rsp).toBe(0x7000n - 12n);
});

test('a triple fault is a shutdown, and its exit is delivered', () => {
  const { step, exits } = open();
  const state = fresh();
  state.registers.idtr = { base: 0n, limit: 0 };
  expect(step([0x0f, 0x0b], state, 1).end).toBe('shutdown');
  expect(exits).toMatchObject([{ kind: 'shutdown', vcpu: 1, instructions: -1 }]);
});

test('exits are delivered, with the number of the vCPU', () => {
  const { step, exits } = open();
  const { state } = step([0xe4, 0x61], fresh(), 1);
  expect(exits).toMatchObject([{ kind: 'io', vcpu: 1, port: 0x61, instructions: -1 }]);
  expect(state.registers.gpr.rax).toBe(0x5an);
});

test.each([
  ['HLT', [0xf4]],
  ['RDMSR', [0x0f, 0x32]],
  ['WRMSR', [0x3e, 0x0f, 0x30]],
])('%s is refused with nothing changed', (_name, bytes) => {
  const { step, exits, written } = open();
  const { end, state } = step(bytes);
  expect(end).toBe('refused');
  expect(state).toEqual(fresh());
  expect([exits, written]).toEqual([[], []]);
});

test('the time-stamp counter and MSRs are those given', () => {
  const { step, session } = open('cloister-v1');
  const state = { ...fresh(), tsc: 0x123456789an };
  state.msrs[session.msrs.indexOf(msr.TSC_AUX)] = 77n;
  const { gpr } = step([0x0f, 0x01, 0xf9], state).state.registers;
  expect([gpr.rdx, gpr.rax, gpr.rcx]).toEqual([0x12n, 0x3456789an, 77n]);
});

test('an interrupt shadow begins and ends with instructions', () => {
  const { step } = open();
  const { state } = step([0xfb]);
  expect(state.shadow).toBe(true);
  state.registers.rip = BigInt(CODE);
  expect(step([0x90], state).state.shadow).toBe(false);
});

test('IRET lets NMIs in again', () => {
  const { step, guest } = open();
  const state = { ...fresh(), nmiBlocked: true };
  state.registers.gdtr = { base: 0x2800n, limit: 0x1f };
  guest.set([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0], 0x2808);
  new DataView(guest.buffer, guest.byteOffset + 0x7000).setUint32(0, 0x5000, true);
  new DataView(guest.buffer, guest.byteOffset + 0x7000).setUint32(4, 8, true);
  new DataView(guest.buffer, guest.byteOffset + 0x7000).setUint32(8, 2, true);
  step([0xcf], state);
  expect([state.registers.rip, state.nmiBlocked]).toEqual([0x5000n, false]);
});

test('a traced instruction raises #DB behind it', () => {
  const { step, guest } = open();
  const state = fresh();
  state.registers.rflags |= 0x100n;
  state.registers.idtr = { base: 0x2000n, limit: 0xff };
  state.registers.gdtr = { base: 0x2800n, limit: 0x1f };
  guest.set([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0], 0x2808);
  guest.set([0x00, 0x40, 8, 0, 0, 0x8e, 0, 0], 0x2000 + 8);
  step([0x90], state);
  expect(state.registers.rip).toBe(0x4000n);
  expect(state.registers.dr6 & 0x4000n).toBe(0x4000n);
});

test('a removed slot is no memory', () => {
  const { session, step, exits } = open();
  session.removeSlot(1);
  step([0xc6, 0x05, 0x00, 0x00, 0x10, 0x00, 0x01]);
  expect(exits).toMatchObject([{ kind: 'mmio', gpa: 0x100000, direction: 'write' }]);
});

test('more memory than WebAssembly has is refused', () => {
  const vm = { memorySize: 2 ** 32, cpus: 1, cpu: '', random, written: () => {} };
  expect(() => emulatedAssist().open(vm)).toThrow('cannot have');
});
