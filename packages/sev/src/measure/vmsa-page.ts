/**
 * VMSA pages: the registers that a vCPU of an SEV-ES or SEV-SNP guest starts with, as the page that
 * is measured (AMD APM vol. 2, table B-4 "VMSA layout, state save area for SEV-ES").
 */
import { GPR_NAMES, type SegmentState, type TableState, type VcpuState } from '@cloister/core';
import { VMSA, VMSA_SIZE } from '../abi/vmsa.js';
import { viewOf } from '../bytes.js';

/** What a VMSA holds besides the architectural state that core describes. */
export interface VmsaExtras {
  /** SEV_FEATURES; 0 for SEV-ES. */
  readonly features: bigint;
  readonly gPat: bigint;
  readonly mxcsr: number;
  readonly fcw: number;
}

/** The PAT after reset. */
export const RESET_PAT = 0x0007_0406_0007_0406n;

const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
const TABLES = ['gdtr', 'idtr'] as const;
const REGISTERS = [
  'efer',
  'cr4',
  'cr3',
  'cr0',
  'dr7',
  'dr6',
  'rflags',
  'rip',
  'cr2',
  'xcr0',
] as const;

/** The page for exactly this state. CR8 has no place in it: the interrupt controller holds it. */
export function vmsaPage(state: VcpuState, extras: VmsaExtras): Uint8Array {
  const page = new Uint8Array(VMSA_SIZE);
  const view = viewOf(page);
  const put64 = (at: number, value: bigint) => view.setBigUint64(at, value, true);
  for (const name of SEGMENTS) putSegment(view, VMSA[name].at, state[name]);
  for (const name of TABLES) {
    const { limit, base }: TableState = state[name];
    putSegment(view, VMSA[name].at, { selector: 0, attributes: 0, limit, base });
  }
  for (const name of GPR_NAMES) put64(VMSA[name].at, state.gpr[name]);
  for (const name of REGISTERS) put64(VMSA[name].at, state[name]);
  put64(VMSA.gPat.at, extras.gPat);
  put64(VMSA.sevFeatures.at, extras.features);
  view.setUint32(VMSA.mxcsr.at, extras.mxcsr, true);
  view.setUint16(VMSA.x87Fcw.at, extras.fcw, true);
  return page;
}

function putSegment(view: DataView, at: number, segment: SegmentState): void {
  view.setUint16(at, segment.selector, true);
  view.setUint16(at + 2, segment.attributes, true);
  view.setUint32(at + 4, segment.limit, true);
  view.setBigUint64(at + 8, segment.base, true);
}
