/**
 * The emulated processor as an assist: one instruction for a vCPU that runs elsewhere, such as on a
 * KVM that lacks it. Nothing is kept between two steps but memory, which is the guest's own.
 *
 * Inaccuracies: it has no local APIC, so that an access to the APIC's page by an assisted
 * instruction is one to a device; AVX state is not carried, and this processor has no AVX.
 */
import {
  type AssistEnd,
  type AssistedCpu,
  type Clock,
  definePlugin,
  type ExitSink,
  type InstructionAssist,
  type MemorySlot,
  type Random,
  VmmError,
  type VmPlugin,
} from '@cloister/core';
import { msr, selectCpu } from '@cloister/core/cpu';
import * as L from './cpu/layout.js';
import { EmulatedVm } from './emulated-vm.js';
import { readFxImage, writeFxImage } from './system/fpu-image.js';

export interface AssistOptions {
  /** CPU model and changes to it, as of the emulated backend: what it can execute. */
  readonly cpu?: string;
}

const MSRS = [
  msr.SYSENTER_CS,
  msr.SYSENTER_ESP,
  msr.SYSENTER_EIP,
  msr.STAR,
  msr.LSTAR,
  msr.CSTAR,
  msr.SFMASK,
  msr.KERNEL_GS_BASE,
  msr.TSC_AUX,
];

/** Time stands still in a step. */
const STILL: Clock = {
  mode: 'icount',
  epochSeconds: 0,
  now: () => 0,
  at: () => ({ cancel: () => {} }),
};
const NO_RANDOM: Random = { fill: (target) => void target.fill(0), u32: () => 0 };
const LOW = 0xffffffffn;

class EmulatedAssist implements InstructionAssist {
  readonly name = 'emulated processor';
  readonly msrs = MSRS;
  private vm: EmulatedVm | null = null;
  private placed: readonly MemorySlot[] = [];

  constructor(private readonly options: AssistOptions) {}

  connect(size: number): Uint8Array {
    if (this.vm !== null) {
      throw new VmmError('invalid-state', 'this assist belongs to another VM already', {
        remedy: 'give each VM an assist of its own',
      });
    }
    const parts = { cpus: 1, clock: STILL, random: NO_RANDOM, extensions: [] };
    const options = { ...parts, memorySize: size, intercept: new Set<never>() };
    this.vm = new EmulatedVm(options, selectCpu(this.options.cpu));
    // The vCPU has its APIC elsewhere.
    this.cpu.processor.services.msrs.write(msr.APIC_BASE, 0, 0);
    return this.vm.systemMemory;
  }

  place(slots: readonly MemorySlot[], locate: (gpa: number) => number): void {
    const vm = this.vm!;
    for (const { id } of this.placed) vm.forgetSlot(id);
    this.placed = slots;
    for (const slot of slots) vm.addSlotAt(slot, locate(slot.gpa));
  }

  step(cpu: AssistedCpu, sink: ExitSink): AssistEnd {
    const { processor } = this.cpu;
    const { msrs } = processor.services;
    for (const [index, value] of cpu.msrs) {
      msrs.write(index, Number(value & LOW), Number(value >> 32n));
    }
    writeFxImage(processor, cpu.fxsave);
    // Whatever was decoded or translated before may have changed since.
    this.vm!.forgetCode();
    processor.record.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    this.cpu.writeState(cpu.state);
    const end = this.cpu.run(1, sink);
    cpu.state = this.cpu.readState();
    readFxImage(processor, cpu.fxsave);
    for (const index of cpu.msrs.keys()) {
      if (msrs.read(index)) cpu.msrs.set(index, (BigInt(msrs.hi) << 32n) | BigInt(msrs.lo));
    }
    return end === 'halted' || end === 'shutdown' ? end : 'done';
  }

  takeDirty(): Uint32Array {
    return this.vm!.memory.takeDirty();
  }

  private get cpu() {
    return this.vm!.vcpus[0]!;
  }
}

/** An assist for one VM. */
export function emulatedAssist(options: AssistOptions = {}): InstructionAssist {
  return new EmulatedAssist(options);
}

/** Plugin: instructions that the backend cannot execute run on the emulated processor. */
export function assist(options: AssistOptions = {}): VmPlugin {
  return definePlugin({
    name: 'emulation-assist',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: ['cpu.assist'],
    setup(context) {
      context.setInstructionAssist(emulatedAssist(options));
    },
  });
}
