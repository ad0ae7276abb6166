/**
 * Events between two instructions of a vCPU whose extension switches worlds: injection, the offer
 * of interrupts, INIT and start-up IPIs, and the ends of a run that the extension asks for.
 */
import {
  type CpuExtension,
  type EnterRefusal,
  type ExtensionVcpu,
  type InjectedEvent,
  type RunEnd,
  type Snapshot,
  type StopReason,
  VmmError,
} from '@cloister/core';
import { FLAG_IF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_NMI } from '../cpu/registers.js';
import { EVENT_EXTERNAL, EVENT_FAULT, EVENT_SOFTWARE } from '../system/event.js';
import { deliver } from '../system/exceptions.js';

const ACTIVITY = L.ACTIVITY >> 2;
const EFLAGS = L.EFLAGS >> 2;
const NMI_BLOCKED = L.NMI_BLOCKED >> 2;
const NO_ERROR = -1;
const KINDS = {
  interrupt: EVENT_EXTERNAL,
  nmi: EVENT_EXTERNAL,
  exception: EVENT_FAULT,
  software: EVENT_SOFTWARE,
} as const;

export class ExtensionEvents {
  /** Whether the extension switches worlds: only then is any of this asked. */
  active = false;
  /** Whether it takes interrupts itself. */
  offers = false;
  stopped = false;
  yielded = false;
  /** Between `enter` and `leave`. */
  inside = false;
  /** The guest has been left, and the processor still has its registers for the next time. */
  keepsRegisters = false;
  private injected: InjectedEvent | null = null;
  /** What was offered last was not taken, and nothing has arrived since. */
  private declined = false;
  /** Whether an interrupt ends the halt; null: RFLAGS.IF says so. */
  private wakesOpen: boolean | null = null;
  /** Vector of a start-up IPI that has not been seen to, or -1. */
  private startupVector = -1;
  private world: CpuExtension | null = null;
  private vcpu!: ExtensionVcpu;

  constructor(private readonly cpu: Processor) {}

  connect(world: CpuExtension | null, vcpu: ExtensionVcpu): void {
    this.world = world;
    this.vcpu = vcpu;
    this.active = world !== null;
    this.offers = world?.interrupt !== undefined;
  }

  reset(): void {
    this.stopped = false;
    this.yielded = false;
    this.injected = null;
    this.declined = false;
    this.wakesOpen = null;
    this.startupVector = -1;
  }

  // --- The run --------------------------------------------------------------------------------

  /** Sees to INIT and start-up IPIs, in the host's world. */
  arrive(): void {
    const { cpu, world, vcpu } = this;
    if (this.arrived) this.release();
    if (cpu.initPending) this.init();
    if (this.startupVector < 0) return;
    const vector = this.startupVector;
    this.startupVector = -1;
    if (cpu.words[ACTIVITY] !== L.ACTIVITY_WAIT_SIPI) return;
    if (world?.startup === undefined) {
      cpu.startAt(vector);
      return;
    }
    cpu.words[ACTIVITY] = L.ACTIVITY_RUNNING;
    world.startup(vector, vcpu);
  }

  private init(): void {
    const { cpu, world, vcpu } = this;
    if (world?.init === undefined) {
      cpu.applyInit();
      return;
    }
    cpu.initPending = false;
    cpu.nmiPending = false;
    this.injected = null;
    this.wakesOpen = null;
    cpu.words[NMI_BLOCKED] = 0;
    cpu.words[ACTIVITY] = cpu.index === 0 ? L.ACTIVITY_RUNNING : L.ACTIVITY_WAIT_SIPI;
    cpu.services.apic.init();
    world.init(vcpu);
  }

  /** Whether INIT or a start-up IPI waits, so that the run must leave its guest. */
  get arrived(): boolean {
    const { cpu } = this;
    const waits = cpu.words[ACTIVITY] === L.ACTIVITY_WAIT_SIPI;
    return cpu.initPending || (this.startupVector >= 0 && waits);
  }

  /** Enters the guest; a refusal ends the run. */
  enter(): EnterRefusal | null {
    const refusal = this.world?.enter?.(this.vcpu) ?? null;
    this.inside = refusal === null;
    if (!this.inside) return refusal;
    this.keepsRegisters = false;
    this.cpu.extension.settleRegisters();
    return refusal;
  }

  /** Leaves it. */
  leave(): void {
    const { cpu, world } = this;
    this.inside = false;
    const halted = cpu.words[ACTIVITY] === L.ACTIVITY_HALTED;
    if (halted) this.wakesOpen ??= this.open;
    world?.leave?.(this.vcpu);
    if (world?.registersHidden === true && !this.keepsRegisters) this.clear();
  }

  /** Has registers that are kept saved and cleared, before anybody else sees or replaces them. */
  release(): void {
    if (!this.keepsRegisters) return;
    this.keepsRegisters = false;
    this.world?.release?.(this.vcpu);
    this.clear();
  }

  private clear(): void {
    this.cpu.extension.clearRegisters();
    this.cpu.record.setPair(L.RIP_PAGE, 0, 0);
  }

  /** Whether the run has to end now. */
  get ends(): boolean {
    return this.stopped || this.yielded || this.arrived;
  }

  /** How it does. */
  takeEnd(): RunEnd {
    this.yielded = false;
    return this.stopped ? 'error' : 'slice';
  }

  // --- Events before the next instruction -----------------------------------------------------

  /** Delivers what was injected, then offers what waits and delivers what comes of it. */
  take(): void {
    this.deliverInjected();
    if (this.cpu.words[ACTIVITY] > L.ACTIVITY_HALTED) return;
    if (!this.offers || !this.offer()) return;
    this.deliverInjected();
    this.cpu.updatePending();
  }

  /** Whether an injected event waits for its delivery. */
  get injects(): boolean {
    return this.injected !== null;
  }

  deliverInjected(): void {
    const event = this.injected;
    if (event === null) return;
    const { cpu } = this;
    this.injected = null;
    if (event.type === 'nmi') cpu.words[NMI_BLOCKED] = 1;
    const lo = cpu.record.lo(L.RIP);
    const hi = cpu.record.hi(L.RIP);
    deliver(cpu, event.vector, event.errorCode ?? NO_ERROR, KINDS[event.type], lo, hi);
  }

  /** Whether the extension was asked. */
  private offer(): boolean {
    const { cpu, world } = this;
    if (!cpu.updatePending()) return false;
    const can = this.canTake;
    if (!can && (this.declined || world?.interruptArrivals !== true)) return false;
    this.declined = true;
    world!.interrupt!(this.vcpu);
    return true;
  }

  private get canTake(): boolean {
    const { cpu } = this;
    const halted = cpu.words[ACTIVITY] === L.ACTIVITY_HALTED;
    if (!halted && cpu.shadow.covers()) return false;
    if (this.pending === 'nmi') return true;
    return halted && this.wakesOpen !== null ? this.wakesOpen : this.open;
  }

  private get open(): boolean {
    return (this.cpu.words[EFLAGS] & FLAG_IF) !== 0;
  }

  get pending(): 'none' | 'interrupt' | 'nmi' {
    const { cpu } = this;
    if (cpu.nmiPending && cpu.words[NMI_BLOCKED] === 0) return 'nmi';
    return cpu.services.apic.hasInterrupt() ? 'interrupt' : 'none';
  }

  /** Something has arrived: it is offered anew. */
  noteArrival(): void {
    this.declined = false;
    if (this.world?.interruptArrivals === true) this.cpu.requestStop();
  }

  /** A start-up IPI, seen to before the next run of instructions. */
  noteStartup(vector: number): void {
    const waits = this.cpu.words[ACTIVITY] === L.ACTIVITY_WAIT_SIPI;
    if (!waits && !this.cpu.initPending) return;
    this.startupVector = vector;
    this.cpu.requestStop();
  }

  /** Whether an event waits that could end the halt. */
  get wakes(): boolean {
    if (this.injected !== null) return true;
    if (this.declined || this.pending === 'none') return false;
    if (this.pending === 'nmi') return true;
    return this.wakesOpen ?? this.open;
  }

  // --- What the extension asks for ------------------------------------------------------------

  inject(event: InjectedEvent): void {
    const { vector, type } = event;
    const fits = Number.isInteger(vector) && vector >= 0 && vector <= 255;
    if (
      !fits ||
      (type === 'nmi' && vector !== VECTOR_NMI) ||
      (type === 'exception' && vector > 31)
    ) {
      throw new VmmError('invalid-argument', `an extension injects vector ${vector} as ${type}`);
    }
    this.injected = { ...event };
    if (this.cpu.words[ACTIVITY] === L.ACTIVITY_HALTED) this.become(L.ACTIVITY_RUNNING);
    this.cpu.requestStop();
  }

  halt(interruptible: boolean): void {
    this.become(L.ACTIVITY_HALTED);
    this.wakesOpen = interruptible;
    this.declined = false;
  }

  become(activity: number): void {
    this.cpu.words[ACTIVITY] = activity;
    // A single step of the instruction that put the vCPU to sleep would wake it.
    if (activity !== L.ACTIVITY_RUNNING) this.cpu.debug.untraced = true;
    this.wakesOpen = null;
    this.cpu.requestStop();
  }

  /** The processor has halted or gone on by itself. */
  forgetHalt(): void {
    this.wakesOpen = null;
  }

  stop(reason: StopReason): void {
    if (reason === 'shutdown') this.become(L.ACTIVITY_SHUTDOWN);
    else this.stopped = true;
    this.cpu.requestStop();
  }

  // --- Saved and restored ---------------------------------------------------------------------

  snapshot(): Snapshot['state'] {
    const { injected, declined, wakesOpen, startupVector, stopped } = this;
    return {
      injected: injected === null ? null : { ...injected },
      ...{ declined, wakesOpen, startupVector, stopped },
    };
  }

  restore(saved: unknown): void {
    this.reset();
    const state = (saved ?? {}) as Partial<Record<string, unknown>>;
    const { injected, wakesOpen, startupVector } = state;
    this.injected = injectedOf(injected);
    this.declined = state['declined'] === true;
    this.wakesOpen = typeof wakesOpen === 'boolean' ? wakesOpen : null;
    this.startupVector = typeof startupVector === 'number' ? startupVector & 0xff : -1;
    if (startupVector === -1) this.startupVector = -1;
    this.stopped = state['stopped'] === true;
  }
}

function injectedOf(saved: unknown): InjectedEvent | null {
  const { vector, type, errorCode } = (saved ?? {}) as Partial<Record<string, unknown>>;
  if (typeof type !== 'string' || !(type in KINDS)) return null;
  return {
    vector: Number(vector) & 0xff,
    type: type as InjectedEvent['type'],
    errorCode: typeof errorCode === 'number' ? errorCode : null,
  };
}
