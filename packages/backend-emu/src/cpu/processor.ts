/**
 * One emulated processor: the record, its memory management and its ports, tied together.
 *
 * Emitted code runs on the record by itself; whatever is rare comes here. System functions
 * (`system/`) are written against this class. RIP is the start of the instruction and NEXT_RIP what
 * follows it while one runs.
 */
import type { MsrValue, Random, Snapshot, VcpuState, VmExitKind } from '@cloister/core';
import type { CpuSelection } from '@cloister/core/cpu';
import type { ApicCpu } from '../apic/ports.js';
import { ExtensionCpu } from '../extension/extension-cpu.js';
import { fpuTraps } from '../fpu/traps.js';
import type { DeliverUsual } from '../interp/delivery.js';
import { MemoryAccess } from '../mmu/access.js';
import { Mmu } from '../mmu/mmu.js';
import type { PhysicalMemory } from '../mmu/physical.js';
import type { MsrCpu } from '../msr/ports.js';
import type { VcpuServices } from '../msr/vcpu-services.js';
import { ExceptionClasses } from '../system/exception-classes.js';
import { PortData } from '../system/io.js';
import { FAULT, GUEST_FAULT, LEAVE, type Outcome, REDISPATCH } from '../system/outcome.js';
import { Stack } from '../system/stack.js';
import { UndefinedOpcodes } from '../system/undefined-opcodes.js';
import { CodeModes } from './code-modes.js';
import { DebugState } from './debug-state.js';
import { ExitPort } from './exits.js';
import { FLAG_AC, FLAG_IF, FLAG_TF, FLAG_VM } from './flags.js';
import { InterruptShadow } from './interrupt-shadow.js';
import * as L from './layout.js';
import { MmioRouter } from './mmio.js';
import { ATTR_L, MODE_64, MODE_SIZE_MASK, modeKey } from './mode.js';
import {
  readProcessorState,
  restoreProcessor,
  snapshotProcessor,
  writeProcessorState,
} from './processor-state.js';
import { CpuRecord } from './record.js';
import { CR0_PE, CR4_PKE, EFER_LMA, VECTOR_GP } from './registers.js';
import { initRecord, resetRecord } from './reset.js';

export interface ProcessorOptions {
  readonly index: number;
  readonly buffer: ArrayBufferLike;
  /** Byte offset of the record in the memory. */
  readonly cpuBase: number;
  readonly physical: PhysicalMemory;
  /** The CPU model. */
  readonly cpu: CpuSelection;
  readonly physicalBits: number;
  /** Bits 51:32 of table entries with a meaning of an extension's, as a mask; none if absent. */
  readonly tableBitsHi?: number;
  readonly random: Random;
  /** Kinds of exits that some handler wants although the processor could answer. */
  readonly intercept: ReadonlySet<VmExitKind>;
  /** Instructions executed by the VM before the current one. */
  readonly instructions: () => number;
}

export type SystemFunction = (cpu: Processor) => Outcome;

const CPL = L.CPL >> 2;
const MODE = L.MODE >> 2;
const EFLAGS = L.EFLAGS >> 2;
const CR0 = L.CR0 >> 2;
const EFER = L.EFER >> 2;
const CS_ATTRIBUTES = (L.segmentOffset(L.SEG.cs) + L.SEG_ATTRIBUTES) >> 1;
const CS_BASE = L.segmentOffset(L.SEG.cs) >> 2;
const CS_LIMIT = (L.segmentOffset(L.SEG.cs) + L.SEG_LIMIT) >> 2;

export class Processor implements ApicCpu, MsrCpu {
  readonly index: number;
  readonly record: CpuRecord;
  /** The record as signed words: what hot code uses. */
  readonly words: Int32Array;
  readonly physical: PhysicalMemory;
  readonly mmu: Mmu;
  readonly memory: MemoryAccess;
  readonly stack: Stack;
  readonly exits: ExitPort;
  readonly cpu: CpuSelection;
  readonly random: Random;
  readonly intercept: ReadonlySet<VmExitKind>;
  readonly debug: DebugState;
  readonly shadow: InterruptShadow;
  readonly portData = new PortData();
  readonly classes = new ExceptionClasses();
  /** What an MSR is read into. */
  readonly msrValue: MsrValue = { lo: 0, hi: 0 };
  readonly undefinedOpcodes = new UndefinedOpcodes();
  readonly mmio: MmioRouter;
  /** APIC, MSRs, CPUID and time-stamp counter; connected after construction. */
  services!: VcpuServices;
  /** The run must stop after the current instruction. Cleared by the run loop. */
  stopRequested = false;
  /** Called with `requestStop`: lets the run loop cut its budget. */
  onStopRequest: () => void = () => {};
  /** Called at the first entry to user mode, then forgotten. */
  onUserMode: (() => void) | null = null;
  /** Delivers the usual events in emitted code, once that is there: see `interp/delivery.ts`. */
  deliverUsual: DeliverUsual = () => 0;
  /** EXT bit of error codes: 1 while an event other than a software interrupt is delivered. */
  ext = 0;
  /** A non-maskable interrupt waits. */
  nmiPending = false;
  /** An INIT waits for the end of the instruction. */
  initPending = false;
  /** Branch single-step (DebugCtl.BTF). */
  branchSteps = false;
  /** This processor as extensions see it. */
  readonly extension: ExtensionCpu;
  /** What the last descriptor read by `system/descriptors.ts` holds, and where it lies. */
  readonly descriptor = { lo: 0, hi: 0, upper: 0, atLo: 0, atHi: 0 };
  /** The stack of an outer privilege that a return has popped. */
  readonly outer = { lo: 0, hi: 0, selector: 0 };
  /** A descriptor set aside while another is read. */
  readonly saved = { lo: 0, hi: 0, atLo: 0, atHi: 0 };
  private readonly codeModes: CodeModes;

  constructor(readonly options: ProcessorOptions) {
    const { index, buffer, cpuBase, physical, cpu, physicalBits } = options;
    this.index = index;
    this.cpu = cpu;
    this.random = options.random;
    this.intercept = options.intercept;
    this.record = new CpuRecord(buffer, cpuBase);
    this.words = this.record.words;
    this.codeModes = new CodeModes(this.words);
    this.shadow = new InterruptShadow(this.record);
    this.debug = new DebugState(this.record, options.instructions);
    this.physical = physical;
    this.mmu = new Mmu(this.record, physical, {
      physicalBits,
      ...(options.tableBitsHi !== undefined && { tableBitsHi: options.tableBitsHi }),
      gigabytePages: cpu.has('pdpe1gb'),
      pse36: cpu.has('pse36'),
      linearBits: cpu.has('la57') ? 57 : 48,
    });
    this.mmu.onException = (each) => this.classes.note(each.vector, each.class);
    this.mmu.breakpoints.onHit = () => this.requestStop();
    this.exits = new ExitPort(index, options.instructions);
    this.mmio = new MmioRouter(this.exits);
    this.memory = new MemoryAccess(this.record, this.mmu, this.mmio);
    this.stack = new Stack(this.record, this.mmu, this.memory);
    this.extension = new ExtensionCpu(this);
    this.toReset(resetRecord);
  }

  /** Connects what was built with this processor as its port. */
  connect(services: VcpuServices): void {
    this.services = services;
    this.mmio.apic = services.apic;
    this.baseChanged();
  }

  // --- Reset and state ------------------------------------------------------------------------

  /** RESET. The boot CPU runs; others wait for SIPI. */
  reset(): void {
    this.extension.reset();
    this.toReset(resetRecord);
    this.services.reset();
    this.baseChanged();
  }

  private toReset(restore: typeof resetRecord): void {
    restore(this.record, this.cpu.model.signature, this.index === 0);
    this.shadow.clear();
    this.nmiPending = false;
    this.initPending = false;
    this.debug.clear();
    this.stateReplaced();
  }

  readState(): VcpuState {
    return readProcessorState(this);
  }

  writeState(state: VcpuState): void {
    writeProcessorState(this, state);
  }

  snapshot(): Snapshot {
    return snapshotProcessor(this);
  }

  restore(snapshot: Snapshot): void {
    restoreProcessor(this, snapshot);
  }

  /** After the record was replaced as a whole. */
  stateReplaced(): void {
    this.stopRequested = false;
    this.extension.forgetRegisters();
    this.codeModes.forget();
    this.mmu.breakpoints.hits = 0;
    this.mmu.breakpointsChanged();
    this.mmu.reconfigure();
    this.modeChanged();
    this.fpuStateChanged();
  }

  // --- Mode -----------------------------------------------------------------------------------

  get cpl(): number {
    return this.words[CPL];
  }

  /** Protected mode without virtual-8086: segments are descriptors. */
  get isProtected(): boolean {
    return (this.words[CR0] & CR0_PE) !== 0 && (this.words[EFLAGS] & FLAG_VM) === 0;
  }

  get isV86(): boolean {
    return (this.words[EFLAGS] & FLAG_VM) !== 0;
  }

  /** Long mode is active (64-bit or compatibility). */
  get isLong(): boolean {
    return (this.words[EFER] & EFER_LMA) !== 0;
  }

  get is64(): boolean {
    return (this.words[MODE] & MODE_SIZE_MASK) === MODE_64;
  }

  /** Sets the privilege; `modeChanged` must follow. */
  setCpl(cpl: number): void {
    this.words[CPL] = cpl;
  }

  /** Recomputes what depends on segments, privilege and control registers. */
  modeChanged(): void {
    const { words, record } = this;
    const long64 = this.isLong && (record.halves[CS_ATTRIBUTES] & ATTR_L) !== 0;
    const mode = long64 ? MODE_64 : modeKey(record.view);
    const base = long64 ? 0 : words[CS_BASE];
    const user = words[CPL] === 3 ? 1 : 0;
    if (user === 1 && this.onUserMode !== null) {
      this.onUserMode();
      this.onUserMode = null;
    }
    words[MODE] = mode;
    this.selectTlb();
    this.mmu.tlb.selectCode(user);
    const limit = long64 ? 0 : words[CS_LIMIT];
    if (!this.codeModes.hold(user, mode, base, limit)) this.mmu.tlb.nextGeneration(user);
  }

  /** After a change of CR0, CR4 or the x87 status word. */
  fpuStateChanged(): void {
    const { record } = this;
    const traps = fpuTraps(record.i32(L.CR0), record.i32(L.CR4), record.u16(L.FSW));
    record.setI32(L.FPU_TRAPS, traps);
  }

  /** Sets RFLAGS. With SMAP, and with CR0.AM, EFLAGS.AC chooses among the TLBs. */
  setEflags(image: number, mask: number): void {
    const before = this.words[EFLAGS];
    this.record.setEflags(image, mask);
    if (((before ^ this.words[EFLAGS]) & FLAG_AC) !== 0) this.selectTlb();
  }

  /** Points emitted code to the TLB of its privilege; it looks when it is next dispatched. */
  private selectTlb(): void {
    const { words, mmu } = this;
    const supervisor = mmu.overrides ? L.TLB_OVERRIDE : L.TLB_SUPERVISOR;
    const user = mmu.aligned ? L.TLB_EMPTY : L.TLB_USER;
    words[L.TLB >> 2] = words[CPL] === 3 ? user : supervisor;
  }

  /** Sets PKRU; translations made under another value are dropped where keys are on. */
  setPkru(value: number): void {
    const { words } = this;
    if (words[L.PKRU >> 2] === value) return;
    words[L.PKRU >> 2] = value;
    if ((words[L.CR4 >> 2] & CR4_PKE) !== 0) this.mmu.tlb.forgetRights();
  }

  // --- System functions -----------------------------------------------------------------------

  /** Runs a system function; a guest fault in it becomes the outcome FAULT. */
  callSystem(fn: SystemFunction): Outcome {
    this.ext = 0;
    this.mmu.canonicalVector = VECTOR_GP;
    try {
      return fn(this);
    } catch (error) {
      if (error !== GUEST_FAULT) throw error;
      return FAULT;
    }
  }

  /** Raises an exception: never returns. */
  raise(vector: number, errorCode = -1): never {
    this.words[L.FAULT_VECTOR >> 2] = vector;
    this.words[L.FAULT_ERROR >> 2] = errorCode;
    throw GUEST_FAULT;
  }

  /** #GP with an error code. */
  gp(errorCode = 0): never {
    return this.raise(VECTOR_GP, errorCode);
  }

  /** #GP(0) unless at CPL 0. */
  requireCpl0(): void {
    if (this.words[CPL] !== 0) this.gp();
  }

  /** RIP becomes what follows the instruction. */
  completed(): void {
    this.record.copyPair(L.RIP, L.NEXT_RIP);
  }

  /** REDISPATCH; LEAVE if an interrupt or trap may be taken now. RIP has been set. */
  resume(): Outcome {
    if ((this.words[EFLAGS] & FLAG_TF) !== 0 || this.debug.pending !== 0) return LEAVE;
    if (this.words[L.INTERRUPT_PENDING >> 2] === 0) return REDISPATCH;
    return (this.words[EFLAGS] & FLAG_IF) !== 0 || this.nmiPending ? LEAVE : REDISPATCH;
  }

  // --- Debugging ------------------------------------------------------------------------------

  /** Takes over DR0 to DR3, DR7 and CR4.DE. True if the run must look for breakpoints anew. */
  breakpointsChanged(): boolean {
    const changed = this.mmu.breakpointsChanged();
    if (changed) this.mmu.tlb.flushAll();
    return changed;
  }

  /** Linear address of RIP. */
  get linearRipLo(): number {
    const lo = this.words[L.RIP >> 2];
    return this.is64 ? lo : (lo + this.words[CS_BASE]) | 0;
  }

  get linearRipHi(): number {
    return this.is64 ? this.words[(L.RIP >> 2) + 1] : 0;
  }

  // --- Interrupts -----------------------------------------------------------------------------

  /** Takes note of what waits; whether an event could be taken but for IF and shadows. */
  updatePending(): boolean {
    const nmi = this.nmiPending && this.words[L.NMI_BLOCKED >> 2] === 0;
    const pending = nmi || this.services.apic.hasInterrupt();
    this.words[L.INTERRUPT_PENDING >> 2] = pending ? 1 : 0;
    return pending;
  }

  /** Whether an event waits that could end HLT now. */
  get wakes(): boolean {
    if (this.words[L.ACTIVITY >> 2] === L.ACTIVITY_HALTED && this.extension.events.active) {
      return this.extension.events.wakes;
    }
    if (this.nmiPending && this.words[L.NMI_BLOCKED >> 2] === 0) return true;
    return (this.words[EFLAGS] & FLAG_IF) !== 0 && this.services.apic.hasInterrupt();
  }

  /** Asks the run to stop after the current instruction. */
  requestStop(): void {
    this.stopRequested = true;
    this.onStopRequest();
  }

  // --- ApicCpu --------------------------------------------------------------------------------

  wake(): void {
    this.words[L.INTERRUPT_PENDING >> 2] = 1;
    this.extension.events.noteArrival();
    if ((this.words[EFLAGS] & FLAG_IF) !== 0) this.requestStop();
  }

  nmi(): void {
    this.nmiPending = true;
    this.extension.events.noteArrival();
    this.words[L.INTERRUPT_PENDING >> 2] = 1;
    this.requestStop();
  }

  /** Takes effect between two instructions, since it may come of the one in execution. */
  init(): void {
    this.initPending = true;
    this.words[L.ACTIVITY >> 2] = L.ACTIVITY_RUNNING;
    this.requestStop();
  }

  /** Carries out an INIT that arrived. */
  applyInit(): void {
    if (!this.initPending) return;
    this.toReset(initRecord);
    this.services.apic.init();
  }

  startup(vector: number): void {
    if (this.extension.events.active) {
      this.extension.events.noteStartup(vector);
      return;
    }
    this.applyInit();
    if (this.record.i32(L.ACTIVITY) === L.ACTIVITY_WAIT_SIPI) this.startAt(vector);
  }

  /** Starts an AP that waits. */
  startAt(vector: number): void {
    const { record } = this;
    const cs = L.segmentOffset(L.SEG.cs);
    record.setU16(cs + L.SEG_SELECTOR, vector << 8);
    record.setPair(cs + L.SEG_BASE, vector << 12, 0);
    record.setPair(L.RIP, 0, 0);
    record.setI32(L.ACTIVITY, L.ACTIVITY_RUNNING);
    this.modeChanged();
    this.requestStop();
  }

  taskPriority(cr8: number): void {
    this.record.setPair(L.CR8, cr8, 0);
  }

  baseChanged(): void {
    const base = this.services?.apic.mmioBase ?? -1;
    this.mmio.apicBase = base;
    this.mmu.apicPage = base < 0 ? -1 : Math.floor(base / 4096);
    this.mmu.tlb.flushAll();
  }

  // --- MsrCpu ---------------------------------------------------------------------------------

  eferChanged(_changed: number): void {
    this.mmu.reconfigure();
    this.modeChanged();
  }

  segmentBaseChanged(): void {
    if (!this.is64) this.modeChanged();
  }

  branchStep(on: boolean): void {
    this.branchSteps = on;
  }

  unknownMsr(direction: 'read' | 'write', index: number, value: MsrValue): boolean {
    if (!this.exits.deliverMsr(direction, index, value.lo, value.hi)) return false;
    value.lo = this.exits.msr.lo;
    value.hi = this.exits.msr.hi;
    return true;
  }
}
