/**
 * The guest policy of SEV and SEV-ES (SEV API 55766, chapter 3 "Guest policy"): what the owner
 * forbids the host, 32 bits.
 */
export const POLICY = {
  /** The debug commands are refused. */
  NODBG: 1 << 0,
  /** No other guest shares this one's key. */
  NOKS: 1 << 1,
  /** SEV-ES is required. */
  ES: 1 << 2,
  /** The guest never leaves this platform. */
  NOSEND: 1 << 3,
  /** It leaves for platforms with the same owner only. */
  DOMAIN: 1 << 4,
  /** It leaves for genuine SEV platforms only. */
  SEV: 1 << 5,
} as const;

/** Bits 15:6 must be zero. */
export const POLICY_RESERVED = 0xffc0;

/** The oldest API that a platform must speak to have the guest: major in 23:16, minor in 31:24. */
export function policyApi(policy: number): { readonly major: number; readonly minor: number } {
  return { major: (policy >>> 16) & 0xff, minor: policy >>> 24 };
}

/** Whether API `major.minor` is as new as the policy asks. */
export function apiSuffices(policy: number, major: number, minor: number): boolean {
  const least = policyApi(policy);
  return major > least.major || (major === least.major && minor >= least.minor);
}
