/**
 * CPU features by name: the CPUID bits that state them. Turning one on is one word in a model's
 * list; parts of the processor ask `has(name)` and never look at CPUID themselves.
 *
 * Source: AMD APM vol. 3, appendix E, and Linux Documentation/virt/kvm/x86/cpuid.rst (0x40000001);
 * names as Linux prints them in /proc/cpuinfo, else as the manual's field in lower case.
 * Bits that are not fixed by the model (OSXSAVE, OSPKE, HTT, CmpLegacy) are formed in `table.ts`.
 */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';

interface Register {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
}

export interface FeatureBit extends Register {
  readonly bit: number;
}

const at = (leaf: number, register: CpuidRegister, subleaf = 0): Register => ({
  leaf,
  subleaf,
  register,
});

/** Every register of feature bits, with the names of the bits that a model may state. */
// biome-ignore format: a table reads better in full lines
const REGISTERS: readonly (readonly [Register, Readonly<Record<string, number>>])[] = [
  [
    at(1, 'edx'),
    {
      fpu: 0, vme: 1, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, cx8: 8, apic: 9, sep: 11,
      mtrr: 12, pge: 13, cmov: 15, pat: 16, pse36: 17, clflush: 19, mmx: 23, fxsr: 24,
      sse: 25, sse2: 26,
    },
  ],
  [
    at(1, 'ecx'),
    {
      sse3: 0, pclmulqdq: 1, ssse3: 9, cx16: 13, pcid: 17, sse4_1: 19, sse4_2: 20,
      x2apic: 21, movbe: 22, popcnt: 23, tsc_deadline: 24, aes: 25, xsave: 26, rdrand: 30,
      hypervisor: 31,
    },
  ],
  [at(6, 'eax'), { arat: 2 }],
  [
    at(7, 'ebx'),
    {
      fsgsbase: 0, tsc_adjust: 1, bmi1: 3, smep: 7, bmi2: 8, erms: 9, invpcid: 10, rdseed: 18,
      adx: 19, smap: 20, clflushopt: 23, clwb: 24, sha_ni: 29,
    },
  ],
  [at(7, 'ecx'), { umip: 2, pku: 3, la57: 16, rdpid: 22 }],
  [at(7, 'edx'), { fsrm: 4, serialize: 14 }],
  [at(0xd, 'eax', 1), { xsaveopt: 0, xsavec: 1, xgetbv1: 2 }],
  [
    at(0x80000001, 'ecx'),
    { lahf_lm: 0, cr8_legacy: 4, abm: 5, '3dnowprefetch': 8, topoext: 22 },
  ],
  [
    at(0x80000001, 'edx'),
    { syscall: 11, nx: 20, mmxext: 22, fxsr_opt: 25, pdpe1gb: 26, rdtscp: 27, lm: 29 },
  ],
  [at(0x80000007, 'edx'), { constant_tsc: 8 }],
  [
    at(0x80000008, 'ebx'),
    {
      xsaveerptr: 2, ibpb: 12, ibrs: 14, stibp: 15, ssbd: 24, ssb_no: 26, btc_no: 29,
    },
  ],
  [
    at(0x80000021, 'eax'),
    { lfence_rdtsc: 2, null_seg_base: 6, auto_ibrs: 8, srso_no: 29 },
  ],
  [at(0x80000021, 'ecx'), { tsa_sq_no: 1, tsa_l1_no: 2 }],
  [
    at(0x40000001, 'eax'),
    { kvmclock: 0, kvm_nopiodelay: 1, kvmclock2: 3, kvm_pv_eoi: 6, kvmclock_stable: 24 },
  ],
];

/** Bits of 0x80000001 EDX that repeat 1 EDX on AMD's processors. */
export const MIRRORED_EDX = 0x0183f3ff;

export const FEATURES: ReadonlyMap<string, FeatureBit> = new Map(
  REGISTERS.flatMap(([register, names]) =>
    Object.entries(names).map(([name, bit]) => [name, { ...register, bit }] as const),
  ),
);

/** What a feature is nothing without. */
export const REQUIRES: Readonly<Record<string, readonly string[]>> = {
  sse: ['fxsr'],
  sse2: ['sse'],
  sse3: ['sse2'],
  ssse3: ['sse3'],
  sse4_1: ['ssse3'],
  sse4_2: ['sse4_1'],
  aes: ['sse2'],
  pclmulqdq: ['sse2'],
  sha_ni: ['ssse3'],
  xsaveopt: ['xsave'],
  xsavec: ['xsave'],
  xgetbv1: ['xsave'],
  xsaveerptr: ['fxsr'],
  pku: ['xsave', 'lm'],
  pcid: ['lm'],
  invpcid: ['pcid'],
  lm: ['pae', 'msr'],
  nx: ['pae'],
  pdpe1gb: ['lm'],
  pse36: ['pse'],
  fsgsbase: ['lm'],
  cx16: ['cx8', 'lm'],
  tsc_adjust: ['tsc', 'msr'],
  la57: ['lm'],
  x2apic: ['apic', 'msr'],
  tsc_deadline: ['apic', 'msr', 'tsc'],
  rdtscp: ['tsc'],
  kvmclock: ['hypervisor', 'tsc', 'msr'],
  kvmclock2: ['hypervisor', 'tsc', 'msr'],
  kvm_pv_eoi: ['hypervisor', 'apic', 'msr'],
};
