/**
 * CPU models as data: who the processor says it is, and what it has.
 *
 * `cloister-v1` has the signature of an EPYC 7003 ("Milan", family 19h model 01h stepping 1): the
 * first generation with SEV-SNP, without AVX-512 in anyone's expectations of it, and of a family
 * that Linux does not believe vulnerable to Retbleed. Its features are those that the emulated
 * processor implements, not Milan's: no AVX; on the other hand it states immunities that Milan does
 * not have (BTC_NO, SRSO_NO, TSA_*_NO) and AutoIBRS of the next generation, all true of an
 * interpreter that speculates nothing, so that kernels need no retpolines, no return thunks and no
 * flushing; and SERIALIZE, which AMD's processors do not have, since without it Linux serializes by
 * an IRET for each piece of code that it alters, 109,000 in a boot. IBPB, STIBP and SSBD are not
 * stated: there is nothing to barrier.
 */

export interface CacheLevel {
  readonly level: 1 | 2 | 3;
  readonly type: 'data' | 'instruction' | 'unified';
  readonly size: number;
  readonly ways: number;
}

export interface CpuModel {
  readonly name: string;
  /** Twelve characters, in EBX, EDX, ECX of leaf 0. */
  readonly vendor: string;
  /** EAX of leaf 1, and EDX after reset. */
  readonly signature: number;
  /** At most 47 characters. */
  readonly brand: string;
  /** MSR 0x8b. */
  readonly patchLevel: number;
  /** Bits of a guest-physical address; memory encryption takes some of them away. */
  readonly physicalBits: number;
  /** What memory encryption would use: bit of the C-bit, and how many address bits it costs. */
  readonly cBit: number;
  readonly physicalBitReduction: number;
  readonly features: readonly string[];
  /** Of each core, but for level 3, which all share. */
  readonly caches: readonly CacheLevel[];
}

const KIB = 1024;

function words(text: string): readonly string[] {
  return text.trim().split(/\s+/);
}

const CLOISTER_V1: CpuModel = {
  name: 'cloister-v1',
  vendor: 'AuthenticAMD',
  signature: 0x00a00f11,
  brand: 'Cloister Virtual CPU',
  patchLevel: 0x0a0011ff,
  physicalBits: 46,
  cBit: 51,
  physicalBitReduction: 5,
  features: words(`
    fpu de pse tsc msr pae cx8 apic sep mtrr pge cmov pat pse36 clflush mmx mmxext fxsr
    sse sse2 sse3 ssse3
    sse4_1 sse4_2 movbe aes pclmulqdq sha_ni bmi1 bmi2 abm adx
    clflushopt clwb 3dnowprefetch erms fsrm serialize xsave xsaveopt xsavec xgetbv1 xsaveerptr
    x2apic tsc_deadline tsc_adjust rdrand rdseed rdpid arat hypervisor
    cx16 popcnt fsgsbase smep smap umip pku pcid invpcid pdpe1gb
    syscall nx rdtscp lm lahf_lm topoext constant_tsc
    lfence_rdtsc null_seg_base auto_ibrs ssb_no btc_no srso_no tsa_sq_no tsa_l1_no
    kvmclock kvmclock2 kvmclock_stable kvm_nopiodelay kvm_pv_eoi
  `),
  caches: [
    { level: 1, type: 'data', size: 32 * KIB, ways: 8 },
    { level: 1, type: 'instruction', size: 32 * KIB, ways: 8 },
    { level: 2, type: 'unified', size: 512 * KIB, ways: 8 },
    { level: 3, type: 'unified', size: 32 * KIB * KIB, ways: 16 },
  ],
};

/** The same processor with the signature of another generation, for software that goes by it. */
const MODELS: readonly CpuModel[] = [
  CLOISTER_V1,
  // EPYC 7002 ("Rome", family 17h model 31h): the last generation without SEV-SNP.
  { ...CLOISTER_V1, name: 'cloister-v1-rome', signature: 0x00830f10, patchLevel: 0x083010ff },
  // EPYC 9004 ("Genoa", family 19h model 11h).
  { ...CLOISTER_V1, name: 'cloister-v1-genoa', signature: 0x00a10f11, patchLevel: 0x0a1011ff },
];

export const CPU_MODELS: ReadonlyMap<string, CpuModel> = new Map(
  MODELS.map((model) => [model.name, model]),
);

export const DEFAULT_CPU_MODEL = CLOISTER_V1.name;

/** Features that are implemented but that a VM must ask for: `--cpu MODEL,+feature`. */
export const OPTIONAL_FEATURES: ReadonlySet<string> = new Set(words('la57 ibpb ibrs stibp ssbd'));
