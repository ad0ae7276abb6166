/**
 * VMSA pages: the registers that a vCPU of an SEV-ES or SEV-SNP guest starts with, as the page that
 * is measured (AMD APM vol. 2, table B-4 "VMSA layout, state save area for SEV-ES").
 */
import type { GprName, SegmentState, TableState, VcpuState } from '@cloister/core';
import { viewOf } from '../bytes.js';
import { PAGE_SIZE } from './launch-chain.js';

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

type SegmentName = 'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldtr' | 'tr';

const SEGMENT: Readonly<Record<SegmentName, number>> = {
  es: 0x00,
  cs: 0x10,
  ss: 0x20,
  ds: 0x30,
  fs: 0x40,
  gs: 0x50,
  ldtr: 0x70,
  tr: 0x90,
};
const TABLE = { gdtr: 0x60, idtr: 0x80 } as const;

/** RCX to RDI are where they are because RAX and RSP are in the part that VMLOAD does not touch. */
const GPR: Readonly<Record<GprName, number>> = {
  rsp: 0x1d8,
  rax: 0x1f8,
  rcx: 0x308,
  rdx: 0x310,
  rbx: 0x318,
  rbp: 0x328,
  rsi: 0x330,
  rdi: 0x338,
  r8: 0x340,
  r9: 0x348,
  r10: 0x350,
  r11: 0x358,
  r12: 0x360,
  r13: 0x368,
  r14: 0x370,
  r15: 0x378,
};

const REGISTER = {
  efer: 0x0d0,
  cr4: 0x148,
  cr3: 0x150,
  cr0: 0x158,
  dr7: 0x160,
  dr6: 0x168,
  rflags: 0x170,
  rip: 0x178,
  cr2: 0x240,
  xcr0: 0x3e8,
} as const;

const G_PAT = 0x268;
const SEV_FEATURES = 0x3b0;
const MXCSR = 0x408;
const X87_FCW = 0x410;

/** The page for exactly this state. CR8 has no place in it: the interrupt controller holds it. */
export function vmsaPage(state: VcpuState, extras: VmsaExtras): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const view = viewOf(page);
  const put64 = (at: number, value: bigint) => view.setBigUint64(at, value, true);
  for (const [name, at] of Object.entries(SEGMENT)) {
    putSegment(view, at, state[name as SegmentName]);
  }
  for (const [name, at] of Object.entries(TABLE)) {
    const { limit, base }: TableState = state[name as keyof typeof TABLE];
    putSegment(view, at, { selector: 0, attributes: 0, limit, base });
  }
  for (const [name, at] of Object.entries(GPR)) put64(at, state.gpr[name as GprName]);
  for (const [name, at] of Object.entries(REGISTER)) {
    put64(at, state[name as keyof typeof REGISTER]);
  }
  put64(G_PAT, extras.gPat);
  put64(SEV_FEATURES, extras.features);
  view.setUint32(MXCSR, extras.mxcsr, true);
  view.setUint16(X87_FCW, extras.fcw, true);
  return page;
}

function putSegment(view: DataView, at: number, segment: SegmentState): void {
  view.setUint16(at, segment.selector, true);
  view.setUint16(at + 2, segment.attributes, true);
  view.setUint32(at + 4, segment.limit, true);
  view.setBigUint64(at + 8, segment.base, true);
}
