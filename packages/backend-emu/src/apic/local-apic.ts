/**
 * A local APIC: priorities, the local vector table, and its registers as an xAPIC page and as
 * x2APIC MSRs.
 *
 * Source: AMD APM vol. 2, chapter 16; Intel SDM vol. 3, chapter 11.
 * Known inaccuracies: SMI is dropped (there is no SMM); remote read does not answer; messages are
 * delivered at once, so ICR's delivery status is always idle; AMD's extended registers are absent.
 */
import type { Clock, ExternalInterruptSource, Snapshot, Snapshotable } from '@cloister/core';
import { VmmError } from '@cloister/core';
import type { TimeStamp } from '../timing/time-stamp.js';
import type { ApicMessage } from './message.js';
import type { ApicCpu } from './ports.js';
import * as R from './registers.js';
import { ApicTimer, isTimerState } from './timer.js';
import { VectorSet } from './vector-set.js';

/** What an APIC sends to the others. */
export interface ApicSender {
  /** Carries out an interrupt command; `destination` is 8 bits wide in xAPIC mode, else 32. */
  command(from: LocalApic, icr: number, destination: number): void;
  /** A level-triggered vector was ended. */
  endOfInterrupt(vector: number): void;
}

/** A guest that may end edge-triggered interrupts by clearing a bit in memory (`paravirt/`). */
export interface EoiShortcut {
  /** Offers the shortcut for the interrupt just acknowledged; false when it cannot. */
  offer(): boolean;
  /** Takes a standing offer back; true when the guest had taken it, i.e. has sent an EOI. */
  withdraw(): boolean;
}

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

const LVT_COUNT = R.LVT_WRITABLE.length;
const LINT0 = 3;
const LINT1 = 4;
const ERROR = 5;

export class LocalApic implements Snapshotable {
  readonly id: number;
  readonly timer: ApicTimer;
  /** Result of the last `readMsr`. */
  lo = 0;
  hi = 0;
  private readonly isr = new VectorSet();
  private readonly irr = new VectorSet();
  private readonly tmr = new VectorSet();
  private readonly lvt = new Uint32Array(LVT_COUNT);
  private readonly lvtWritable = Uint32Array.from(R.LVT_WRITABLE);
  private readonly lint = [false, false];
  private baseHigh = 0;
  private baseLow = R.BASE_DEFAULT | R.BASE_ENABLE;
  private xapicId = 0;
  private tpr = 0;
  private ldr = 0;
  private dfr = 0xffffffff;
  private svr = 0xff;
  private esr = 0;
  private esrPending = 0;
  private icrLow = 0;
  private icrHigh = 0;
  /** An ExtINT message (of an IOAPIC) waits to be acknowledged. */
  private externalMessage = false;
  private external: ExternalInterruptSource | null = null;
  private shortcut: EoiShortcut | null = null;
  private offered = false;
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
    if (options.tscDeadline) this.lvtWritable[0]! |= R.TIMER_DEADLINE;
    this.timer = new ApicTimer(
      clock,
      tsc,
      () => this.lvt[0]!,
      () => this.acceptLocal(0),
    );
    // The state after reset, without telling a processor that is not complete yet.
    this.lvt.fill(R.LVT_MASKED);
    this.xapicId = this.id & 0xff;
    if (options.boot) this.baseLow |= R.BASE_BSC;
    this.baseLow >>>= 0;
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
    if (this.externalReady && this.external !== null) {
      this.externalMessage = false;
      const vector = this.external.acknowledge() & 0xff;
      this.update();
      return vector;
    }
    const vector = this.deliverable;
    if (vector < 0) return this.svr & 0xff;
    this.irr.delete(vector);
    this.isr.add(vector);
    this.update();
    this.offerShortcut(vector);
    return vector;
  }

  /** CR8. */
  get taskPriority(): number {
    return this.tpr >>> 4;
  }

  set taskPriority(cr8: number) {
    this.settle();
    this.tpr = (cr8 & 15) << 4;
    this.update();
  }

  /** Guest-physical address of the register page; -1 when no page answers. */
  get mmioBase(): number {
    if (!this.enabled || this.isX2apic) return -1;
    return this.baseHigh * 2 ** 32 + ((this.baseLow & 0xfffff000) >>> 0);
  }

  /** Not switched off in APIC_BASE; CPUID's APIC bit shows it. */
  get enabled(): boolean {
    return (this.baseLow & R.BASE_ENABLE) !== 0;
  }

  get isX2apic(): boolean {
    return (this.baseLow & R.BASE_X2APIC) !== 0;
  }

  /** RESET. */
  reset(): void {
    const { boot } = this.options;
    this.baseHigh = 0;
    this.baseLow = (R.BASE_DEFAULT | R.BASE_ENABLE | (boot ? R.BASE_BSC : 0)) >>> 0;
    this.clearRegisters();
    this.cpu.baseChanged();
  }

  /** INIT: everything but APIC_BASE and the ID in use. */
  init(): void {
    const { xapicId } = this;
    this.clearRegisters();
    this.xapicId = xapicId;
  }

  /**
   * The state in which firmware leaves the boot CPU: software-enabled, LINT0 passing the i8259's
   * interrupts through (virtual wire), LINT1 NMI. For kernels entered without firmware.
   */
  enterVirtualWire(): void {
    this.svr = 0xff | R.SVR_ENABLE;
    this.lvt[LINT0] = R.MODE_EXTINT << 8;
    this.lvt[LINT1] = R.MODE_NMI << 8;
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
        this.externalMessage = true;
        this.update();
        return;
      default:
    }
  }

  /** Drives LINT0 (the i8259's INTR) or LINT1. */
  setLint(pin: 0 | 1, level: boolean): void {
    if (this.lint[pin] === level) return;
    this.lint[pin] = level;
    if (level) this.raiseLint(pin);
    this.update();
  }

  /** What lowest-priority arbitration compares. */
  arbitrationPriority(): number {
    this.settle();
    return this.processorPriority();
  }

  /** Whether lowest-priority messages may come here. */
  get softwareEnabled(): boolean {
    return this.enabled && (this.svr & R.SVR_ENABLE) !== 0;
  }

  /** Whether `destination` of a message names this APIC. */
  matches(destination: number, logical: boolean): boolean {
    if (!this.enabled) return false;
    if (this.isX2apic) {
      if (destination === 0xffffffff) return true;
      if (!logical) return destination === this.id;
      const ldr = this.logicalX2();
      return destination >>> 16 === ldr >>> 16 && (destination & ldr & 0xffff) !== 0;
    }
    if (destination === 0xff || destination === 0xffffffff) return true;
    if (!logical) return destination === this.xapicId;
    const own = this.ldr >>> 24;
    if (this.dfr >>> 28 === 15) return (destination & own & 0xff) !== 0;
    return (destination & 0xf0) === (own & 0xf0) && (destination & own & 0x0f) !== 0;
  }

  // --- Registers ------------------------------------------------------------------------------

  /** An access to the register page: `size` bytes at `offset` (0 to 4095), as a number. */
  mmioRead(offset: number, size: number): number {
    const within = offset & 15;
    if (within + size > 4) return 0;
    const value = this.readRegister(offset & 0xff0, false);
    const shifted = value >>> (within * 8);
    return size === 4 ? shifted : shifted & ((1 << (size * 8)) - 1);
  }

  /** Only aligned 32-bit writes have an effect; a wider one writes its low word. */
  mmioWrite(offset: number, size: number, value: number): void {
    if ((offset & 15) !== 0 || size < 4) return;
    this.writeRegister(offset & 0xff0, value >>> 0);
  }

  /** RDMSR of 0x800 to 0x8ff; false means #GP. The value is in `lo` and `hi`. */
  readMsr(index: number): boolean {
    if (!this.isX2apic) return false;
    const offset = (index & 0xff) << 4;
    this.lo = 0;
    this.hi = 0;
    if (offset === R.ICR_LOW) {
      this.lo = this.icrLow;
      this.hi = this.icrHigh;
      return true;
    }
    if (!isX2Readable(offset)) return false;
    this.lo = this.readRegister(offset, true) >>> 0;
    return true;
  }

  /** WRMSR of 0x800 to 0x8ff; false means #GP. */
  writeMsr(index: number, lo: number, hi: number): boolean {
    if (!this.isX2apic) return false;
    const offset = (index & 0xff) << 4;
    if (offset === R.ICR_LOW) {
      if ((lo & R.ICR_X2_RESERVED) !== 0) return false;
      this.icrHigh = hi >>> 0;
      this.writeCommand(lo, hi >>> 0);
      return true;
    }
    if (hi !== 0 || !this.isX2Writable(offset, lo)) return false;
    if (offset === R.SELF_IPI) this.writeCommand((R.SHORTHAND_SELF << 18) | lo, 0);
    else this.writeRegister(offset, lo >>> 0);
    return true;
  }

  /** Puts APIC_BASE into `lo` and `hi`. */
  readBase(): void {
    this.lo = this.baseLow;
    this.hi = this.baseHigh;
  }

  /** WRMSR of APIC_BASE; false means #GP. */
  writeBase(lo: number, hi: number): boolean {
    const reserved = 0x2ff | (this.options.x2apic ? 0 : R.BASE_X2APIC);
    if ((lo & reserved) !== 0) return false;
    if (hi >= 2 ** (this.options.physicalBits - 32)) return false;
    const mode = (lo >>> 10) & 3;
    const before = (this.baseLow >>> 10) & 3;
    // Bits 11:10: 0 off, 2 xAPIC, 3 x2APIC. 1 is invalid, 3 is left only to 0, entered only from 2.
    if (mode === 1 || (before === 3 && mode === 2) || (before === 0 && mode === 3)) return false;
    this.baseLow = ((lo & ~R.BASE_BSC) | (this.options.boot ? R.BASE_BSC : 0)) >>> 0;
    this.baseHigh = hi >>> 0;
    if (mode !== before) this.changeMode(mode);
    this.cpu.baseChanged();
    return true;
  }

  // --- Snapshot -------------------------------------------------------------------------------

  snapshot(): Snapshot {
    return {
      type: 'local-apic',
      version: 1,
      state: {
        base: [this.baseLow, this.baseHigh],
        isr: Array.from(this.isr.words),
        irr: Array.from(this.irr.words),
        tmr: Array.from(this.tmr.words),
        lvt: Array.from(this.lvt),
        lint: [...this.lint],
        registers: [
          this.xapicId,
          this.tpr,
          this.ldr,
          this.dfr,
          this.svr,
          this.esr,
          this.esrPending,
          this.icrLow,
          this.icrHigh,
        ], // prettier-ignore
        externalMessage: this.externalMessage,
        offered: this.offered,
        timer: this.timer.snapshot(),
      },
    };
  }

  restore(snapshot: Snapshot): void {
    const state = apicState(snapshot);
    [this.baseLow, this.baseHigh] = state.base as [number, number];
    this.isr.words.set(state.isr);
    this.irr.words.set(state.irr);
    this.tmr.words.set(state.tmr);
    this.lvt.set(state.lvt);
    this.lint.splice(0, 2, ...state.lint);
    [
      this.xapicId,
      this.tpr,
      this.ldr,
      this.dfr,
      this.svr,
      this.esr,
      this.esrPending,
      this.icrLow,
      this.icrHigh,
    ] = state.registers as [number, number, number, number, number, number, number, number, number]; // prettier-ignore
    this.externalMessage = state.externalMessage;
    this.offered = state.offered;
    this.timer.restore(state.timer);
    this.cpu.baseChanged();
    this.update();
  }

  // --- Inside ---------------------------------------------------------------------------------

  private clearRegisters(): void {
    this.withdrawShortcut();
    this.isr.clear();
    this.irr.clear();
    this.tmr.clear();
    this.lvt.fill(R.LVT_MASKED);
    this.xapicId = this.id & 0xff;
    this.ldr = 0;
    this.dfr = 0xffffffff;
    this.svr = 0xff;
    this.esr = 0;
    this.esrPending = 0;
    this.icrLow = 0;
    this.icrHigh = 0;
    this.externalMessage = false;
    this.timer.reset();
    this.setTaskPriority(0);
  }

  private changeMode(mode: number): void {
    if (mode === 0) {
      this.clearRegisters();
      return;
    }
    if (mode === 3) {
      this.xapicId = this.id & 0xff;
      this.dfr = 0xffffffff;
      this.icrHigh = 0;
    }
    this.update();
  }

  private logicalX2(): number {
    return (((this.id >>> 4) << 16) | (1 << (this.id & 15))) >>> 0;
  }

  private processorPriority(): number {
    const serving = this.isr.highest();
    const inService = serving < 0 ? 0 : serving & 0xf0;
    return this.tpr >>> 4 >= inService >>> 4 ? this.tpr : inService;
  }

  /** Recomputes what is deliverable and wakes the processor when something newly is. */
  private update(): void {
    const had = this.externalReady || this.deliverable >= 0;
    const vector = this.irr.highest();
    this.deliverable = vector >>> 4 > this.processorPriority() >>> 4 && vector >= 0 ? vector : -1;
    this.externalReady = this.external !== null && this.externalAsks();
    if (!had && (this.externalReady || this.deliverable >= 0)) this.cpu.wake();
  }

  /** Whether the i8259's request reaches the core: straight when the APIC is switched off. */
  private externalAsks(): boolean {
    if (this.externalMessage) return true;
    if (!this.lint[0]) return false;
    if (!this.enabled) return true;
    const entry = this.lvt[LINT0]!;
    return (entry & R.LVT_MASKED) === 0 && ((entry >>> 8) & 7) === R.MODE_EXTINT;
  }

  private request(vector: number, level: boolean): void {
    if (vector < 16) {
      this.reportError(R.ESR_RECEIVE_ILLEGAL);
      return;
    }
    if ((this.svr & R.SVR_ENABLE) === 0) return;
    this.settle();
    this.tmr.put(vector, level);
    this.irr.add(vector);
    this.update();
  }

  /** An interrupt of the local vector table: timer, thermal, counters, LINT0, LINT1, error. */
  private acceptLocal(index: number): void {
    const entry = this.lvt[index]!;
    if ((entry & R.LVT_MASKED) !== 0) return;
    const mode = index === 0 || index === ERROR ? R.MODE_FIXED : (entry >>> 8) & 7;
    const level = index === LINT0 && (entry & R.LVT_LEVEL) !== 0 && mode === R.MODE_FIXED;
    if (level && (entry & R.LVT_REMOTE_IRR) !== 0) return;
    if (level) this.lvt[index] = (entry | R.LVT_REMOTE_IRR) >>> 0;
    const vector = entry & 0xff;
    if (mode === R.MODE_FIXED) this.request(vector, level);
    else if (mode === R.MODE_NMI) this.cpu.nmi();
    else if (mode === R.MODE_INIT) this.cpu.init();
  }

  private raiseLint(pin: 0 | 1): void {
    if (!this.enabled) {
      if (pin === 1) this.cpu.nmi();
      return;
    }
    this.acceptLocal(pin === 0 ? LINT0 : LINT1);
  }

  private endInterrupt(): void {
    const vector = this.isr.highest();
    if (vector < 0) return;
    this.isr.delete(vector);
    const level = this.tmr.has(vector);
    const entry = this.lvt[LINT0]!;
    const local = (entry & R.LVT_REMOTE_IRR) !== 0 && (entry & 0xff) === vector;
    if (local) this.lvt[LINT0] = entry & ~R.LVT_REMOTE_IRR;
    this.update();
    if (level && !local) this.sender.endOfInterrupt(vector);
    else if (local && this.lint[0]) this.acceptLocal(LINT0);
  }

  private setTaskPriority(value: number): void {
    this.tpr = value & 0xff;
    this.cpu.taskPriority(this.tpr >>> 4);
    this.update();
  }

  /** Notes an error; the error interrupt comes once per newly set bit. */
  private reportError(bit: number): void {
    if ((this.esrPending & bit) !== 0) return;
    this.esrPending |= bit;
    this.acceptLocal(ERROR);
  }

  // The shortcut stands only while nothing else waits: whatever arrives withdraws it first, so that
  // a bit cleared in memory can never leave a lower interrupt blocked.

  private offerShortcut(vector: number): void {
    if (this.shortcut === null || this.tmr.has(vector) || this.irr.highest() >= 0) return;
    this.offered = this.shortcut.offer();
  }

  /** Before anything that depends on the ISR: has the guest ended its interrupt in memory? */
  settle(): void {
    if (this.offered && this.withdrawShortcut()) this.endInterrupt();
  }

  private withdrawShortcut(): boolean {
    if (!this.offered) return false;
    this.offered = false;
    return this.shortcut?.withdraw() ?? false;
  }

  private readRegister(offset: number, x2: boolean): number {
    this.settle();
    switch (offset) {
      case R.APIC_ID:
        return x2 ? this.id : this.xapicId << 24;
      case R.APIC_VERSION:
        return R.VERSION_VALUE;
      case R.TPR:
        return this.tpr;
      case R.APR:
      case R.PPR:
        return this.processorPriority();
      case R.LDR:
        return x2 ? this.logicalX2() : this.ldr;
      case R.DFR:
        return this.dfr;
      case R.SVR:
        return this.svr;
      case R.ESR:
        return this.esr;
      case R.ICR_LOW:
        return this.icrLow;
      case R.ICR_HIGH:
        return this.icrHigh;
      case R.TIMER_INITIAL:
        return this.timer.readInitial();
      case R.TIMER_CURRENT:
        return this.timer.readCurrent();
      case R.TIMER_DIVIDE:
        return this.timer.readDivide();
      case R.EOI:
      case R.RRR:
        return 0;
      default:
        return this.readArray(offset);
    }
  }

  private readArray(offset: number): number {
    const word = (offset >>> 4) & 7;
    if (offset >= R.ISR && offset < R.TMR) return this.isr.words[word]!;
    if (offset >= R.TMR && offset < R.IRR) return this.tmr.words[word]!;
    if (offset >= R.IRR && offset < R.ESR) return this.irr.words[word]!;
    if (offset >= R.LVT_TIMER && offset <= R.LVT_ERROR) {
      return this.lvt[(offset - R.LVT_TIMER) >>> 4]!;
    }
    this.reportError(R.ESR_ILLEGAL_REGISTER);
    return 0;
  }

  private writeRegister(offset: number, value: number): void {
    this.settle();
    switch (offset) {
      case R.APIC_ID:
        this.xapicId = value >>> 24;
        return;
      case R.TPR:
        this.setTaskPriority(value);
        return;
      case R.EOI:
        this.endInterrupt();
        return;
      case R.LDR:
        this.ldr = (value & 0xff000000) >>> 0;
        return;
      case R.DFR:
        this.dfr = (value | 0x0fffffff) >>> 0;
        return;
      case R.SVR:
        this.writeSpurious(value);
        return;
      case R.ESR:
        this.esr = this.esrPending;
        this.esrPending = 0;
        return;
      case R.ICR_LOW:
        this.writeCommand(value, this.icrHigh >>> 24);
        return;
      case R.ICR_HIGH:
        this.icrHigh = (value & 0xff000000) >>> 0;
        return;
      case R.TIMER_INITIAL:
        this.timer.writeInitial(value);
        return;
      case R.TIMER_DIVIDE:
        this.timer.writeDivide(value);
        return;
      default:
        if (offset >= R.LVT_TIMER && offset <= R.LVT_ERROR) {
          this.writeLocal((offset - R.LVT_TIMER) >>> 4, value);
        } else if (!isReadOnly(offset)) {
          this.reportError(R.ESR_ILLEGAL_REGISTER);
        }
    }
  }

  private writeSpurious(value: number): void {
    this.svr = value & R.SVR_MASK;
    if ((this.svr & R.SVR_ENABLE) === 0) {
      // Software-disabled: every local entry is masked, and requests already held stay.
      const before = this.lvt[0]!;
      for (let index = 0; index < LVT_COUNT; index++) this.lvt[index]! |= R.LVT_MASKED;
      this.timer.lvtWritten(before);
    }
    this.update();
  }

  private writeLocal(index: number, value: number): void {
    const before = this.lvt[index]!;
    let entry = value & this.lvtWritable[index]!;
    if ((this.svr & R.SVR_ENABLE) === 0) entry |= R.LVT_MASKED;
    const level = (entry & R.LVT_LEVEL) !== 0;
    this.lvt[index] = entry | (level ? before & R.LVT_REMOTE_IRR : 0);
    if (index === 0) this.timer.lvtWritten(before);
    if (index === LINT0 && level && this.lint[0]) this.acceptLocal(LINT0);
    this.update();
  }

  private writeCommand(value: number, destination: number): void {
    this.icrLow = (value & R.ICR_MASK) >>> 0;
    const mode = (this.icrLow >>> 8) & 7;
    const vectored = mode === R.MODE_FIXED || mode === R.MODE_LOWEST;
    if (vectored && (this.icrLow & 0xff) < 16) this.reportError(R.ESR_SEND_ILLEGAL);
    this.sender.command(this, this.icrLow, destination);
  }

  private isX2Writable(offset: number, lo: number): boolean {
    switch (offset) {
      case R.TPR:
      case R.SELF_IPI:
        return lo >>> 8 === 0;
      case R.SVR:
        return (lo & ~R.SVR_MASK) === 0;
      case R.EOI:
      case R.ESR:
        return lo === 0;
      case R.TIMER_INITIAL:
        return true;
      case R.TIMER_DIVIDE:
        return (lo & ~0xb) === 0;
      default:
    }
    if (offset < R.LVT_TIMER || offset > R.LVT_ERROR) return false;
    const writable = this.lvtWritable[(offset - R.LVT_TIMER) >>> 4]!;
    return (lo & ~(writable | R.LVT_READ_ONLY)) === 0;
  }
}

function isX2Readable(offset: number): boolean {
  if (offset >= R.ISR && offset <= R.ESR) return true;
  if (offset >= R.LVT_TIMER && offset <= R.TIMER_CURRENT) return true;
  switch (offset) {
    case R.APIC_ID:
    case R.APIC_VERSION:
    case R.TPR:
    case R.PPR:
    case R.LDR:
    case R.SVR:
    case R.TIMER_DIVIDE:
      return true;
    default:
      return false;
  }
}

/** Registers that exist and ignore writes. */
function isReadOnly(offset: number): boolean {
  if (offset >= R.ISR && offset < R.ESR) return true;
  const known = [R.APIC_VERSION, R.APR, R.PPR, R.RRR, R.TIMER_CURRENT];
  return known.includes(offset);
}

interface ApicState {
  base: number[];
  isr: number[];
  irr: number[];
  tmr: number[];
  lvt: number[];
  lint: boolean[];
  registers: number[];
  externalMessage: boolean;
  offered: boolean;
  timer: ReturnType<ApicTimer['snapshot']>;
}

function apicState(snapshot: Snapshot): ApicState {
  const state = snapshot.state as Partial<ApicState> | null;
  const numbers = (list: unknown, length: number) =>
    Array.isArray(list) && list.length === length && list.every((item) => Number.isFinite(item));
  const valid =
    snapshot.type === 'local-apic' &&
    snapshot.version === 1 &&
    typeof state === 'object' &&
    state !== null &&
    numbers(state.base, 2) &&
    [state.isr, state.irr, state.tmr].every((list) => numbers(list, 8)) &&
    numbers(state.lvt, LVT_COUNT) &&
    numbers(state.registers, 9) &&
    Array.isArray(state.lint) &&
    state.lint.length === 2 &&
    typeof state.externalMessage === 'boolean' &&
    typeof state.offered === 'boolean' &&
    isTimerState(state.timer);
  if (!valid) throw new VmmError('snapshot-mismatch', 'not the state of a local APIC');
  return state as ApicState;
}
