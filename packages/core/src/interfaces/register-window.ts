/**
 * The register window: all registers of a guest that a world switch swaps, as bytes at fixed
 * places. It is no architecture's format: an extension moves the fields to and from its own save
 * area (VMSA, TDVPS) by this table.
 *
 * Little-endian throughout; every field lies at a multiple of its size up to 8 bytes, so that
 * windows can be copied by 32-bit words. A segment or table register is 16 bytes: selector u16,
 * attributes u16 (12 bits, as in `SegmentState`), limit u32 (bytes, scaled), base u64, as in a
 * VMCB's save area (AMD APM vol. 2, appendix B); GDTR and IDTR have base and limit only.
 *
 * Not in it, since it is the host's or the platform's: the local APIC, the time-stamp counter's
 * offset, memory types (MTRR), NMI blocking, whether the vCPU is halted. Bytes between fields are
 * zero when saved and ignored when loaded.
 */
export interface RegisterField {
  /** Bytes from the window's start. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

const at = (offset: number, size: number): RegisterField => ({ offset, size });

export const REGISTER_WINDOW = {
  /** General registers, in the order of their encoding. */
  rax: at(0x000, 8),
  rcx: at(0x008, 8),
  rdx: at(0x010, 8),
  rbx: at(0x018, 8),
  rsp: at(0x020, 8),
  rbp: at(0x028, 8),
  rsi: at(0x030, 8),
  rdi: at(0x038, 8),
  r8: at(0x040, 8),
  r9: at(0x048, 8),
  r10: at(0x050, 8),
  r11: at(0x058, 8),
  r12: at(0x060, 8),
  r13: at(0x068, 8),
  r14: at(0x070, 8),
  r15: at(0x078, 8),
  rip: at(0x080, 8),
  /** With RF as it stands for the next instruction. */
  rflags: at(0x088, 8),
  /** Current privilege level, 0 to 3. */
  cpl: at(0x090, 1),
  /** 1: the next instruction is in the interrupt shadow of STI, MOV SS or POP SS. */
  shadow: at(0x091, 1),
  /** Segments: selector u16, attributes u16, limit u32, base u64. */
  es: at(0x0a0, 16),
  cs: at(0x0b0, 16),
  ss: at(0x0c0, 16),
  ds: at(0x0d0, 16),
  fs: at(0x0e0, 16),
  gs: at(0x0f0, 16),
  ldtr: at(0x100, 16),
  tr: at(0x110, 16),
  gdtr: at(0x120, 16),
  idtr: at(0x130, 16),
  cr0: at(0x140, 8),
  cr2: at(0x148, 8),
  cr3: at(0x150, 8),
  cr4: at(0x158, 8),
  /** The task priority, which the local APIC keeps: loading ignores it. */
  cr8: at(0x160, 8),
  xcr0: at(0x168, 8),
  efer: at(0x170, 8),
  dr0: at(0x178, 8),
  dr1: at(0x180, 8),
  dr2: at(0x188, 8),
  dr3: at(0x190, 8),
  dr6: at(0x198, 8),
  dr7: at(0x1a0, 8),
  star: at(0x1a8, 8),
  lstar: at(0x1b0, 8),
  cstar: at(0x1b8, 8),
  sfmask: at(0x1c0, 8),
  kernelGsBase: at(0x1c8, 8),
  sysenterCs: at(0x1d0, 8),
  sysenterEsp: at(0x1d8, 8),
  sysenterEip: at(0x1e0, 8),
  tscAux: at(0x1e8, 8),
  pat: at(0x1f0, 8),
  debugCtl: at(0x1f8, 8),
  specCtrl: at(0x200, 8),
  pkru: at(0x208, 4),
  mxcsr: at(0x20c, 4),
  /** x87 control, status (TOP in bits 13:11) and full tag word (2 bits a register), opcode. */
  fcw: at(0x210, 2),
  fsw: at(0x212, 2),
  ftw: at(0x214, 2),
  fop: at(0x216, 2),
  /** Last instruction and data pointers, and their selectors. */
  fip: at(0x218, 8),
  fdp: at(0x220, 8),
  fcs: at(0x228, 2),
  fds: at(0x22a, 2),
  /** x87 registers R0 to R7 by physical number, 16 bytes each of which 10 are used. */
  x87: at(0x230, 128),
  /** XMM0 to XMM15. */
  xmm: at(0x2b0, 256),
} as const satisfies Readonly<Record<string, RegisterField>>;

export type RegisterName = keyof typeof REGISTER_WINDOW;

/** Bytes of a window. */
export const REGISTER_WINDOW_SIZE = 0x3b0;
