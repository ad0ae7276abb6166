/**
 * MSRs of time and interrupts: the TSC, the local APIC's base and deadline, and KVM's clocks and
 * paravirtual end of interrupt. The x2APIC window is answered by the APIC itself.
 *
 * Source: AMD APM vol. 2, 13.2.4, 16.3.1 and 16.9; Linux Documentation/virt/kvm/x86/msr.rst.
 */

import type { CpuSelection } from '@cloister/core/cpu';
import { msr as I } from '@cloister/core/cpu';
import type { LocalApic } from '../apic/local-apic.js';
import type { KvmClock } from '../paravirt/kvm-clock.js';
import type { PvEoi } from '../paravirt/pv-eoi.js';
import type { TimeStamp } from '../timing/time-stamp.js';
import type { MsrEntry } from './entry.js';

export interface TimingParts {
  readonly apic: LocalApic;
  readonly tsc: TimeStamp;
  readonly kvmClock: KvmClock;
  readonly pvEoi: PvEoi;
}

export function timingMsrs(parts: TimingParts, cpu: CpuSelection): MsrEntry[] {
  const entries = [timeStamp(parts.tsc)];
  if (cpu.has('tsc_adjust')) entries.push(adjust(parts.tsc));
  if (cpu.has('apic')) entries.push(apicBase(parts.apic));
  if (cpu.has('tsc_deadline')) entries.push(deadline(parts.apic));
  if (cpu.has('kvmclock')) {
    entries.push(wallClock(I.KVM_WALL_CLOCK_OLD, parts.kvmClock));
    entries.push(systemTime(I.KVM_SYSTEM_TIME_OLD, parts.kvmClock));
  }
  if (cpu.has('kvmclock2')) {
    entries.push(wallClock(I.KVM_WALL_CLOCK, parts.kvmClock));
    entries.push(systemTime(I.KVM_SYSTEM_TIME, parts.kvmClock));
  }
  if (cpu.has('kvm_pv_eoi')) entries.push(pvEoi(parts.pvEoi, parts.apic));
  return entries;
}

function timeStamp(tsc: TimeStamp): MsrEntry {
  return {
    index: I.TSC,
    name: 'TSC',
    read: (out) => {
      tsc.read();
      out.lo = tsc.lo;
      out.hi = tsc.hi;
      return true;
    },
    write: (lo, hi) => {
      tsc.write(lo, hi);
      return true;
    },
  };
}

function adjust(tsc: TimeStamp): MsrEntry {
  return {
    index: I.TSC_ADJUST,
    name: 'TSC_ADJUST',
    read: (out) => {
      tsc.readOffset();
      out.lo = tsc.lo;
      out.hi = tsc.hi;
      return true;
    },
    write: (lo, hi) => {
      tsc.writeOffset(lo, hi);
      return true;
    },
  };
}

function apicBase(apic: LocalApic): MsrEntry {
  return {
    index: I.APIC_BASE,
    name: 'APIC_BASE',
    read: (out) => {
      apic.readBase();
      out.lo = apic.lo;
      out.hi = apic.hi;
      return true;
    },
    write: (lo, hi) => apic.writeBase(lo, hi),
  };
}

function deadline(apic: LocalApic): MsrEntry {
  return {
    index: I.TSC_DEADLINE,
    name: 'TSC_DEADLINE',
    read: (out) => {
      apic.timer.readDeadline(out);
      return true;
    },
    write: (lo, hi) => {
      apic.timer.writeDeadline(lo, hi);
      return true;
    },
  };
}

function wallClock(index: number, clock: KvmClock): MsrEntry {
  return {
    index,
    name: 'KVM_WALL_CLOCK',
    read: (out) => {
      out.lo = clock.wallLo;
      out.hi = clock.wallHi;
      return true;
    },
    write: (lo, hi) => {
      clock.writeWallClock(lo, hi);
      return true;
    },
  };
}

function systemTime(index: number, clock: KvmClock): MsrEntry {
  return {
    index,
    name: 'KVM_SYSTEM_TIME',
    read: (out) => {
      out.lo = clock.systemLo;
      out.hi = clock.systemHi;
      return true;
    },
    write: (lo, hi) => {
      clock.writeSystemTime(lo, hi);
      return true;
    },
  };
}

function pvEoi(register: PvEoi, apic: LocalApic): MsrEntry {
  return {
    index: I.KVM_PV_EOI,
    name: 'KVM_PV_EOI',
    read: (out) => {
      out.lo = register.lo;
      out.hi = register.hi;
      return true;
    },
    write: (lo, hi) => {
      // An offer that stands lies at the old address.
      apic.settle();
      return register.write(lo, hi);
    },
  };
}
