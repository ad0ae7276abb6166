/**
 * CPUID: the table of a selected CPU, completed with what depends on the vCPU and its state.
 *
 * Source: AMD APM vol. 3, appendix E. A leaf out of range or reserved reads as zeros, as on AMD's
 * processors (Intel's answer with their highest leaf instead).
 */
import type { CpuExtension, CpuidValue, ExtensionVcpu } from '../interfaces/index.js';
import { FEATURES, MIRRORED_EDX } from './features.js';
import { kvmLeaf } from './kvm-leaves.js';
import type { CpuSelection } from './selection.js';
import * as topology from './topology.js';
import * as xsave from './xsave-layout.js';

/** What CPUID's answer depends on besides the model. */
export interface CpuidState {
  /** CR4, low 32 bits. */
  readonly cr4: number;
  /** XCR0, low 32 bits. */
  readonly xcr0: number;
  /** Whether APIC_BASE has the APIC switched on. */
  readonly apicEnabled: boolean;
}

export interface CpuidOptions {
  readonly cpus: number;
  readonly index: number;
  /** Bits of a guest-physical address; what SEV takes away is stated in leaf 0x8000001f only. */
  readonly physicalBits: number;
  readonly extensions: readonly CpuExtension[];
}

const MAX_BASIC = 0x10;
const MAX_EXTENDED = 0x80000021;
const CR4_OSXSAVE = 1 << 18;
const CR4_PKE = 1 << 22;
const EDX_APIC = 1 << 9;

export class CpuidTable {
  private readonly bits = new Map<number, CpuidValue>();

  constructor(
    private readonly cpu: CpuSelection,
    private readonly options: CpuidOptions,
  ) {
    for (const feature of cpu.features) {
      const place = FEATURES.get(feature);
      if (place === undefined) continue;
      const entry = this.entry(place.leaf, place.subleaf);
      entry[place.register] = (entry[place.register] | (1 << place.bit)) >>> 0;
    }
  }

  /**
   * Answers CPUID into `out`. `vcpu` is passed to the extensions, which change the answer last.
   */
  query(
    leaf: number,
    subleaf: number,
    state: CpuidState,
    out: CpuidValue,
    vcpu: ExtensionVcpu | null,
  ): void {
    out.eax = 0;
    out.ebx = 0;
    out.ecx = 0;
    out.edx = 0;
    const region = leaf >>> 16;
    if (region === 0) this.basic(leaf, subleaf, state, out);
    else if (region === 0x8000) this.extended(leaf, subleaf, state, out);
    else if (leaf >>> 8 === 0x400000 && this.cpu.has('hypervisor')) {
      this.features(leaf, 0, out);
      kvmLeaf(leaf, out);
    }
    for (const extension of this.options.extensions) {
      if (vcpu !== null) extension.cpuid?.(leaf, subleaf, out, vcpu);
    }
    out.eax >>>= 0;
    out.ebx >>>= 0;
    out.ecx >>>= 0;
    out.edx >>>= 0;
  }

  private entry(leaf: number, subleaf: number): CpuidValue {
    const key = leaf * 256 + subleaf;
    let entry = this.bits.get(key);
    if (entry === undefined) {
      entry = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
      this.bits.set(key, entry);
    }
    return entry;
  }

  /** Starts `out` with the feature bits of a leaf. */
  private features(leaf: number, subleaf: number, out: CpuidValue): void {
    const entry = this.bits.get(leaf * 256 + subleaf);
    if (entry !== undefined) Object.assign(out, entry);
  }

  private basic(leaf: number, subleaf: number, state: CpuidState, out: CpuidValue): void {
    const { cpus, index } = this.options;
    switch (leaf) {
      case 0:
        out.eax = MAX_BASIC;
        this.vendor(out);
        return;
      case 1:
        this.features(1, 0, out);
        this.processor(state, out);
        return;
      case 6:
        this.features(6, 0, out);
        return;
      case 7:
        if (subleaf !== 0) return;
        this.features(7, 0, out);
        if (this.cpu.has('pku') && (state.cr4 & CR4_PKE) !== 0) out.ecx |= 1 << 4;
        return;
      case 0xb:
        topology.extendedTopology(subleaf, cpus, index, out);
        return;
      case 0xd:
        if (this.cpu.has('xsave')) this.xsave(subleaf, state, out);
        return;
      default:
    }
  }

  private extended(leaf: number, subleaf: number, state: CpuidState, out: CpuidValue): void {
    const { cpus, index } = this.options;
    const { model } = this.cpu;
    switch (leaf) {
      case 0x80000000:
        out.eax = MAX_EXTENDED;
        this.vendor(out);
        return;
      case 0x80000001:
        this.features(leaf, 0, out);
        out.eax = model.signature;
        out.edx |= (this.entry(1, 0).edx & MIRRORED_EDX) >>> 0;
        if (!state.apicEnabled) out.edx &= ~EDX_APIC;
        if (cpus > 1) out.ecx |= 2;
        return;
      case 0x80000002:
      case 0x80000003:
      case 0x80000004:
        this.brand(leaf - 0x80000002, out);
        return;
      case 0x80000005:
        topology.firstLevelCaches(model, out);
        return;
      case 0x80000006:
        topology.outerCaches(model, out);
        return;
      case 0x80000008:
        this.features(leaf, 0, out);
        out.eax = this.options.physicalBits | ((this.cpu.has('la57') ? 57 : 48) << 8);
        out.ecx = (cpus - 1) | (topology.coreIdBits(cpus) << 12);
        return;
      case 0x8000001d:
        if (this.cpu.has('topoext')) topology.cacheTopology(subleaf, cpus, model, out);
        return;
      case 0x8000001f:
        // Where the C-bit would be. That there is encryption at all, an extension says.
        out.ebx = model.cBit | (model.physicalBitReduction << 6);
        return;
      case 0x8000001e:
        if (!this.cpu.has('topoext')) return;
        out.eax = index;
        out.ebx = index & 0xff;
        return;
      default:
        this.features(leaf, subleaf, out);
    }
  }

  private vendor(out: CpuidValue): void {
    const { vendor } = this.cpu.model;
    out.ebx = word(vendor, 0);
    out.edx = word(vendor, 4);
    out.ecx = word(vendor, 8);
  }

  private processor(state: CpuidState, out: CpuidValue): void {
    const { cpus, index } = this.options;
    out.eax = this.cpu.model.signature;
    // Initial APIC ID, logical processors, CLFLUSH line in units of 8 bytes.
    out.ebx = ((index & 0xff) << 24) | ((cpus & 0xff) << 16) | (8 << 8);
    if (cpus > 1) out.edx |= 1 << 28;
    if (!state.apicEnabled) out.edx &= ~EDX_APIC;
    if (this.cpu.has('xsave') && (state.cr4 & CR4_OSXSAVE) !== 0) out.ecx |= 1 << 27;
  }

  private brand(part: number, out: CpuidValue): void {
    const text = this.cpu.model.brand.padEnd(48, '\0');
    out.eax = word(text, part * 16);
    out.ebx = word(text, part * 16 + 4);
    out.ecx = word(text, part * 16 + 8);
    out.edx = word(text, part * 16 + 12);
  }

  private xsave(subleaf: number, state: CpuidState, out: CpuidValue): void {
    const mask = xsave.xcr0Mask(this.cpu.has);
    if (subleaf === 0) {
      out.eax = mask;
      out.ebx = xsave.standardSize(state.xcr0 & mask);
      out.ecx = xsave.standardSize(mask);
    } else if (subleaf === 1) {
      this.features(0xd, 1, out);
      if (this.cpu.has('xsavec')) out.ebx = xsave.compactedSize(state.xcr0 & mask);
    } else if (subleaf === xsave.PKRU_COMPONENT && this.cpu.has('pku')) {
      out.eax = xsave.PKRU_SIZE;
      out.ebx = xsave.PKRU_OFFSET;
    }
  }
}

/** Four characters of `text` as a little-endian word. */
function word(text: string, from: number): number {
  let value = 0;
  for (let index = 3; index >= 0; index--) value = (value << 8) | text.charCodeAt(from + index);
  return value >>> 0;
}
