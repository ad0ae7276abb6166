/**
 * The model-specific registers of one vCPU: RDMSR and WRMSR by table.
 *
 * Order of answers: an extension that claims the index, the table, a handler of `msr` exits; else
 * #GP(0), counted in `refused`.
 */
import type { CpuExtension, ExtensionVcpu, MsrValue } from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import type { LocalApic } from '../apic/local-apic.js';
import type { MsrEntry } from './entry.js';
import type { MsrCpu } from './ports.js';

export interface MsrFileParts {
  readonly entries: readonly MsrEntry[];
  readonly apic: LocalApic;
  readonly cpu: MsrCpu;
  readonly extensions: readonly CpuExtension[];
  /** What extensions are called with; absent while there are none. */
  readonly vcpu: ExtensionVcpu | null;
}

export class MsrFile {
  /** Result of the last `read`, unsigned. */
  lo = 0;
  hi = 0;
  /** Accesses to MSRs that do not exist. */
  refused = 0;
  private readonly entries = new Map<number, MsrEntry>();
  private readonly claimed = new Map<number, CpuExtension>();
  private readonly value: MsrValue = { lo: 0, hi: 0 };

  constructor(private readonly parts: MsrFileParts) {
    for (const entry of parts.entries) this.entries.set(entry.index, entry);
    for (const extension of parts.extensions) {
      for (const index of extension.msrs ?? []) this.claimed.set(index >>> 0, extension);
    }
  }

  /** RDMSR; false means #GP(0). The value is in `lo` and `hi`. */
  read(index: number): boolean {
    const { value } = this;
    value.lo = 0;
    value.hi = 0;
    const done = this.readInto(index >>> 0, value);
    this.lo = value.lo >>> 0;
    this.hi = value.hi >>> 0;
    return done;
  }

  /** WRMSR; false means #GP(0). */
  write(index: number, lo: number, hi: number): boolean {
    const unsigned = index >>> 0;
    const extension = this.claimed.get(unsigned);
    if (extension !== undefined && this.parts.vcpu !== null) {
      const value = { lo: lo >>> 0, hi: hi >>> 0 };
      return extension.writeMsr?.(unsigned, value, this.parts.vcpu) === 'ok';
    }
    const entry = this.entries.get(unsigned);
    if (entry !== undefined) return entry.write(lo >>> 0, hi >>> 0);
    if (unsigned >= msr.X2APIC_FIRST && unsigned <= msr.X2APIC_LAST) {
      return this.parts.apic.writeMsr(unsigned, lo >>> 0, hi >>> 0);
    }
    return this.unknown('write', unsigned, { lo: lo >>> 0, hi: hi >>> 0 });
  }

  /** Index and name of every register of the table, for reports. */
  list(): readonly (readonly [number, string])[] {
    return [...this.entries.values()].map(({ index, name }) => [index, name] as const);
  }

  private readInto(index: number, value: MsrValue): boolean {
    const extension = this.claimed.get(index);
    if (extension !== undefined && this.parts.vcpu !== null) {
      return extension.readMsr?.(index, value, this.parts.vcpu) === 'ok';
    }
    const entry = this.entries.get(index);
    if (entry !== undefined) return entry.read(value);
    if (index >= msr.X2APIC_FIRST && index <= msr.X2APIC_LAST) {
      const { apic } = this.parts;
      if (!apic.readMsr(index)) return false;
      value.lo = apic.lo;
      value.hi = apic.hi;
      return true;
    }
    return this.unknown('read', index, value);
  }

  private unknown(direction: 'read' | 'write', index: number, value: MsrValue): boolean {
    if (this.parts.cpu.unknownMsr(direction, index, value)) return true;
    this.refused++;
    return false;
  }
}
