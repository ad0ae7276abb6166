/**
 * The x2APIC's window of MSRs: the same registers as the page's, one MSR each, that refuse what
 * they do not have.
 *
 * Source: Intel SDM vol. 3, table 11-6 and 11.12.1.
 */
import { logicalIdX2 } from './destination.js';
import {
  isLvt,
  lvtIndex,
  type RegisterEffects,
  readRegister,
  writeRegister,
} from './register-access.js';
import * as R from './registers.js';

/** The APIC that is accessed. */
export interface X2apicEffects extends RegisterEffects {
  readonly id: number;
  /** Result of a read. */
  lo: number;
  hi: number;
  settle(): void;
}

/** RDMSR of 0x800 to 0x8ff; false means #GP. */
export function readX2apic(apic: X2apicEffects, index: number): boolean {
  const offset = (index & 0xff) << 4;
  apic.hi = 0;
  if (offset === R.ICR_LOW) {
    apic.lo = apic.state.icrLo;
    apic.hi = apic.state.icrHi;
    return true;
  }
  if (!isReadable(offset)) return false;
  apic.settle();
  if (offset === R.APIC_ID) apic.lo = apic.id;
  else if (offset === R.LDR) apic.lo = logicalIdX2(apic.id);
  else apic.lo = readRegister(apic, offset) >>> 0;
  return true;
}

/** WRMSR of 0x800 to 0x8ff; false means #GP. */
export function writeX2apic(apic: X2apicEffects, index: number, lo: number, hi: number): boolean {
  const offset = (index & 0xff) << 4;
  if (offset === R.ICR_LOW) {
    if ((lo & R.ICR_X2_RESERVED) !== 0) return false;
    apic.state.icrHi = hi >>> 0;
    apic.writeCommand(lo, hi >>> 0);
    return true;
  }
  if (hi !== 0 || !isWritable(apic, offset, lo)) return false;
  apic.settle();
  if (offset === R.SELF_IPI) apic.writeCommand((R.SHORTHAND_SELF << 18) | lo, 0);
  else writeRegister(apic, offset, lo >>> 0);
  return true;
}

/** Whether RDMSR of the x2APIC register exists. ICR is 64 bits wide and not among these. */
function isReadable(offset: number): boolean {
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

/** Bits of a local entry that exist and that only the APIC sets: writes to them are ignored. */
function readOnlyBits(offset: number): number {
  const pin = offset === R.LVT_LINT0 || offset === R.LVT_LINT1;
  return R.LVT_STATUS | (pin ? R.LVT_REMOTE_IRR : 0);
}

/** Whether WRMSR of `lo` to the x2APIC register is accepted. */
function isWritable(apic: RegisterEffects, offset: number, lo: number): boolean {
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
      if (!isLvt(offset)) return false;
      return (lo & ~(apic.lvtWritable[lvtIndex(offset)]! | readOnlyBits(offset))) === 0;
  }
}
