/**
 * The VMSA: a page in which a processor with SEV-ES keeps a vCPU's registers while it is not in the
 * guest. Every field that is used here, in the manual's order, with its place and its bytes.
 *
 * Source: AMD64 APM vol. 2 (24593), table B-4 "VMSA layout, state save area for SEV-ES". Integers
 * are little-endian. A segment is selector u16, attributes u16 (12 bits, in the VMCB's form), limit
 * u32, base u64. What is left out (shadow stacks, LBRs, TSC scale and offset, the upper halves of
 * YMM registers) belongs to features that no CPU model here has; its bytes are 0.
 *
 * Inaccuracy: the manual doesn't say in which form the page holds the x87 tag word and registers;
 * here they are the full tag word and the registers by physical number, 10 bytes each.
 */

export const VMSA_SIZE = 4096;

export interface VmsaField {
  readonly at: number;
  /** Bytes. */
  readonly size: number;
}

const field = (at: number, size = 8): VmsaField => ({ at, size });
const segment = (at: number): VmsaField => ({ at, size: 16 });

export const VMSA = {
  es: segment(0x000),
  cs: segment(0x010),
  ss: segment(0x020),
  ds: segment(0x030),
  fs: segment(0x040),
  gs: segment(0x050),
  gdtr: segment(0x060),
  ldtr: segment(0x070),
  idtr: segment(0x080),
  tr: segment(0x090),
  vmpl: field(0x0ca, 1),
  cpl: field(0x0cb, 1),
  efer: field(0x0d0),
  xss: field(0x140),
  cr4: field(0x148),
  cr3: field(0x150),
  cr0: field(0x158),
  dr7: field(0x160),
  dr6: field(0x168),
  rflags: field(0x170),
  rip: field(0x178),
  dr0: field(0x180),
  dr1: field(0x188),
  dr2: field(0x190),
  dr3: field(0x198),
  rsp: field(0x1d8),
  // RCX to R15 lie elsewhere, since RAX and RSP are in the part that is older than SEV-ES.
  rax: field(0x1f8),
  star: field(0x200),
  lstar: field(0x208),
  cstar: field(0x210),
  sfmask: field(0x218),
  kernelGsBase: field(0x220),
  sysenterCs: field(0x228),
  sysenterEsp: field(0x230),
  sysenterEip: field(0x238),
  cr2: field(0x240),
  gPat: field(0x268),
  debugCtl: field(0x270),
  specCtrl: field(0x2e0),
  pkru: field(0x2e8, 4),
  tscAux: field(0x2ec, 4),
  rcx: field(0x308),
  rdx: field(0x310),
  rbx: field(0x318),
  rbp: field(0x328),
  rsi: field(0x330),
  rdi: field(0x338),
  r8: field(0x340),
  r9: field(0x348),
  r10: field(0x350),
  r11: field(0x358),
  r12: field(0x360),
  r13: field(0x368),
  r14: field(0x370),
  r15: field(0x378),
  guestExitInfo1: field(0x390),
  guestExitInfo2: field(0x398),
  guestExitIntInfo: field(0x3a0),
  guestNrip: field(0x3a8),
  sevFeatures: field(0x3b0),
  guestExitCode: field(0x3c0),
  xcr0: field(0x3e8),
  x87Dp: field(0x400),
  mxcsr: field(0x408, 4),
  x87Ftw: field(0x40c, 2),
  x87Fsw: field(0x40e, 2),
  x87Fcw: field(0x410, 2),
  x87Fop: field(0x412, 2),
  x87Ds: field(0x414, 2),
  x87Cs: field(0x416, 2),
  x87Rip: field(0x418),
  x87: field(0x420, 80),
  xmm: field(0x470, 256),
} as const satisfies Record<string, VmsaField>;

export type VmsaFieldName = keyof typeof VMSA;

/** Where the last field ends: the rest of the page is reserved. */
export const VMSA_USED = 0x670;
