/**
 * Architectural state of a vCPU as plain data: what a boot source hands over and a debugger reads.
 *
 * Cold code, therefore bigint. Segment attributes are in the 12-bit form of the VMCB
 * (AMD APM vol. 2, 15.5.1 and appendix B): bits 3:0 type, 4 S, 6:5 DPL, 7 P, 8 AVL, 9 L, 10 D/B,
 * 11 G. Limits are in bytes, already scaled.
 */
export interface SegmentState {
  selector: number;
  attributes: number;
  limit: number;
  base: bigint;
}

export interface TableState {
  limit: number;
  base: bigint;
}

/** General registers in the order of their encoding. */
export const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

export type GprName = (typeof GPR_NAMES)[number];

export interface VcpuState {
  gpr: Record<GprName, bigint>;
  rip: bigint;
  rflags: bigint;
  es: SegmentState;
  cs: SegmentState;
  ss: SegmentState;
  ds: SegmentState;
  fs: SegmentState;
  gs: SegmentState;
  ldtr: SegmentState;
  tr: SegmentState;
  gdtr: TableState;
  idtr: TableState;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  dr6: bigint;
  dr7: bigint;
  xcr0: bigint;
}

function segment(selector: number, attributes: number, limit = 0xffff, base = 0n): SegmentState {
  return { selector, attributes, limit, base };
}

/** The state after RESET or INIT (AMD APM vol. 2, table 14-1), `signature` in EDX. */
export function resetState(signature = 0): VcpuState {
  const gpr = Object.fromEntries(GPR_NAMES.map((name) => [name, 0n])) as Record<GprName, bigint>;
  gpr.rdx = BigInt(signature >>> 0);
  return {
    gpr,
    rip: 0xfff0n,
    rflags: 2n,
    es: segment(0, 0x93),
    cs: segment(0xf000, 0x9b, 0xffff, 0xffff0000n),
    ss: segment(0, 0x93),
    ds: segment(0, 0x93),
    fs: segment(0, 0x93),
    gs: segment(0, 0x93),
    ldtr: segment(0, 0x82),
    tr: segment(0, 0x8b),
    gdtr: { limit: 0xffff, base: 0n },
    idtr: { limit: 0xffff, base: 0n },
    cr0: 0x60000010n,
    cr2: 0n,
    cr3: 0n,
    cr4: 0n,
    cr8: 0n,
    efer: 0n,
    dr6: 0xffff0ff0n,
    dr7: 0x400n,
    xcr0: 1n,
  };
}
