/**
 * MSRs of system calls, segments and modes: those whose values lie in the vCPU record.
 *
 * Source: AMD APM vol. 2, 3.1.7 (EFER), 14.6.2 (long-mode consistency checks), 6.1 (fast system
 * calls), 4.5.3 (FS, GS), 13.2 (TSC_AUX).
 */

import type { CpuSelection } from '@cloister/core/cpu';
import { msr as I } from '@cloister/core/cpu';
import * as L from '../cpu/layout.js';
import { isCanonical, type MsrEntry, recordField } from './entry.js';
import type { MsrCpu } from './ports.js';

export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;
export const EFER_FFXSR = 1 << 14;
export const EFER_AIBRSE = 1 << 21;

const CR0_PG = 0x80000000;

export function systemMsrs(view: DataView, cpu: CpuSelection, port: MsrCpu): MsrEntry[] {
  const any = () => true;
  const bits = cpu.has('la57') ? 57 : 48;
  const canonical = (_lo: number, hi: number) => isCanonical(hi, bits);
  const base = (segment: number) => L.segmentOffset(segment) + L.SEG_BASE;
  const moved = () => port.segmentBaseChanged();
  return [
    // AMD's processors keep 32 bits of the SYSENTER registers: long mode has no SYSENTER.
    recordField(I.SYSENTER_CS, 'SYSENTER_CS', view, L.SYSENTER_CS, any, 32),
    recordField(I.SYSENTER_ESP, 'SYSENTER_ESP', view, L.SYSENTER_ESP, any, 32),
    recordField(I.SYSENTER_EIP, 'SYSENTER_EIP', view, L.SYSENTER_EIP, any, 32),
    efer(view, cpu, port),
    recordField(I.STAR, 'STAR', view, L.STAR, any, 64),
    recordField(I.LSTAR, 'LSTAR', view, L.LSTAR, canonical, 64),
    recordField(I.CSTAR, 'CSTAR', view, L.CSTAR, canonical, 64),
    recordField(I.SFMASK, 'SFMASK', view, L.SFMASK, any, 32),
    recordField(I.FS_BASE, 'FS_BASE', view, base(L.SEG.fs), canonical, 64, moved),
    recordField(I.GS_BASE, 'GS_BASE', view, base(L.SEG.gs), canonical, 64, moved),
    recordField(I.KERNEL_GS_BASE, 'KERNEL_GS_BASE', view, L.KERNEL_GS_BASE, canonical, 64),
    ...(cpu.has('rdtscp') || cpu.has('rdpid')
      ? [recordField(I.TSC_AUX, 'TSC_AUX', view, L.TSC_AUX, any, 32)]
      : []),
  ];
}

/** Bits of EFER that may be set. */
export function eferMask(cpu: CpuSelection): number {
  let mask = 0;
  if (cpu.has('syscall')) mask |= EFER_SCE;
  if (cpu.has('lm')) mask |= EFER_LME | EFER_LMA;
  if (cpu.has('nx')) mask |= EFER_NXE;
  if (cpu.has('fxsr_opt')) mask |= EFER_FFXSR;
  if (cpu.has('auto_ibrs')) mask |= EFER_AIBRSE;
  return mask;
}

function efer(view: DataView, cpu: CpuSelection, port: MsrCpu): MsrEntry {
  const mask = eferMask(cpu);
  return {
    index: I.EFER,
    name: 'EFER',
    read: (out) => {
      out.lo = view.getUint32(L.EFER, true);
      return true;
    },
    write: (lo, hi) => {
      if (hi !== 0 || (lo & ~mask) !== 0) return false;
      const before = view.getUint32(L.EFER, true);
      const paging = (view.getUint32(L.CR0, true) & CR0_PG) !== 0;
      if (paging && ((lo ^ before) & EFER_LME) !== 0) return false;
      // CR0.PG makes LMA. A write has to preserve it: AMD's processors fault where Intel's ignore.
      if (((lo ^ before) & EFER_LMA) !== 0) return false;
      view.setUint32(L.EFER, lo, true);
      if (lo !== before) port.eferChanged((lo ^ before) >>> 0);
      return true;
    },
  };
}
