/**
 * Rows of the table that a user program cannot ask the host's processor about, with the reason.
 */
import type { Encoding } from './encodings.js';
import type { Host } from './host.js';
import type { Bits } from './user-state.js';

/** Mnemonics by reason. */
const REASONS: readonly (readonly [reason: string, mnemonics: string])[] = [
  ['enters the host kernel', 'INT INT3 INTO ICEBP SYSCALL SYSENTER VMMCALL'],
  [
    "answers from the host's own tables and registers",
    'SGDT SIDT SLDT STR SMSW CPUID XGETBV RDFSBASE RDGSBASE RDPMC RDPKRU',
  ],
  ['the host process needs its FS and GS', 'WRFSBASE WRGSBASE'],
  ['the host process needs its protection keys', 'WRPKRU'],
  ['a different answer each time', 'RDTSC RDTSCP RDPID RDRAND RDSEED'],
  ['what it waits for or leaves to depends on the host', 'MONITOR MWAIT SYSRET SYSEXIT'],
];

const BY_MNEMONIC = new Map(
  REASONS.flatMap(([reason, mnemonics]) =>
    mnemonics
      .trim()
      .split(/\s+/)
      .map((mnemonic) => [mnemonic, reason] as const),
  ),
);

/** What a reason that holds on some hosts only begins with. */
export const LACKING = 'the host lacks ';
export const VENDOR = 'the vendors differ';

/** Why an encoding is not tested at all; null if it is. */
export function exclusion({ row }: Encoding, bits: Bits, host: Host): string | null {
  if (bits === 64 && row.flags.has('i64')) return null;
  const loads = /^(POPSEG|LOADFAR)$/.test(row.mnemonic);
  if (loads && row.operands.some((code) => code === 'fs' || code === 'gs')) {
    return 'the host process needs its FS and GS';
  }
  const reason = BY_MNEMONIC.get(row.mnemonic);
  if (reason !== undefined) return reason;
  return host.has(row.feature) ? null : LACKING + row.feature;
}

/**
 * Why an operand size of an encoding is not tested; null if it is. What the vendors do differently
 * only a host of the model's vendor can be asked.
 */
export function sizeExclusion(
  { row }: Encoding,
  bits: Bits,
  size: number,
  host: Host,
): string | null {
  // AMD APM vol. 3, BSWAP.
  if (row.mnemonic === 'BSWAP' && size === 16) return 'the result is undefined';
  // AMD's processors have no far pointers of 64 bits; see `isa/vendor-differences.ts`.
  const far = /^(JMPFI|CALLFI|LOADFAR)$/.test(row.mnemonic);
  // AMD's processors cut the target to 16 bits.
  const near = row.operands[0]?.[0] === 'J' || /^(CALLI|JMPI|RETI?)$/.test(row.mnemonic);
  // The pointers of the last x87 instruction, and what counts as in use.
  const image = /^(FXSAVE|FXRSTOR|XSAVE|XSAVEOPT|XSAVEC|XRSTOR)$/.test(row.mnemonic);
  const differs = (near && bits === 64 && size === 16) || (far && size === 64) || image;
  return differs && !host.amd ? VENDOR : null;
}
