/**
 * The emulated processor as the helper of another backend: it executes single instructions over
 * that backend's memory and registers.
 *
 * Nothing is kept from one step to the next but what the WebAssembly memory holds of RAM: the
 * guest runs elsewhere between two steps and may have changed code and page tables.
 *
 * Known inaccuracies: the local APIC is the other backend's, and its page reads as no memory here;
 * DebugCtl's branch steps are plain steps.
 */
import {
  type AssistEnd,
  type AssistedVm,
  type AssistSession,
  type AssistState,
  type Clock,
  definePlugin,
  dmaView,
  type ExitSink,
  type InstructionAssist,
  type MemorySlot,
  slotMemory,
  VmmError,
  type VmPlugin,
} from '@cloister/core';
import { msr, selectCpu } from '@cloister/core/cpu';
import { ApicBus } from './apic/bus.js';
import * as L from './cpu/layout.js';
import type { Processor } from './cpu/processor.js';
import { IMPLICIT } from './mmu/mmu.js';
import { FRAME_DIRTY, PAGE_SIZE } from './mmu/physical.js';
import { KvmClockGroup } from './paravirt/kvm-clock.js';
import { putImage, takeImage } from './system/fpu-image.js';
import { GUEST_FAULT } from './system/outcome.js';
import type { EmulatedVcpu } from './vcpu.js';
import { VmParts } from './vm-parts.js';

const OP_CACHE_SIZE = 256 << 10;

/** MSRs of the record that instructions use, and their places. */
const MSRS = [
  [msr.STAR, L.STAR],
  [msr.LSTAR, L.LSTAR],
  [msr.CSTAR, L.CSTAR],
  [msr.SFMASK, L.SFMASK],
  [msr.KERNEL_GS_BASE, L.KERNEL_GS_BASE],
  [msr.SYSENTER_CS, L.SYSENTER_CS],
  [msr.SYSENTER_ESP, L.SYSENTER_ESP],
  [msr.SYSENTER_EIP, L.SYSENTER_EIP],
  [msr.TSC_AUX, L.TSC_AUX],
] as const;

/** Time stands still: the counter is what each step says. */
const STILL: Clock = {
  mode: 'wall',
  epochSeconds: 0,
  now: () => 0,
  at: () => ({ cancel: () => {} }),
};

const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
const HLT = 0xf4;
const TWO_BYTES = 0x0f;
/** WRMSR and RDMSR: all of an MSR file is not handed over. */
const MSR_ACCESS = new Set([0x30, 0x32]);
const LONGEST = 15;

class EmulatedAssist implements AssistSession {
  readonly memory: Uint8Array;
  readonly msrs = MSRS.map(([index]) => index);
  private readonly parts: VmParts;
  private readonly dirty: number[] = [];

  constructor(private readonly vm: AssistedVm) {
    this.parts = new VmParts({
      cpu: selectCpu(vm.cpu),
      cpus: vm.cpus,
      memorySize: vm.memorySize,
      opCacheSize: OP_CACHE_SIZE,
      clock: STILL,
      random: vm.random,
      bus: new ApicBus(),
      kvmClocks: new KvmClockGroup(),
      extensions: [],
      intercept: new Set(),
      memory: dmaView(() => guest),
      instructions: () => -1,
      jit: 'off',
    });
    const { physical, vcpus } = this.parts;
    const guest = slotMemory(physical);
    this.memory = physical.bytes;
    physical.onDirty = (frame) => this.dirty.push(frame);
    for (const { processor } of vcpus) processor.services.msrs.write(msr.APIC_BASE, 0, 0);
  }

  addSlot(slot: MemorySlot, offset: number): void {
    this.parts.physical.addSlot(slot, offset / PAGE_SIZE);
  }

  removeSlot(id: number): void {
    this.parts.physical.removeSlot(id);
  }

  step(index: number, state: AssistState, sink: ExitSink): AssistEnd {
    const { parts } = this;
    const vcpu = parts.vcpus[index];
    if (vcpu === undefined) throw new VmmError('invalid-argument', `there is no vCPU ${index}`);
    parts.opCache.reset();
    load(vcpu, state);
    if (isRefused(vcpu.processor)) return 'refused';
    vcpu.step(sink);
    this.tellWritten();
    if (vcpu.processor.words[L.ACTIVITY >> 2] === L.ACTIVITY_SHUTDOWN) return 'shutdown';
    store(vcpu, state);
    return 'done';
  }

  private tellWritten(): void {
    const { flags } = this.parts.physical;
    for (const frame of this.dirty.splice(0)) {
      flags[frame] &= ~FRAME_DIRTY;
      this.vm.written(frame * PAGE_SIZE, PAGE_SIZE);
    }
  }
}

function load(vcpu: EmulatedVcpu, state: AssistState): void {
  const { processor } = vcpu;
  const { record } = processor;
  record.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
  record.setI32(L.NMI_BLOCKED, state.nmiBlocked ? 1 : 0);
  record.setU64(L.TSC_OFFSET, state.tsc);
  for (const [index, value] of state.breakpoints.entries()) record.setU64(L.DR + 8 * index, value);
  for (const [index, [, place]] of MSRS.entries()) record.setU64(place, state.msrs[index]);
  vcpu.writeState(state.registers);
  processor.setPkru(state.pkru);
  putImage(processor, state.fpu);
  if (state.shadow) record.copyPair(L.SHADOW_RIP, L.RIP);
}

function store(vcpu: EmulatedVcpu, state: AssistState): void {
  const { processor } = vcpu;
  const { record } = processor;
  Object.assign(state.registers, vcpu.readState());
  state.pkru = record.u32(L.PKRU);
  takeImage(processor, state.fpu);
  for (const [index, [, place]] of MSRS.entries()) state.msrs[index] = record.u64(place);
  for (const index of state.breakpoints.keys()) {
    state.breakpoints[index] = record.u64(L.DR + 8 * index);
  }
  state.nmiBlocked = record.i32(L.NMI_BLOCKED) !== 0;
  state.shadow = processor.shadow.covers();
}

/** Whether the instruction at RIP needs state that the helper does not have. */
function isRefused(cpu: Processor): boolean {
  let opcode = -1;
  try {
    for (let i = 0; i < LONGEST; i++) {
      const byte = codeByte(cpu, i);
      if (opcode === TWO_BYTES) return MSR_ACCESS.has(byte);
      const isPrefix = PREFIXES.has(byte) || (cpu.is64 && (byte & 0xf0) === 0x40);
      if (isPrefix) continue;
      if (byte !== TWO_BYTES) return byte === HLT;
      opcode = byte;
    }
  } catch (error) {
    if (error !== GUEST_FAULT) throw error;
    // What faults when it is fetched is delivered as that.
    cpu.record.setI32(L.FAULT_VECTOR, -1);
  }
  return false;
}

function codeByte(cpu: Processor, offset: number): number {
  const lo = (cpu.linearRipLo + offset) | 0;
  const carry = lo >>> 0 < offset ? 1 : 0;
  return cpu.memory.read8(lo, cpu.is64 ? cpu.linearRipHi + carry : 0, IMPLICIT);
}

/** Help for backends that cannot execute every instruction. */
export function emulatedAssist(): InstructionAssist {
  return { name: 'emulated processor', open: (vm) => new EmulatedAssist(vm) };
}

/** Plugin: `emulatedAssist` for the VM's backend. */
export function assist(): VmPlugin {
  return definePlugin({
    name: 'emulated-assist',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: [],
    setup(context) {
      context.setInstructionAssist(emulatedAssist());
    },
  });
}
