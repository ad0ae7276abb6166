/**
 * Rows of the table that a user program cannot ask the host's processor about, with the reason.
 */
import type { Encoding } from './encodings.js';
import type { Bits } from './user-state.js';

/** Mnemonics by reason. */
const REASONS: readonly (readonly [reason: string, mnemonics: string])[] = [
  [
    'system instruction: faults outside CPL 0, tested by guest programs',
    `HLT CLI STI CLTS INVD WBINVD INVLPG LGDT LIDT LLDT LTR LMSW RDMSR WRMSR SYSRET SYSEXIT SWAPGS
    XSETBV MONITOR MWAIT MOVTOCR MOVFROMCR MOVTODR MOVFROMDR IN OUT INS OUTS`,
  ],
  ['enters the host kernel', 'INT INT3 INTO ICEBP SYSCALL SYSENTER VMMCALL'],
  [
    "answers from the host's tables and registers",
    'SGDT SIDT SLDT STR SMSW LAR LSL VERR VERW CPUID XGETBV RDFSBASE RDGSBASE MOVFROMSEG PUSHSEG',
  ],
  [
    'changes segments, which hold the host process together',
    `MOVTOSEG POPSEG LOADFAR JMPF JMPFI CALLF CALLFI RETF RETFI IRET WRFSBASE WRGSBASE`,
  ],
  ['a different answer each time', 'RDTSC RDTSCP RDPMC RDRAND RDSEED'],
  ['undefined opcode on purpose', 'UD'],
  ['the image is larger than the window of data', 'FXSAVE FXRSTOR XSAVE XRSTOR XSAVEOPT'],
];

const BY_MNEMONIC = new Map(
  REASONS.flatMap(([reason, mnemonics]) =>
    mnemonics
      .trim()
      .split(/\s+/)
      .map((mnemonic) => [mnemonic, reason] as const),
  ),
);

/** Why an encoding is not tested; null if it is. */
export function exclusion({ row }: Encoding, _bits: Bits): string | null {
  return BY_MNEMONIC.get(row.mnemonic) ?? null;
}
