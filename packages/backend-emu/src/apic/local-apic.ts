/**
 * A local APIC: what waits, what is in service, what may be delivered now; and its registers as an
 * xAPIC page and as x2APIC MSRs.
 *
 * Source: AMD APM vol. 2, chapter 16; Intel SDM vol. 3, chapter 11.
 * Known inaccuracies: SMI is dropped (there is no SMM); remote read does not answer; messages are
 * delivered at once, so ICR's delivery status is always idle; the arbitration priority reads as the
 * processor priority; AMD's extended registers are absent.
 */
import {
  type Clock,
  type ExternalInterruptSource,
  type Snapshot,
  type Snapshotable,
  VmmError,
} from '@cloister/core';
import type { TimeStamp } from '../timing/time-stamp.js';
import { baseMode, isBase, mayEnter } from './apic-base.js';
import {
  clearState,
  LVT_COUNT,
  LVT_INDEX,
  loadState,
  powerOnState,
  saveState,
} from './apic-state.js';
import { matchesX, matchesX2 } from './destination.js';
import type { ApicMessage } from './message.js';
import type { ApicCpu, ApicSender, EoiShortcut } from './ports.js';
import * as access from './register-access.js';
import * as R from './registers.js';
import { ApicTimer } from './timer.js';
import { readX2apic, writeX2apic } from './x2apic.js';

export interface LocalApicOptions {
  /** The initial APIC ID, which is the vCPU's index. */
  readonly id: number;
  /** The boot CPU has BSC set in APIC_BASE. */
  readonly boot: boolean;
  readonly x2apic: boolean;
  readonly tscDeadline: boolean;
  /** Bits of a guest-physical address. */
  readonly physicalBits: number;
}

const { lint0: LINT0, lint1: LINT1, error: ERROR } = LVT_INDEX;

export class LocalApic implements Snapshotable, access.RegisterEffects {
  readonly id: number;
  readonly state: access.RegisterEffects['state'];
  readonly timer: ApicTimer;
  readonly lvtWritable = Uint32Array.from(R.LVT_WRITABLE);
  /** Result of the last `readMsr` or `readBase`. */
  lo = 0;
  hi = 0;
  private external: ExternalInterruptSource | null = null;
  private shortcut: EoiShortcut | null = null;
  /** Cached: vector that may be delivered now, or -1; and whether the i8259 asks through us. */
  private deliverable = -1;
  private externalReady = false;

  constructor(
    private readonly options: LocalApicOptions,
    private readonly cpu: ApicCpu,
    private readonly sender: ApicSender,
    clock: Clock,
    tsc: TimeStamp,
  ) {
    this.id = options.id;
    this.state = powerOnState(options.id, options.boot);
    if (options.tscDeadline) this.lvtWritable[LVT_INDEX.timer]! |= R.TIMER_DEADLINE;
    const entry = () => this.state.lvt[LVT_INDEX.timer]!;
    this.timer = new ApicTimer(clock, tsc, entry, () => this.acceptLocal(LVT_INDEX.timer));
  }

  /** Connects the i8259 pair: who answers acknowledge cycles of ExtINT. */
  connectExternal(source: ExternalInterruptSource): void {
    this.external = source;
  }

  /** Connects the paravirtual end of interrupt. */
  connectShortcut(shortcut: EoiShortcut): void {
    this.shortcut = shortcut;
  }

  // --- The processor's side -------------------------------------------------------------------

  /** Whether an interrupt waits whose priority allows it; RFLAGS.IF is the caller's business. */
  hasInterrupt(): boolean {
    return this.externalReady || this.deliverable >= 0;
  }

  /** Takes the interrupt to deliver: its vector. Spurious when there is none any more. */
  acknowledge(): number {
    const { state } = this;
    if (this.externalReady && this.external !== null) {
      state.externalMessage = false;
      const vector = this.external.acknowledge() & 0xff;
      this.update();
      return vector;
    }
    const vector = this.deliverable;
    if (vector < 0) return state.svr & 0xff;
    state.irr.delete(vector);
    state.isr.add(vector);
    this.update();
    this.offerShortcut(vector);
    return vector;
  }

  /** CR8. */
  get taskPriority(): number {
    return this.state.tpr >>> 4;
  }

  set taskPriority(cr8: number) {
    this.settle();
    this.state.tpr = (cr8 & 15) << 4;
    this.update();
  }

  /** Guest-physical address of the register page; -1 when no page answers. */
  get mmioBase(): number {
    if (!this.enabled || this.isX2apic) return -1;
    return this.state.baseHi * 2 ** 32 + ((this.state.baseLo & 0xfffff000) >>> 0);
  }

  /** Not switched off in APIC_BASE; CPUID's APIC bit shows it. */
  get enabled(): boolean {
    return (this.state.baseLo & R.BASE_ENABLE) !== 0;
  }

  /** Not switched off in SVR either. */
  get softwareEnabled(): boolean {
    return this.enabled && (this.state.svr & R.SVR_ENABLE) !== 0;
  }

  get isX2apic(): boolean {
    return (this.state.baseLo & R.BASE_X2APIC) !== 0;
  }

  /** RESET. */
  reset(): void {
    const { lint0, lint1 } = this.state;
    this.init();
    const { baseLo, baseHi, xapicId } = powerOnState(this.id, this.options.boot);
    Object.assign(this.state, { baseLo, baseHi, xapicId, lint0, lint1 });
    this.update();
    this.cpu.baseChanged();
  }

  /** INIT. */
  init(): void {
    this.withdrawShortcut();
    clearState(this.state);
    this.timer.reset();
    this.setTaskPriority(0);
  }

  /**
   * The state in which firmware leaves the boot CPU: software-enabled, LINT0 passing the i8259's
   * interrupts through (virtual wire), LINT1 NMI. For kernels entered without firmware.
   */
  enterVirtualWire(): void {
    const { state } = this;
    state.svr = 0xff | R.SVR_ENABLE;
    state.lvt[LINT0] = R.MODE_EXTINT << 8;
    state.lvt[LINT1] = R.MODE_NMI << 8;
    this.update();
  }

  // --- Interrupt sources ----------------------------------------------------------------------

  /** An interrupt message that this APIC is a destination of. */
  accept(message: ApicMessage): void {
    if (!this.enabled) return;
    switch (message.mode) {
      case R.MODE_FIXED:
      case R.MODE_LOWEST:
        this.request(message.vector, message.level);
        return;
      case R.MODE_NMI:
        this.cpu.nmi();
        return;
      case R.MODE_INIT:
        this.cpu.init();
        return;
      case R.MODE_STARTUP:
        this.cpu.startup(message.vector);
        return;
      case R.MODE_EXTINT:
        this.state.externalMessage = true;
        this.update();
        return;
      default:
    }
  }

  /** Drives LINT0 (the i8259's INTR) or LINT1. */
  setLint(pin: 0 | 1, level: boolean): void {
    const name = pin === 0 ? 'lint0' : 'lint1';
    if (this.state[name] === level) return;
    this.state[name] = level;
    if (level) this.raiseLint(pin);
    this.update();
  }

  /** Whether `destination` of a message names this APIC. */
  matches(destination: number, logical: boolean): boolean {
    if (!this.enabled) return false;
    if (this.isX2apic) return matchesX2(this.id, destination, logical);
    return matchesX(this.state, destination, logical);
  }

  /** What lowest-priority arbitration compares. */
  arbitrationPriority(): number {
    this.settle();
    return this.processorPriority();
  }

  // --- Registers ------------------------------------------------------------------------------

  /** A read of `size` bytes at `offset` (0 to 4095) of the register page. */
  mmioRead(offset: number, size: number): number {
    const within = offset & 15;
    if (within + size > 4) return 0;
    this.settle();
    const shifted = access.readRegister(this, offset & 0xff0) >>> (within * 8);
    return size === 4 ? shifted : shifted & ((1 << (size * 8)) - 1);
  }

  /** Only aligned 32-bit writes have an effect; a wider one writes its low word. */
  mmioWrite(offset: number, size: number, value: number): void {
    if ((offset & 15) !== 0 || size < 4) return;
    this.settle();
    access.writeRegister(this, offset & 0xff0, value >>> 0);
  }

  /** RDMSR of 0x800 to 0x8ff; false means #GP. The value is in `lo` and `hi`. */
  readMsr(index: number): boolean {
    return this.isX2apic && readX2apic(this, index);
  }

  /** WRMSR of 0x800 to 0x8ff; false means #GP. */
  writeMsr(index: number, lo: number, hi: number): boolean {
    return this.isX2apic && writeX2apic(this, index, lo, hi);
  }

  /** Puts APIC_BASE into `lo` and `hi`. */
  readBase(): void {
    this.lo = this.state.baseLo;
    this.hi = this.state.baseHi;
  }

  /** WRMSR of APIC_BASE; false means #GP. */
  writeBase(lo: number, hi: number): boolean {
    const { state } = this;
    const mode = baseMode(lo);
    const before = baseMode(state.baseLo);
    if (!isBase(this.options, lo, hi) || !mayEnter(mode, before)) return false;
    state.baseLo = ((lo & ~R.BASE_BSC) | (this.options.boot ? R.BASE_BSC : 0)) >>> 0;
    state.baseHi = hi >>> 0;
    if (mode !== before) this.enterMode(mode);
    this.cpu.baseChanged();
    return true;
  }

  // --- Snapshot -------------------------------------------------------------------------------

  snapshot(): Snapshot {
    const state = saveState(this.state, this.timer.snapshot());
    return { type: 'local-apic', version: 1, state };
  }

  restore(snapshot: Snapshot): void {
    if (snapshot.type !== 'local-apic' || snapshot.version !== 1) {
      throw new VmmError('snapshot-mismatch', 'not the state of a local APIC of version 1');
    }
    this.timer.restore(loadState(this.state, snapshot.state));
    this.cpu.baseChanged();
    this.update();
  }

  // --- What registers do ----------------------------------------------------------------------

  processorPriority(): number {
    const { tpr, isr } = this.state;
    const serving = isr.highest();
    const inService = serving < 0 ? 0 : serving & 0xf0;
    return tpr >>> 4 >= inService >>> 4 ? tpr : inService;
  }

  setTaskPriority(value: number): void {
    this.state.tpr = value & 0xff;
    this.cpu.taskPriority(this.state.tpr >>> 4);
    this.update();
  }

  endInterrupt(): void {
    const { isr, tmr, lvt } = this.state;
    const vector = isr.highest();
    if (vector < 0) return;
    isr.delete(vector);
    const entry = lvt[LINT0]!;
    const local = (entry & R.LVT_REMOTE_IRR) !== 0 && (entry & 0xff) === vector;
    if (local) lvt[LINT0] = entry & ~R.LVT_REMOTE_IRR;
    this.update();
    if (tmr.has(vector) && !local) this.sender.endOfInterrupt(vector);
    else if (local && this.state.lint0) this.acceptLocal(LINT0);
  }

  writeSpurious(value: number): void {
    const { state } = this;
    state.svr = value & R.SVR_MASK;
    if ((state.svr & R.SVR_ENABLE) === 0) {
      // Software-disabled: every local entry is masked, and requests already held stay.
      const before = state.lvt[LVT_INDEX.timer]!;
      for (let index = 0; index < LVT_COUNT; index++) state.lvt[index]! |= R.LVT_MASKED;
      this.timer.lvtWritten(before);
    }
    this.update();
  }

  writeLocal(index: number, value: number): void {
    const { state } = this;
    const before = state.lvt[index]!;
    let entry = value & this.lvtWritable[index]!;
    if ((state.svr & R.SVR_ENABLE) === 0) entry |= R.LVT_MASKED;
    const level = (entry & R.LVT_LEVEL) !== 0;
    state.lvt[index] = entry | (level ? before & R.LVT_REMOTE_IRR : 0);
    if (index === LVT_INDEX.timer) this.timer.lvtWritten(before);
    if (index === LINT0 && level && state.lint0) this.acceptLocal(LINT0);
    this.update();
  }

  writeCommand(value: number, destination: number): void {
    const { state } = this;
    state.icrLo = (value & R.ICR_MASK) >>> 0;
    const mode = (state.icrLo >>> 8) & 7;
    const vectored = mode === R.MODE_FIXED || mode === R.MODE_LOWEST;
    if (vectored && (state.icrLo & 0xff) < 16) this.reportError(R.ESR_SEND_ILLEGAL);
    this.sender.command(this, state.icrLo, destination);
  }

  /** Notes an error; the error interrupt comes once per newly set bit. */
  reportError(bit: number): void {
    const { state } = this;
    if ((state.esrPending & bit) !== 0) return;
    state.esrPending |= bit;
    this.acceptLocal(ERROR);
  }

  /** Before anything that depends on the ISR: has the guest ended its interrupt in memory? */
  settle(): void {
    if (this.state.offered && this.withdrawShortcut()) this.endInterrupt();
  }

  // --- Inside ---------------------------------------------------------------------------------

  /** APIC_BASE switched the APIC off (0), or to xAPIC (2) or x2APIC mode (3). */
  private enterMode(mode: number): void {
    const { state } = this;
    if (mode === 0) {
      state.xapicId = this.id & 0xff;
      this.init();
    } else if (mode === 3) {
      state.xapicId = this.id & 0xff;
      state.dfr = 0xffffffff;
      state.icrHi = 0;
    }
    this.update();
  }

  /** Recomputes what is deliverable and wakes the processor when something newly is. */
  private update(): void {
    const had = this.externalReady || this.deliverable >= 0;
    const vector = this.state.irr.highest();
    this.deliverable = vector >= 0 && vector >>> 4 > this.processorPriority() >>> 4 ? vector : -1;
    this.externalReady = this.external !== null && this.externalAsks();
    if (!had && (this.externalReady || this.deliverable >= 0)) this.cpu.wake();
  }

  /** Whether the i8259's request reaches the core: straight when the APIC is switched off. */
  private externalAsks(): boolean {
    const { state } = this;
    if (state.externalMessage) return true;
    if (!state.lint0) return false;
    if (!this.enabled) return true;
    const entry = state.lvt[LINT0]!;
    return (entry & R.LVT_MASKED) === 0 && ((entry >>> 8) & 7) === R.MODE_EXTINT;
  }

  private request(vector: number, level: boolean): void {
    const { state } = this;
    if (vector < 16) {
      this.reportError(R.ESR_RECEIVE_ILLEGAL);
      return;
    }
    if ((state.svr & R.SVR_ENABLE) === 0) return;
    this.settle();
    state.tmr.put(vector, level);
    state.irr.add(vector);
    this.update();
  }

  /** An interrupt of the local vector table: timer, thermal, counters, LINT0, LINT1, error. */
  private acceptLocal(index: number): void {
    const { lvt } = this.state;
    const entry = lvt[index]!;
    if ((entry & R.LVT_MASKED) !== 0) return;
    const vectored = index === LVT_INDEX.timer || index === ERROR;
    const mode = vectored ? R.MODE_FIXED : (entry >>> 8) & 7;
    const level = index === LINT0 && (entry & R.LVT_LEVEL) !== 0 && mode === R.MODE_FIXED;
    if (level && (entry & R.LVT_REMOTE_IRR) !== 0) return;
    if (level) lvt[index] = entry | R.LVT_REMOTE_IRR;
    if (mode === R.MODE_FIXED) this.request(entry & 0xff, level);
    else if (mode === R.MODE_NMI) this.cpu.nmi();
    else if (mode === R.MODE_INIT) this.cpu.init();
  }

  private raiseLint(pin: 0 | 1): void {
    if (this.enabled) this.acceptLocal(pin === 0 ? LINT0 : LINT1);
    else if (pin === 1) this.cpu.nmi();
  }

  // The shortcut stands only while nothing else waits: whatever arrives withdraws it first, so that
  // a bit cleared in memory can never leave a lower interrupt blocked.

  private offerShortcut(vector: number): void {
    const { tmr, irr } = this.state;
    if (this.shortcut === null || tmr.has(vector) || irr.highest() >= 0) return;
    this.state.offered = this.shortcut.offer();
  }

  private withdrawShortcut(): boolean {
    if (!this.state.offered) return false;
    this.state.offered = false;
    return this.shortcut?.withdraw() ?? false;
  }
}
