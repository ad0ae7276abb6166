/**
 * Instructions that a processor has only where an extension of its VM names and executes them.
 *
 * Source: AMD APM vol. 3, chapter 4 (PSMASH, PVALIDATE, RMPADJUST, RMPQUERY, RMPUPDATE, VMGEXIT);
 * Intel TDX module specification (TDCALL, SEAMCALL: encodings of Intel SDM vol. 2, appendix A).
 */
import type { Row } from './table/row.js';

export const EXTENSION_INSTRUCTIONS: readonly string[] = [
  'PSMASH',
  'PVALIDATE',
  'RMPADJUST',
  'RMPQUERY',
  'RMPUPDATE',
  'SEAMCALL',
  'TDCALL',
  'VMGEXIT',
];

const PREFIX = 'extension ';

/** What the rows name in place of a CPUID feature. */
export function extensionFeature(mnemonic: string): string {
  return PREFIX + mnemonic;
}

/** Whether a row is an instruction of an extension's. */
export function isExtensionRow({ feature }: Row): boolean {
  return feature.startsWith(PREFIX);
}
