/**
 * CPUID feature bits that programs of the corpus need: where the program `probe-features` leaves
 * the register that states them, and the bit. Names as Linux prints them in /proc/cpuinfo.
 *
 * Source: AMD APM vol. 3, appendix E.
 */

/** Where `probe-features` writes: registers in the order of the list, 4 bytes each. */
export const FEATURES_AT = 0x700;
export const FEATURES_SIZE = 32;

const REGISTERS: readonly Readonly<Record<string, number>>[] = [
  // 1 EDX
  { vme: 1, pse: 3, pae: 6, apic: 9, sep: 11, pge: 13, mmx: 23, fxsr: 24, sse: 25, sse2: 26 },
  // 1 ECX
  { sse3: 0, cx16: 13, pcid: 17, x2apic: 21, popcnt: 23, tsc_deadline: 24, xsave: 26 },
  // 7 EBX
  { fsgsbase: 0, bmi1: 3, smep: 7, bmi2: 8, invpcid: 10, adx: 19, smap: 20 },
  // 7 ECX
  { umip: 2, pku: 3, la57: 16, rdpid: 22 },
  // 0x80000001 EDX
  { syscall: 11, nx: 20, pdpe1gb: 26, rdtscp: 27, lm: 29 },
  // 0x80000001 ECX
  { lahf_lm: 0, cr8_legacy: 4, abm: 5 },
];

/** Whether the registers that `probe-features` wrote state `feature`. */
export function hasFeature(registers: Uint8Array, feature: string): boolean {
  const view = new DataView(registers.buffer, registers.byteOffset, registers.byteLength);
  const index = REGISTERS.findIndex((bits) => bits[feature] !== undefined);
  if (index < 0) throw new Error(`the kit knows no feature ${feature}`);
  return ((view.getUint32(index * 4, true) >>> REGISTERS[index]![feature]!) & 1) !== 0;
}
