/**
 * The extensions of a VM, and what of them there can be one of only.
 */
import { type CpuExtension, type FrameCipher, VmmError } from '@cloister/core';

export class ExtensionSet {
  /** Whose `fill` decides about pages. */
  readonly policy: CpuExtension | null;
  readonly cipher: FrameCipher | null;
  /** Physical-address bits that they take away, all together. */
  readonly bitReduction: number;
  /** Bits 51:32 of table entries that they give a meaning, as a mask. */
  readonly tableBitsHi: number;

  constructor(extensions: readonly CpuExtension[]) {
    this.policy = only(extensions, 'fill');
    this.cipher = only(extensions, 'cipher')?.cipher ?? null;
    this.bitReduction = extensions.reduce((sum, each) => sum + (each.physicalBitReduction ?? 0), 0);
    this.tableBitsHi = extensions
      .flatMap((each) => [...(each.tableBits ?? [])])
      .reduce((mask, bit) => mask | maskOf(bit), 0);
  }
}

function maskOf(bit: number): number {
  if (Number.isInteger(bit) && bit >= 32 && bit <= 51) return 1 << (bit - 32);
  throw new VmmError(
    'invalid-argument',
    `${bit} is not a bit of a table entry's address (32 to 51)`,
  );
}

function only(extensions: readonly CpuExtension[], member: 'fill' | 'cipher'): CpuExtension | null {
  const [first, second] = extensions.filter((each) => each[member] !== undefined);
  if (second === undefined) return first ?? null;
  const names = `${first!.name} and ${second.name}`;
  throw new VmmError('plugin-conflict', `CPU extensions ${names} both have ${member}`, {
    remedy: 'use one of them',
  });
}
