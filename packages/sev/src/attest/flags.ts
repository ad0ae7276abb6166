/**
 * The bit fields of a report: names for the bits that are defined, the rest kept visible.
 *
 * Source: SEV-SNP ABI (AMD 56860), "Guest Policy" and ATTESTATION_REPORT, PLATFORM_INFO. Bit 6 of
 * PLATFORM_INFO has no published meaning and is set on real Turin machines: it stays unknown here.
 */

export const GUEST_POLICY_BITS = {
  smt: 16,
  migrationAgent: 18,
  debug: 19,
  singleSocket: 20,
  cxl: 21,
  aes256Xts: 22,
  raplDisabled: 23,
  ciphertextHiding: 24,
  pageSwapDisabled: 25,
} as const;

export const PLATFORM_INFO_BITS = {
  smt: 0,
  tsme: 1,
  ecc: 2,
  raplDisabled: 3,
  ciphertextHiding: 4,
  aliasCheck: 5,
  tio: 7,
} as const;

export type GuestPolicyBit = keyof typeof GUEST_POLICY_BITS;
export type PlatformInfoBit = keyof typeof PLATFORM_INFO_BITS;

/** A bit field, decoded. */
export interface Flags<Name extends string> {
  readonly value: bigint;
  readonly set: readonly Name[];
  /** The bits that are set and have no name here; 0n when there are none. */
  readonly unknown: bigint;
}

/** `other` are bits that mean something but are no flags. */
export function decodeFlags<Name extends string>(
  value: bigint,
  bits: Readonly<Record<Name, number>>,
  other = 0n,
): Flags<Name> {
  const named = Object.entries<number>(bits) as [Name, number][];
  let unknown = value & ~other;
  for (const [, bit] of named) unknown &= ~(1n << BigInt(bit));
  const set = named.filter(([, bit]) => ((value >> BigInt(bit)) & 1n) === 1n).map(([name]) => name);
  return { value, set, unknown };
}
