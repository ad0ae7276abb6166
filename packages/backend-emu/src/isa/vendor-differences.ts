/**
 * Where AMD's and Intel's processors differ in what a user program sees. The emulated model is
 * AMD's, so its manual wins; where a manual says nothing, what its processors do (family 19h and
 * Sapphire Rapids, as compared natively).
 *
 * On a host of AMD's the native comparison asks about all of these; on one of Intel's it stays away
 * from them, as `avoided` says.
 */
export interface VendorDifference {
  readonly form: string;
  readonly amd: string;
  readonly intel: string;
  /** What the native comparison does about it on Intel's processors. */
  readonly avoided: string;
}

export const VENDOR_DIFFERENCES: readonly VendorDifference[] = [
  {
    form: 'near branches with 66 in 64-bit mode',
    amd: 'APM vol. 3, 1.2.2: the operand size becomes 16 bits, and so does a displacement',
    intel: 'SDM vol. 2, CALL, JMP, Jcc, RET: the operand size is forced to 64 bits',
    avoided: 'no forms with 16-bit operands',
  },
  {
    form: 'REP with 67 in 64-bit mode and ECX 0',
    amd: 'APM vol. 3, 1.2.6: nothing is executed, no register changes',
    intel: 'SDM vol. 2, REP: the upper halves of RCX and of the pointers may be cleared',
    avoided: 'the upper half of RCX, RSI and RDI is clear when ECX is 0',
  },
  {
    form: 'far pointers in memory with REX.W',
    amd: 'APM vol. 3, CALL (Far), JMP (Far), LFS: the pointer is 16:32 bits',
    intel: 'SDM vol. 2, CALL, JMP, LFS: the pointer is 16:64 bits',
    avoided: 'no forms with 64-bit operands',
  },
  {
    form: 'PUSH of a segment register with a 32-bit operand',
    amd: 'APM vol. 3, PUSH: the selector is zero-extended',
    intel: 'SDM vol. 2, PUSH: newer processors write 16 bits and leave the others',
    avoided: 'the memory above the selector is zero',
  },
  {
    form: 'LOCK with MOV to or from CR0',
    amd: 'APM vol. 3, MOV CRn: means CR8 where CPUID says AltMovCr8',
    intel: 'SDM vol. 2, LOCK: undefined opcode',
    avoided: 'no LOCK in front of it',
  },
  {
    form: 'MOVSXD with a 16-bit operand',
    amd: 'APM vol. 3, MOVSXD: the source is 32 bits',
    intel: 'SDM vol. 2, MOVSXD: the source is 16 bits',
    avoided: 'the results agree; the source never lies at the end of memory',
  },
  {
    form: 'PREFETCH and PREFETCHW with a register',
    amd: 'APM vol. 3, PREFETCH: the operand must be memory, undefined opcode',
    intel: 'SDM vol. 2, PREFETCHW: a NOP in practice, the manual lists memory only',
    avoided: 'the form is not in the table',
  },
  {
    form: 'SHA instructions with a memory operand that is not aligned',
    amd: 'APM vol. 3, SHA1MSG1 and the rest: processors do not check the alignment',
    intel: 'SDM vol. 2, SHA1MSG1 and the rest, exception type 4: #GP(0)',
    avoided: 'the operand is aligned',
  },
  {
    form: 'DPPS and DPPD with more than one NaN',
    amd: 'APM vol. 4, DPPS: all lanes are one sum, (0 + 1) + (2 + 3), first NaN first',
    intel: 'SDM vol. 2, DPPS: processors sum each lane in an order of its own',
    avoided: 'any NaN is as good as another',
  },
  {
    form: 'x87 stores whose exception is not masked, to memory that faults',
    amd: 'APM vol. 1, 6.8.3: nothing is stored; its processors fault for the memory first',
    intel: 'SDM vol. 1, 8.5: nothing is stored, and its processors do not look at the memory',
    avoided: 'the operand does not fault where an exception is not masked',
  },
  {
    form: 'opcode and addresses of the last x87 instruction in FXSAVE and XSAVE images',
    amd: 'APM vol. 3, FXSAVE; CPUID Fn8000_0008 EBX[2]: zeros unless an exception is pending',
    intel: 'SDM vol. 1, 8.1.8: always; the operand’s address of unmasked exceptions only',
    avoided: 'not compared, and neither are FXSAVE, XSAVE and their like',
  },
];
