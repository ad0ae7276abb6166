/**
 * Emulation assist: an instruction that this KVM cannot execute is executed by another processor,
 * over the same memory. The vCPU's registers go there and back; whatever that processor does not
 * have (AVX registers, other MSRs, the local APIC) stays in the kernel.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_GET_XSAVE, KVM_GET_VCPU_EVENTS); Intel SDM vol. 1,
 * 13.4 (the XSAVE area).
 *
 * Known inaccuracies: an access of such an instruction to the local APIC's page or to a doorbell of
 * `vm.eventFds` is an exit.
 */
import {
  type AssistEnd,
  type AssistSession,
  type AssistState,
  type BackendVmOptions,
  type ExitSink,
  type InstructionAssist,
  type MemorySlot,
  VmmError,
} from '@cloister/core';
import { type CpuSelection, msr, selectionText } from '@cloister/core/cpu';
import { VCPU_EVENT_VALID_SHADOW } from './abi/constants.js';
import type { KvmIoctl } from './abi/ioctls.js';
import { StructView } from './abi/struct.js';
import { VCPU_EVENTS, XSAVE } from './abi/structs.js';
import type { CpuChoice } from './cpuid-policy.js';
import type { KvmGuestMemory } from './guest-memory.js';
import type { CpuidEntry } from './host.js';
import { Overlay } from './mapping.js';
import { fromState, type RegisterStructs, registerStructs, toState } from './registers.js';
import { ioctl, type Sys } from './sys/sys.js';
import type { KvmVcpu } from './vcpu.js';
import { readMsrs, writeMsr } from './vcpu-record.js';

const FPU_SIZE = 512;
/** XSTATE_BV in the header: which components are not in their initial state. */
const XSTATE_BV = 512;
const LEGACY = 3;
const PKRU = { leaf: 0xd, subleaf: 9 } as const;

export interface AssistRequest {
  readonly sys: Sys;
  readonly options: BackendVmOptions;
  readonly cpu: CpuChoice;
  readonly supported: readonly CpuidEntry[];
  readonly memory: KvmGuestMemory;
  /** Whether the host has XSAVE. */
  readonly xsave: boolean;
}

/** What was read of a vCPU. */
interface Taken {
  readonly state: AssistState;
  readonly xsave: StructView;
  readonly events: StructView;
}

/** Of one VM; null where nobody helps. */
export function openAssist(request: AssistRequest): KvmAssist | null {
  const { assist } = request.options;
  return assist === undefined ? null : new KvmAssist(request, assist);
}

/** The model that the guest has, if it can be helped. */
function helpedModel(cpu: CpuChoice, { vmType = 0 }: BackendVmOptions): CpuSelection {
  const refuse = (message: string, remedy: string): never => {
    throw new VmmError('unsupported', message, { remedy });
  };
  if (vmType !== 0) return refuse('a protected VM takes no instruction assist', 'leave it out');
  if (cpu !== 'host') return cpu;
  return refuse('instruction assist needs a CPU model', 'name one in place of "host"');
}

export class KvmAssist {
  /** Instructions executed so far. */
  steps = 0;
  private readonly session: AssistSession;
  private readonly overlay: Overlay;
  private readonly structs: RegisterStructs;
  /** Where PKRU lies in the XSAVE area; 0: nowhere. */
  private readonly pkruAt: number;

  constructor(
    private readonly request: AssistRequest,
    assist: InstructionAssist,
  ) {
    const { sys, options, cpu, supported, memory, xsave } = request;
    const { cpus, random } = options;
    // The model whole: some hosts' guests find features that their KVM does not list.
    const { model, features } = helpedModel(cpu, options);
    this.session = assist.open({
      memorySize: memory.bytes.length,
      cpus,
      cpu: selectionText(model, features),
      random,
      written: (offset) => memory.written(offset),
    });
    if (this.session.memory.length !== memory.bytes.length) {
      throw new VmmError('internal', `the memory of ${assist.name} has another size`);
    }
    this.overlay = Overlay.of(sys, this.session.memory, memory.fd);
    this.structs = registerStructs(xsave);
    const { leaf, subleaf } = PKRU;
    const area = supported.find((each) => each.leaf === leaf && each.subleaf === subleaf);
    this.pkruAt = features.has('pku') && area !== undefined ? area.ebx : 0;
  }

  addSlot(slot: MemorySlot): void {
    this.session.addSlot(slot, this.request.memory.locate(slot.gpa));
  }

  removeSlot(id: number): void {
    this.session.removeSlot(id);
  }

  /** Executes the instruction at the vCPU's RIP. */
  step({ index, fd }: Pick<KvmVcpu, 'index' | 'fd'>, sink: ExitSink): AssistEnd {
    const taken = this.take(fd);
    const before = structuredClone(taken.state);
    const end = this.session.step(index, taken.state, sink);
    if (end === 'refused') return end;
    this.steps++;
    if (end === 'done') this.put(fd, taken, before);
    return end;
  }

  dispose(): void {
    this.overlay.dispose();
  }

  private take(fd: number): Taken {
    const { sys } = this.request;
    const { regs, sregs, debug, xcrs } = this.structs;
    const get = (name: KvmIoctl, view: StructView) => ioctl(sys, fd, name, view.bytes);
    get('GET_REGS', regs);
    get('GET_SREGS', sregs);
    get('GET_DEBUGREGS', debug);
    if (xcrs !== null) get('GET_XCRS', xcrs);
    const xsave = new StructView(XSAVE);
    get('GET_XSAVE', xsave);
    const events = new StructView(VCPU_EVENTS);
    get('GET_VCPU_EVENTS', events);
    const [tsc = 0n, ...msrs] = readMsrs(sys, fd, [msr.TSC, ...this.session.msrs]);
    const state: AssistState = {
      registers: toState(this.structs),
      breakpoints: [0, 1, 2, 3].map((number) => debug.view.getBigUint64(8 * number, true)),
      fpu: xsave.bytes.slice(0, FPU_SIZE),
      pkru: this.pkruAt === 0 ? 0 : xsave.view.getUint32(this.pkruAt, true),
      msrs,
      tsc,
      shadow: events.get('interrupt.shadow') !== 0,
      nmiBlocked: events.get('nmi.masked') !== 0,
    };
    return { state, xsave, events };
  }

  private put(fd: number, { state, xsave, events }: Taken, before: AssistState): void {
    const { sys } = this.request;
    const { regs, sregs, debug, xcrs } = this.structs;
    const set = (name: KvmIoctl, view: StructView) => ioctl(sys, fd, name, view.bytes);
    const { registers } = state;
    fromState(registers, this.structs);
    if (xcrs !== null && registers.xcr0 !== before.registers.xcr0) set('SET_XCRS', xcrs);
    set('SET_SREGS', sregs);
    set('SET_REGS', regs);
    state.breakpoints.forEach((address, number) => {
      debug.view.setBigUint64(8 * number, address, true);
    });
    set('SET_DEBUGREGS', debug);
    this.putExtended(fd, state, xsave);
    this.session.msrs.forEach((index, at) => {
      if (state.msrs[at] !== before.msrs[at]) writeMsr(sys, fd, index, state.msrs[at]!);
    });
    events.set('interrupt.shadow', state.shadow ? 1 : 0);
    events.set('nmi.masked', state.nmiBlocked ? 1 : 0);
    events.set('flags', events.get('flags') | VCPU_EVENT_VALID_SHADOW);
    set('SET_VCPU_EVENTS', events);
  }

  /** Registers of the XSAVE area that the helper has; the others go back as they came. */
  private putExtended(fd: number, state: AssistState, xsave: StructView): void {
    const same = state.fpu.every((byte, at) => byte === xsave.bytes[at]);
    const pkru = this.pkruAt === 0 ? 0 : xsave.view.getUint32(this.pkruAt, true);
    if (same && pkru === state.pkru) return;
    xsave.bytes.set(state.fpu);
    let components = LEGACY;
    if (pkru !== state.pkru) {
      xsave.view.setUint32(this.pkruAt, state.pkru, true);
      components |= 1 << PKRU.subleaf;
    }
    const present = xsave.view.getUint32(XSTATE_BV, true) | components;
    xsave.view.setUint32(XSTATE_BV, present, true);
    ioctl(this.request.sys, fd, 'SET_XSAVE', xsave.bytes);
  }
}
