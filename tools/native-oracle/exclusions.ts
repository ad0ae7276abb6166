/**
 * Rows of the table that a user program cannot ask the host's processor about, with the reason.
 */
import type { Encoding } from './encodings.js';
import type { Bits } from './user-state.js';

/** Mnemonics by reason. */
const REASONS: readonly (readonly [reason: string, mnemonics: string])[] = [
  ['enters the host kernel', 'INT INT3 INTO ICEBP SYSCALL SYSENTER VMMCALL'],
  [
    "answers from the host's own tables and registers",
    'SGDT SIDT SLDT STR SMSW CPUID XGETBV RDFSBASE RDGSBASE RDPMC',
  ],
  ['the host process needs its FS and GS', 'WRFSBASE WRGSBASE'],
  ['a different answer each time', 'RDTSC RDTSCP RDPID RDRAND RDSEED'],
  ['what it waits for or leaves to depends on the host', 'MONITOR MWAIT SYSRET SYSEXIT'],
  ['undefined opcode on purpose', 'UD'],
  ['the image is larger than the window of data', 'FXSAVE FXRSTOR XSAVE XRSTOR XSAVEOPT XSAVEC'],
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
  const loads = /^(POPSEG|LOADFAR)$/.test(row.mnemonic);
  if (loads && row.operands.some((code) => code === 'fs' || code === 'gs')) {
    return 'the host process needs its FS and GS';
  }
  return BY_MNEMONIC.get(row.mnemonic) ?? null;
}
