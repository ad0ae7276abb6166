/**
 * Which CPUID registers the program `probe-features` leaves for the host, and what they say.
 */
import { FEATURES } from '../../cpu/features.js';

/** Where `probe-features` writes: registers in the order of the list, 4 bytes each. */
export const FEATURES_AT = 0x700;
export const FEATURES_SIZE = 24;

const REGISTERS = [
  [1, 'edx'],
  [1, 'ecx'],
  [7, 'ebx'],
  [7, 'ecx'],
  [0x80000001, 'edx'],
  [0x80000001, 'ecx'],
] as const;

/** Whether the registers that `probe-features` wrote state `feature`, a name as /proc/cpuinfo's. */
export function hasFeature(registers: Uint8Array, feature: string): boolean {
  const bit = FEATURES.get(feature);
  const index = REGISTERS.findIndex(
    ([leaf, register]) => leaf === bit?.leaf && register === bit.register && bit.subleaf === 0,
  );
  if (bit === undefined || index < 0) throw new Error(`the kit knows no feature ${feature}`);
  const view = new DataView(registers.buffer, registers.byteOffset, registers.byteLength);
  return ((view.getUint32(index * 4, true) >>> bit.bit) & 1) !== 0;
}
