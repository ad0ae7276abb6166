/**
 * When the timer of a local APIC in the kernel fires next: while a vCPU sleeps outside of KVM_RUN,
 * the machine's clock has to wake it then.
 *
 * Source: AMD APM vol. 2, 16.4.1 (local vector table, timer registers), 16.4.4 (TSC deadline).
 * KVM's APIC timer counts at 1 GHz before its divider.
 */
import { msr } from '@cloister/core/cpu';
import { StructView } from './abi/struct.js';
import { LAPIC_STATE } from './abi/structs.js';
import { type Sys, tryIoctl } from './sys/sys.js';
import { readMsr } from './vcpu-record.js';

const LVT_TIMER = 0x320;
const CURRENT_COUNT = 0x390;
const DIVIDE = 0x3e0;
const MASKED = 1 << 16;
const MODE_DEADLINE = 2;

/** 1, 2, 4 … 128 by the three bits of the divide register (0, 1 and 3). */
function divisor(register: number): number {
  const code = (register & 3) | ((register >>> 1) & 4);
  return code === 7 ? 1 : 2 << code;
}

/** Nanoseconds until the timer fires; Infinity when it is off. */
export function untilLapicTimer(sys: Sys, fd: number, tscKhz: number): number {
  const state = new StructView(LAPIC_STATE);
  if (tryIoctl(sys, fd, 'GET_LAPIC', state.bytes) < 0) return Number.POSITIVE_INFINITY;
  const lvt = state.view.getUint32(LVT_TIMER, true);
  if ((lvt & MASKED) !== 0) return Number.POSITIVE_INFINITY;
  if (((lvt >>> 17) & 3) === MODE_DEADLINE) {
    const deadline = readMsr(sys, fd, msr.TSC_DEADLINE);
    if (deadline === 0n || tscKhz === 0) return Number.POSITIVE_INFINITY;
    const ticks = Number(deadline - readMsr(sys, fd, msr.TSC));
    return Math.max(0, (ticks * 1e6) / tscKhz);
  }
  const count = state.view.getUint32(CURRENT_COUNT, true);
  if (count === 0) return Number.POSITIVE_INFINITY;
  return count * divisor(state.view.getUint32(DIVIDE, true));
}
