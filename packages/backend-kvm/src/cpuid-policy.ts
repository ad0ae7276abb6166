/**
 * What CPUID tells a guest on KVM: the model that the emulated processor shows as well, less what
 * this host cannot do; or the host's own processor (`host`).
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_SET_CPUID2). KVM itself keeps OSXSAVE, OSPKE, the
 * APIC bit and the sizes of leaf 0xd up to date while the guest runs. The frequencies of leaf
 * 0x40000010 are the host's.
 */
import type { CpuidValue } from '@cloister/core';
import { CpuidTable, type CpuSelection, FEATURES, xcr0Mask } from '@cloister/core/cpu';
import { CPUID_FLAG, VM_TYPE } from './abi/constants.js';
import { StructView } from './abi/struct.js';
import { CPUID_ENTRY2, CPUID2 } from './abi/structs.js';
import type { CpuidEntry } from './host.js';

/** `CPU model` or `host`. */
export type CpuChoice = CpuSelection | 'host';

export interface CpuidRequest {
  readonly cpu: CpuChoice;
  readonly supported: readonly CpuidEntry[];
  readonly cpus: number;
  readonly index: number;
  /** Frequency of the guest's TSC. */
  readonly tscKhz: number;
  /** What leaf 8000_001F EAX may say: the encryption that the VM's type stands for. */
  readonly encryption?: number;
}

/** Bits that KVM adds by the state of the guest, whatever the list says. */
const DYNAMIC: ReadonlySet<string> = new Set(['apic', 'hypervisor', 'x2apic', 'tsc_deadline']);

const STATE = { cr4: 0, xcr0: 1, apicEnabled: true };
const TIMING = 0x40000010;
const EXTENDED_TOPOLOGY = 0xb;
const XSAVE = 0xd;
const CACHES = 0x8000001d;
const ENCRYPTION = 0x8000001f;
/** EAX of that leaf (AMD APM vol. 3, E.4.17). */
const [SEV, SEV_ES, SNP, COHERENT] = [1 << 1, 1 << 3, 1 << 4, 1 << 10];
/** By VM type. */
const ENCRYPTION_OF: ReadonlyMap<number, number> = new Map([
  [VM_TYPE.SEV_VM, SEV | COHERENT],
  [VM_TYPE.SEV_ES_VM, SEV | SEV_ES | COHERENT],
  [VM_TYPE.SNP_VM, SEV | SEV_ES | SNP | COHERENT],
]);

export const encryptionOf = (vmType: number): number => ENCRYPTION_OF.get(vmType) ?? 0;

type Words = Omit<CpuidEntry, 'flags'>;

const find = (list: readonly CpuidEntry[], leaf: number, subleaf = 0) =>
  list.find((each) => each.leaf === leaf && each.subleaf === subleaf);

/** Features of the model that this host cannot give a guest. */
export function missingFeatures(cpu: CpuSelection, supported: readonly CpuidEntry[]): string[] {
  return [...cpu.features].filter((name) => {
    const place = FEATURES.get(name);
    if (place === undefined || DYNAMIC.has(name)) return false;
    const entry = find(supported, place.leaf, place.subleaf);
    return entry === undefined || ((entry[place.register] >>> place.bit) & 1) === 0;
  });
}

/** Bytes for KVM_SET_CPUID2. */
export function cpuidList(request: CpuidRequest): Uint8Array {
  const entries = withEncryption(
    request,
    request.cpu === 'host' ? hostEntries(request) : modelEntries(request, request.cpu),
  );
  const bytes = new Uint8Array(CPUID2.size + entries.length * CPUID_ENTRY2.size);
  new StructView(CPUID2, bytes).set('nent', entries.length);
  entries.forEach((entry, index) => {
    new StructView(CPUID_ENTRY2, bytes, CPUID2.size + index * CPUID_ENTRY2.size)
      .set('function', entry.leaf)
      .set('index', entry.subleaf)
      .set('flags', entry.flags)
      .set('eax', entry.eax)
      .set('ebx', entry.ebx)
      .set('ecx', entry.ecx)
      .set('edx', entry.edx);
  });
  return bytes;
}

/** Where the C-bit lies, the host knows; what is encrypted, the VM's type. */
function withEncryption({ supported, encryption = 0 }: CpuidRequest, list: readonly CpuidEntry[]) {
  const host = find(supported, ENCRYPTION);
  const others = list.filter(({ leaf }) => leaf !== ENCRYPTION);
  const none = { leaf: ENCRYPTION, subleaf: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  if (host === undefined || encryption === 0) return [...others, none];
  return [...others, { ...host, flags: 0, eax: (host.eax & encryption) >>> 0 }];
}

/** Bit of table entries that encrypts, as this host has it; undefined on one without SEV. */
export function cBitOf(supported: readonly CpuidEntry[]): number | undefined {
  const entry = find(supported, ENCRYPTION);
  return entry !== undefined && (entry.eax & SEV) !== 0 ? entry.ebx & 0x3f : undefined;
}

/** The host's list with this vCPU's place in it. */
function hostEntries({ supported, cpus, index }: CpuidRequest): CpuidEntry[] {
  return supported
    .filter(({ leaf }) => leaf !== EXTENDED_TOPOLOGY && leaf !== 0x1f)
    .map((entry) => {
      if (entry.leaf === 1) {
        const ebx = (entry.ebx & 0xff00) | ((cpus & 0xff) << 16) | (index << 24);
        return { ...entry, ebx: ebx >>> 0, ecx: (entry.ecx | (1 << 31)) >>> 0 };
      }
      if (entry.leaf === 0x80000008) return { ...entry, ecx: cpus - 1 };
      return entry;
    })
    .concat(topologyEntries(cpus, index));
}

function topologyEntries(cpus: number, index: number): CpuidEntry[] {
  const bits = Math.ceil(Math.log2(Math.max(1, cpus)));
  const flags = CPUID_FLAG.SIGNIFCANT_INDEX;
  const leaf = EXTENDED_TOPOLOGY;
  return [
    { leaf, subleaf: 0, flags, eax: 0, ebx: 1, ecx: 0x100, edx: index },
    { leaf, subleaf: 1, flags, eax: bits, ebx: cpus, ecx: 0x201, edx: index },
  ];
}

function modelEntries(request: CpuidRequest, cpu: CpuSelection): CpuidEntry[] {
  const { supported, cpus, index } = request;
  const missing = new Set(missingFeatures(cpu, supported));
  const has = (feature: string) => cpu.features.has(feature) && !missing.has(feature);
  const features = new Set([...cpu.features].filter(has));
  const table = new CpuidTable(
    { model: cpu.model, features, has },
    { cpus, index, physicalBits: physicalBits(cpu, supported), extensions: [] },
  );
  return leaves(cpu)
    .map(([leaf, subleaf, indexed]) => {
      const out: CpuidValue = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
      table.query(leaf, subleaf, STATE, out, null);
      if (leaf === TIMING) out.eax = request.tscKhz;
      const flags = indexed ? CPUID_FLAG.SIGNIFCANT_INDEX : 0;
      return { leaf, subleaf, flags, ...out };
    })
    .flatMap((entry) => (entry.leaf === XSAVE ? xsaveEntries(supported, has) : [entry]));
}

/** Leaves that the model's table answers, with their subleaves. */
function leaves(cpu: CpuSelection): (readonly [number, number, boolean])[] {
  const list: (readonly [number, number, boolean])[] = [];
  for (let leaf = 0; leaf <= 0x10; leaf++) {
    const indexed = leaf === 7 || leaf === EXTENDED_TOPOLOGY || leaf === XSAVE;
    list.push([leaf, 0, indexed]);
    if (leaf === EXTENDED_TOPOLOGY) list.push([leaf, 1, true], [leaf, 2, true]);
  }
  if (cpu.has('hypervisor'))
    list.push([0x40000000, 0, false], [0x40000001, 0, false], [TIMING, 0, false]);
  for (let leaf = 0x80000000; leaf <= 0x80000021; leaf++) {
    if (leaf !== CACHES) list.push([leaf, 0, false]);
    else for (let cache = 0; cache < 5; cache++) list.push([leaf, cache, true]);
  }
  return list;
}

/** The layout of the XSAVE area is the host's; the guest sees the components of its model. */
function xsaveEntries(
  supported: readonly CpuidEntry[],
  has: (feature: string) => boolean,
): CpuidEntry[] {
  const mask = xcr0Mask(has);
  if (mask === 0) return [];
  return supported
    .filter(
      ({ leaf, subleaf }) => leaf === XSAVE && (subleaf < 2 || ((mask >>> subleaf) & 1) === 1),
    )
    .map((entry) => {
      if (entry.subleaf === 0) return { ...entry, eax: (entry.eax & mask) >>> 0, edx: 0 };
      if (entry.subleaf !== 1) return entry;
      const bit = (feature: string, at: number) => (has(feature) ? 1 << at : 0);
      const eax = bit('xsaveopt', 0) | bit('xsavec', 1) | bit('xgetbv1', 2);
      return { ...entry, eax: entry.eax & eax, ecx: 0, edx: 0 };
    });
}

function physicalBits(cpu: CpuSelection, supported: readonly CpuidEntry[]): number {
  const host = find(supported, 0x80000008)?.eax ?? 36;
  return Math.min(cpu.model.physicalBits, host & 0xff);
}

/** EDX after reset, as on the emulated processor: the signature. */
export function signatureOf(cpu: CpuChoice, supported: readonly CpuidEntry[]): number {
  return cpu === 'host'
    ? ((find(supported, 1) as Words | undefined)?.eax ?? 0)
    : cpu.model.signature;
}
