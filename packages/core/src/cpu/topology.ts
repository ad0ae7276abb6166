/**
 * How CPUs share a package: one package, one thread per core, APIC IDs equal to indices.
 *
 * Source: AMD APM vol. 3, E.3.7 (0xb), E.4.7 (0x80000008), E.4.15 (0x8000001d),
 * E.4.16 (0x8000001e).
 */
import type { CpuidValue } from '../interfaces/index.js';
import type { CacheLevel, CpuModel } from './models.js';

const LINE_SIZE = 64;
const KIB = 1024;

/** Bits of an APIC ID that number the cores of the package. */
export function coreIdBits(cpus: number): number {
  return cpus <= 1 ? 0 : 32 - Math.clz32(cpus - 1);
}

/** Leaf 0xb: threads of a core, then cores of the package, then no more levels. */
export function extendedTopology(subleaf: number, cpus: number, id: number, out: CpuidValue): void {
  out.ecx = subleaf & 0xff;
  out.edx = id;
  if (subleaf === 0) {
    out.ebx = 1;
    out.ecx |= 1 << 8;
  } else if (subleaf === 1) {
    out.eax = coreIdBits(cpus);
    out.ebx = cpus;
    out.ecx |= 2 << 8;
  }
}

/** Leaf 0x8000001d: one cache per subleaf, then type 0. */
export function cacheTopology(subleaf: number, cpus: number, model: CpuModel, out: CpuidValue) {
  const cache = model.caches[subleaf];
  if (cache === undefined) return;
  const type = { data: 1, instruction: 2, unified: 3 }[cache.type];
  const sharing = cache.level === 3 ? cpus - 1 : 0;
  out.eax = (type | (cache.level << 5) | (1 << 8) | (sharing << 14)) >>> 0;
  out.ebx = (((cache.ways - 1) << 22) | (LINE_SIZE - 1)) >>> 0;
  out.ecx = cache.size / (cache.ways * LINE_SIZE) - 1;
  // Inclusive of the lower levels: the second is, the third is a victim cache.
  out.edx = cache.level === 2 ? 2 : 0;
}

/** Leaf 0x80000005: first-level caches; the TLB fields say nothing. */
export function firstLevelCaches(model: CpuModel, out: CpuidValue): void {
  const describe = (type: CacheLevel['type']) => {
    const cache = model.caches.find((entry) => entry.level === 1 && entry.type === type);
    if (cache === undefined) return 0;
    return (((cache.size / KIB) << 24) | (cache.ways << 16) | (1 << 8) | LINE_SIZE) >>> 0;
  };
  out.ecx = describe('data');
  out.edx = describe('instruction');
}

/** Associativity codes of leaf 0x80000006. */
const WAYS_CODE: Readonly<Record<number, number>> = { 1: 1, 2: 2, 4: 4, 8: 6, 16: 8, 32: 10 };

/** Leaf 0x80000006: second level in KiB, third in units of 512 KiB. */
export function outerCaches(model: CpuModel, out: CpuidValue): void {
  for (const { level, size, ways } of model.caches) {
    const shape = ((WAYS_CODE[ways] ?? 0) << 12) | (1 << 8) | LINE_SIZE;
    if (level === 2) out.ecx = (((size / KIB) << 16) | shape) >>> 0;
    if (level === 3) out.edx = (((size / (512 * KIB)) << 18) | shape) >>> 0;
  }
}
