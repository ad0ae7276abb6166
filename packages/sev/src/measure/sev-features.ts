/**
 * SEV_FEATURES, the bits of a VMSA that say which protections the guest runs with
 * (AMD APM vol. 2, table B-4, offset 3B0h).
 */

/** Names by bit. Bits that are not here are reserved. */
export const SEV_FEATURES: Readonly<Record<number, string>> = {
  0: 'SNP',
  1: 'vTOM',
  2: 'ReflectVC',
  3: 'RestrictedInjection',
  4: 'AlternateInjection',
  5: 'DebugSwap',
  6: 'PreventHostIBS',
  7: 'BTBIsolation',
  8: 'VmplSSS',
  9: 'SecureTSC',
  10: 'VmgexitParameter',
  12: 'IbsVirtualization',
  14: 'VmsaRegProt',
  15: 'SmtProtection',
};

/** `0x21 (SNP, DebugSwap)`. */
export function describeFeatures(features: bigint): string {
  const names = Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (features >> BigInt(bit)) & 1n)
    .map((bit) => SEV_FEATURES[bit] ?? `bit ${bit}`);
  return `0x${features.toString(16)}${names.length === 0 ? '' : ` (${names.join(', ')})`}`;
}
