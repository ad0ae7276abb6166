/**
 * One vCPU as its extensions see it (`ExtensionVcpu`), and what the processor asks them.
 */
import {
  type ExtensionException,
  type ExtensionHost,
  type ExtensionVcpu,
  type InjectedEvent,
  type InterceptDetail,
  type InterceptName,
  type InterceptVerdict,
  type Snapshot,
  type StopReason,
  type VcpuState,
  VmmError,
} from '@cloister/core';
import { FLAG_IF, FLAG_TF } from '../cpu/flags.js';
import { interceptBit } from '../cpu/intercept-bits.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_NMI, VECTOR_UD } from '../cpu/registers.js';
import { deliverFault } from '../system/exceptions.js';
import { FAULT, LEAVE, type Outcome } from '../system/outcome.js';
import { Contexts } from './contexts.js';
import { ExtensionEvents } from './events.js';
import { type ExtensionSet, NO_EXTENSIONS } from './extension-set.js';
import { HostServices } from './host-services.js';
import { keptMsrOf, msrRights } from './msr-rights.js';

const ACTIVITY = L.ACTIVITY >> 2;
const NO_ERROR = -1;
const INTERCEPTED = L.INTERCEPTED >> 2;

function newDetail(): InterceptDetail {
  return {
    ...{ length: 0, direction: 'read', number: 0, lo: 0, hi: 0, size: 0 },
    ...{ string: false, repeated: false, addressSize: 0, segment: 0, register: 0 },
  };
}

export class ExtensionCpu implements ExtensionVcpu {
  readonly index: number;
  readonly host: ExtensionHost;
  readonly gpr: Uint32Array;
  readonly keptMsr: Uint32Array;
  /** What waits, and what the vCPU does next. */
  readonly events: ExtensionEvents;
  set: ExtensionSet = NO_EXTENSIONS;
  iretUnblocksNmi = true;
  /** Registers were loaded, or the instruction completed, since the extension was asked. */
  settled = false;
  private readonly contexts: Contexts;
  private readonly halves: Uint16Array;
  private readonly detail = newDetail();
  /** The set that `intercepted` is of; null: another, or none. */
  private interceptedNames: ReadonlySet<InterceptName> | null = null;

  constructor(private readonly cpu: Processor) {
    this.index = cpu.index;
    const { buffer, base } = cpu.record;
    this.gpr = new Uint32Array(buffer, base + L.GPR, 32);
    this.keptMsr = new Uint32Array(buffer, base + L.KEPT_MSR_VALUE, 2);
    this.halves = new Uint16Array(buffer);
    this.events = new ExtensionEvents(cpu);
    this.host = new HostServices(cpu);
    this.contexts = new Contexts(cpu);
  }

  /** Connects the VM's extensions. */
  connect(set: ExtensionSet): void {
    this.set = set;
    this.events.connect(set.world, this);
    const { words, intercept } = this.cpu;
    const kept = keptMsrOf(set.all);
    const exits = intercept.has('msr') && !set.registersHidden;
    words[L.KEPT_MSR >> 2] = kept ?? 0;
    words[L.MSR_RIGHTS >> 2] = msrRights(set.all, kept, exits);
  }

  /** What is intercepted lies where emitted code sees it. */
  private get intercepted(): number {
    return this.cpu.words[INTERCEPTED];
  }

  private set intercepted(bits: number) {
    this.cpu.words[INTERCEPTED] = bits;
  }

  /** RESET. */
  reset(): void {
    this.events.release();
    this.intercepted = 0;
    this.interceptedNames = null;
    this.iretUnblocksNmi = true;
    this.settled = false;
    this.keptMsr.fill(0);
    this.contexts.reset();
    this.events.reset();
  }

  // --- Asked by the processor -----------------------------------------------------------------

  watches(event: InterceptName): boolean {
    return (this.intercepted & interceptBit(event)) !== 0;
  }

  /** The detail of a new event: the length of the instruction, and nothing else yet. */
  beginDetail(): InterceptDetail {
    const { detail } = this;
    const { words } = this.cpu;
    detail.length = (words[L.NEXT_RIP >> 2] - words[L.RIP >> 2]) & 0xff;
    detail.direction = 'read';
    detail.number = detail.lo = detail.hi = detail.size = 0;
    detail.string = detail.repeated = false;
    detail.addressSize = detail.segment = detail.register = 0;
    return detail;
  }

  /** The register operand of the instruction in execution, as an offset into the record. */
  operand(field: number): number {
    return this.halves[(this.cpu.record.u32(L.CUR_OP) + field) >> 1];
  }

  /** Asks about an event; null: the processor goes on by itself. */
  ask(event: InterceptName): Outcome | null {
    this.settled = false;
    return this.answer(this.set.intercept!(event, this, this.detail));
  }

  /** Tells of something that has happened; RIP is behind it. */
  tell(event: InterceptName): Outcome {
    this.settled = true;
    const verdict = this.set.intercept!(event, this, this.detail);
    if (verdict.kind === 'exception') this.injectException(verdict.exception);
    return LEAVE;
  }

  /** A triple fault; true: the extension has done something about it. */
  shutDown(): boolean {
    if (!this.watches('shutdown')) return false;
    this.beginDetail().length = 0;
    this.settled = false;
    const verdict = this.set.intercept!('shutdown', this, this.detail);
    if (verdict.kind === 'exception') this.injectException(verdict.exception);
    if (verdict.kind === 'proceed') return this.settled;
    const stays = this.cpu.words[ACTIVITY] === L.ACTIVITY_RUNNING;
    return verdict.kind === 'exception' || this.settled || !stays || this.events.stopped;
  }

  /** Executes an instruction of an extension's. */
  execute(mnemonic: string): Outcome {
    const extension = this.set.instructions.get(mnemonic);
    if (extension?.execute === undefined) return this.cpu.raise(VECTOR_UD);
    this.settled = false;
    const verdict = extension.execute(mnemonic, this, this.beginDetail());
    return this.answer(verdict) ?? this.cpu.raise(VECTOR_UD);
  }

  private answer(verdict: InterceptVerdict): Outcome | null {
    const { cpu } = this;
    if (verdict.kind === 'exception') {
      const { exception } = verdict;
      if (!this.settled) return this.raise(exception);
      this.injectException(exception);
      return LEAVE;
    }
    if (this.settled) return this.goOn();
    if (verdict.kind === 'proceed') return null;
    cpu.completed();
    return cpu.resume();
  }

  /** The instruction is over; whatever must be seen to before the next one has asked for a stop. */
  private goOn(): Outcome {
    const { cpu } = this;
    if (cpu.stopRequested) return LEAVE;
    cpu.updatePending();
    return cpu.resume();
  }

  /**
   * An exception of an extension's. Guests get many: nothing is thrown, and the instruction ends
   * with the delivery, as INT n does, unless somebody watches it.
   */
  private raise({ vector, errorCode, class: kind }: ExtensionException): Outcome {
    const { cpu } = this;
    cpu.classes.note(vector, kind);
    cpu.words[L.FAULT_VECTOR >> 2] = vector & 31;
    cpu.words[L.FAULT_ERROR >> 2] = errorCode ?? NO_ERROR;
    const { code, data, ports } = cpu.mmu.breakpoints;
    const traced = (cpu.words[L.EFLAGS >> 2] & FLAG_TF) !== 0;
    if (code || data || ports || traced) return FAULT;
    const outcome = deliverFault(cpu);
    this.settled = true;
    return outcome;
  }

  private injectException({ vector, errorCode, class: kind }: ExtensionException): void {
    this.cpu.classes.note(vector, kind);
    this.inject({ vector, type: 'exception', errorCode });
  }

  // --- Registers ------------------------------------------------------------------------------

  get context(): number {
    return this.contexts.active;
  }

  readState(): VcpuState {
    return this.cpu.readState();
  }

  writeState(state: VcpuState): void {
    this.cpu.writeState(state);
    this.changed();
  }

  saveRegisters(window: Uint8Array): void {
    this.contexts.windows.save(window);
  }

  loadRegisters(window: Uint8Array): void {
    this.contexts.windows.load(window);
    this.changed();
  }

  clearRegisters(): void {
    this.contexts.windows.clear();
    this.changed();
  }

  keepRegisters(): void {
    this.events.keepsRegisters = this.set.registersHidden;
  }

  /** Other registers: what is executed next is looked up anew. */
  private changed(): void {
    this.settled = true;
    this.cpu.requestStop();
  }

  /** Before instructions are executed. */
  settleRegisters(): void {
    this.contexts.windows.settle();
  }

  /** The registers were replaced by others than the extension. */
  forgetRegisters(): void {
    this.contexts.forget();
  }

  complete(): void {
    if (this.settled) return;
    this.cpu.completed();
    this.settled = true;
  }

  switchContext(context: number): void {
    const { contexts, set } = this;
    if (!Number.isInteger(context) || context < 0 || context >= set.contexts) {
      throw new VmmError('invalid-argument', `there is no context ${context}`, {
        remedy: `the extension has ${set.contexts} (contexts)`,
      });
    }
    if (context === contexts.active) return;
    contexts.switch(context, set.registersHidden);
    this.changed();
  }

  flushTlb(): void {
    this.cpu.mmu.flushVerdicts();
  }

  setIntercepts(names: ReadonlySet<InterceptName>): void {
    if (names === this.interceptedNames) return;
    let bits = 0;
    for (const name of names) {
      if (!this.set.intercepts.has(name)) {
        throw new VmmError('invalid-argument', `the extension does not list intercept ${name}`, {
          remedy: 'name it in its `intercepts`',
        });
      }
      bits |= interceptBit(name);
    }
    this.intercepted = bits;
    this.interceptedNames = names;
  }

  // --- Interrupts and what comes next ----------------------------------------------------------

  get interruptFlag(): boolean {
    return (this.cpu.words[L.EFLAGS >> 2] & FLAG_IF) !== 0;
  }

  get interruptShadow(): boolean {
    return this.cpu.shadow.covers();
  }

  get pending(): 'none' | 'interrupt' | 'nmi' {
    return this.events.pending;
  }

  acknowledge(): number {
    const { cpu } = this;
    if (this.pending === 'none') {
      throw new VmmError('invalid-state', 'no interrupt waits to be acknowledged');
    }
    if (this.pending === 'interrupt') return cpu.services.apic.acknowledge();
    cpu.nmiPending = false;
    return VECTOR_NMI;
  }

  inject(event: InjectedEvent): void {
    this.events.inject(event);
  }

  get nmiBlocked(): boolean {
    return this.cpu.words[L.NMI_BLOCKED >> 2] !== 0;
  }

  set nmiBlocked(blocked: boolean) {
    this.cpu.words[L.NMI_BLOCKED >> 2] = blocked ? 1 : 0;
    if (this.cpu.updatePending()) this.cpu.requestStop();
  }

  halt(interruptible: boolean): void {
    this.events.halt(interruptible);
  }

  waitForStartup(): void {
    this.events.become(L.ACTIVITY_WAIT_SIPI);
  }

  run(): void {
    this.events.become(L.ACTIVITY_RUNNING);
  }

  yield(): void {
    this.events.yielded = true;
    this.cpu.requestStop();
  }

  stop(reason: StopReason): void {
    this.events.stop(reason);
  }

  // --- Saved and restored ---------------------------------------------------------------------

  snapshot(): Snapshot['state'] {
    return {
      intercepted: this.intercepted,
      iretUnblocksNmi: this.iretUnblocksNmi,
      keptMsr: [...this.keptMsr],
      events: this.events.snapshot(),
      contexts: this.contexts.snapshot(),
    };
  }

  restore(saved: unknown): void {
    const state = (saved ?? {}) as Partial<Record<string, unknown>>;
    this.intercepted = Number(state['intercepted']) | 0;
    this.interceptedNames = null;
    this.iretUnblocksNmi = state['iretUnblocksNmi'] !== false;
    const kept = state['keptMsr'];
    this.keptMsr.set(Array.isArray(kept) && kept.length === 2 ? kept.map(Number) : [0, 0]);
    this.settled = false;
    this.events.restore(state['events']);
    this.contexts.restore(state['contexts'], this.set.contexts);
  }
}
