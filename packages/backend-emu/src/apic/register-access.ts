/**
 * Reading and writing the local APIC's registers, by their xAPIC offset.
 *
 * Source: AMD APM vol. 2, table 16-2 and 16.11.
 */
import type { ApicState } from './apic-state.js';
import * as R from './registers.js';
import type { ApicTimer } from './timer.js';

/** What register accesses do besides changing the state. */
export interface RegisterEffects {
  readonly state: ApicState;
  readonly timer: ApicTimer;
  readonly lvtWritable: Uint32Array;
  processorPriority(): number;
  setTaskPriority(value: number): void;
  endInterrupt(): void;
  writeSpurious(value: number): void;
  writeLocal(index: number, value: number): void;
  writeCommand(value: number, destination: number): void;
  reportError(bit: number): void;
}

export function lvtIndex(offset: number): number {
  return (offset - R.LVT_TIMER) >>> 4;
}

export function isLvt(offset: number): boolean {
  return offset >= R.LVT_TIMER && offset <= R.LVT_ERROR;
}

/** Registers that are read alike in both modes. */
export function readRegister(apic: RegisterEffects, offset: number): number {
  const { state, timer } = apic;
  switch (offset) {
    case R.APIC_ID:
      return (state.xapicId << 24) >>> 0;
    case R.APIC_VERSION:
      return R.VERSION_VALUE;
    case R.TPR:
      return state.tpr;
    case R.APR:
    case R.PPR:
      return apic.processorPriority();
    case R.LDR:
      return state.ldr;
    case R.DFR:
      return state.dfr;
    case R.SVR:
      return state.svr;
    case R.ESR:
      return state.esr;
    case R.ICR_LOW:
      return state.icrLo;
    case R.ICR_HIGH:
      return state.icrHi;
    case R.TIMER_INITIAL:
      return timer.readInitial();
    case R.TIMER_CURRENT:
      return timer.readCurrent();
    case R.TIMER_DIVIDE:
      return timer.readDivide();
    case R.EOI:
    case R.RRR:
      return 0;
    default:
      return readArray(apic, offset);
  }
}

function readArray(apic: RegisterEffects, offset: number): number {
  const { state } = apic;
  const word = (offset >>> 4) & 7;
  if (offset >= R.ISR && offset < R.TMR) return state.isr.words[word]!;
  if (offset >= R.TMR && offset < R.IRR) return state.tmr.words[word]!;
  if (offset >= R.IRR && offset < R.ESR) return state.irr.words[word]!;
  if (isLvt(offset)) return state.lvt[lvtIndex(offset)]!;
  apic.reportError(R.ESR_ILLEGAL_REGISTER);
  return 0;
}

export function writeRegister(apic: RegisterEffects, offset: number, value: number): void {
  const { state, timer } = apic;
  switch (offset) {
    case R.APIC_ID:
      state.xapicId = value >>> 24;
      return;
    case R.TPR:
      apic.setTaskPriority(value);
      return;
    case R.EOI:
      apic.endInterrupt();
      return;
    case R.LDR:
      state.ldr = (value & 0xff000000) >>> 0;
      return;
    case R.DFR:
      state.dfr = (value | 0x0fffffff) >>> 0;
      return;
    case R.SVR:
      apic.writeSpurious(value);
      return;
    case R.ESR:
      state.esr = state.esrPending;
      state.esrPending = 0;
      return;
    case R.ICR_LOW:
      apic.writeCommand(value, state.icrHi >>> 24);
      return;
    case R.ICR_HIGH:
      state.icrHi = (value & 0xff000000) >>> 0;
      return;
    case R.TIMER_INITIAL:
      timer.writeInitial(value);
      return;
    case R.TIMER_DIVIDE:
      timer.writeDivide(value);
      return;
    default:
      if (isLvt(offset)) apic.writeLocal(lvtIndex(offset), value);
      else if (!isReadOnly(offset)) apic.reportError(R.ESR_ILLEGAL_REGISTER);
  }
}

/** Registers that exist and ignore writes. */
function isReadOnly(offset: number): boolean {
  if (offset >= R.ISR && offset < R.ESR) return true;
  const known = [R.APIC_VERSION, R.APR, R.PPR, R.RRR, R.TIMER_CURRENT];
  return known.includes(offset);
}
