/**
 * All of a vCPU's state in the kernel, as bytes: read for a snapshot or as the state to reset to,
 * and written back.
 *
 * Source: Documentation/virt/kvm/api.rst. The order of writing matters: special registers first
 * (they place the APIC), then the APIC, MSRs, and events and run state last.
 */
import type { SnapshotValue } from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import { VmmError } from '@cloister/core/error';
import type { KvmIoctl } from './abi/ioctls.js';
import { type Struct, StructView } from './abi/struct.js';
import * as S from './abi/structs.js';
import { ioctl, type Sys, tryIoctl } from './sys/sys.js';

interface Part {
  readonly name: string;
  readonly type: Struct;
  readonly get: KvmIoctl;
  readonly set: KvmIoctl;
}

/** What may be absent on a host, and whether it is there. */
export interface RecordFeatures {
  readonly lapic: boolean;
  readonly xsave: boolean;
}

const PARTS: readonly (Part & { readonly needs?: keyof RecordFeatures })[] = [
  { name: 'sregs', type: S.SREGS, get: 'GET_SREGS', set: 'SET_SREGS' },
  { name: 'lapic', type: S.LAPIC_STATE, get: 'GET_LAPIC', set: 'SET_LAPIC', needs: 'lapic' },
  { name: 'regs', type: S.REGS, get: 'GET_REGS', set: 'SET_REGS' },
  { name: 'xcrs', type: S.XCRS, get: 'GET_XCRS', set: 'SET_XCRS', needs: 'xsave' },
  { name: 'xsave', type: S.XSAVE, get: 'GET_XSAVE', set: 'SET_XSAVE', needs: 'xsave' },
  { name: 'debugregs', type: S.DEBUGREGS, get: 'GET_DEBUGREGS', set: 'SET_DEBUGREGS' },
  { name: 'events', type: S.VCPU_EVENTS, get: 'GET_VCPU_EVENTS', set: 'SET_VCPU_EVENTS' },
  { name: 'mp_state', type: S.MP_STATE, get: 'GET_MP_STATE', set: 'SET_MP_STATE' },
];

/** A vCPU's state by the names of its parts, `msrs` among them. */
export type VcpuRecord = { readonly [name: string]: SnapshotValue | undefined };

export class VcpuRecords {
  private msrs: readonly number[];

  constructor(
    private readonly sys: Sys,
    private readonly fd: number,
    private readonly features: RecordFeatures,
    msrs: readonly number[],
  ) {
    this.msrs = this.readable(msrs);
  }

  /** The vCPU's state, by part. */
  take(): VcpuRecord {
    const parts = this.parts.map(({ name, type, get }) => {
      const view = new StructView(type);
      ioctl(this.sys, this.fd, get, view.bytes);
      return [name, view.bytes] as const;
    });
    return { ...Object.fromEntries(parts), msrs: this.takeMsrs() };
  }

  /**
   * Looks a saved state through; `VmmError('snapshot-mismatch')` when a part is missing or of
   * another form. What comes back puts the state there, `keepTime` but for the time-stamp counter,
   * and throws what the kernel refuses.
   */
  check(record: VcpuRecord): (keepTime?: boolean) => void {
    const bytesOf = (name: string, size: number | null): Uint8Array => {
      const value = record[name];
      if (value instanceof Uint8Array && (size === null || value.length === size)) return value;
      throw new VmmError('snapshot-mismatch', `the saved vCPU has no ${name} of this host's form`);
    };
    const values = this.parts.map((part) => [part, bytesOf(part.name, part.type.size)] as const);
    const msrs = bytesOf('msrs', null);
    if (msrs.length % S.MSR_ENTRY.size !== 0) {
      throw new VmmError('snapshot-mismatch', "the saved vCPU's MSRs are damaged");
    }
    return (keepTime = false) => {
      for (const [{ set }, bytes] of values) {
        ioctl(this.sys, this.fd, set, bytes.slice());
        if (set === 'SET_SREGS') this.putMsrs(msrs, keepTime);
      }
      // The deadline of the APIC's timer counts only once its mode is there.
      this.putMsrs(msrs, keepTime);
    };
  }

  private get parts(): readonly Part[] {
    return PARTS.filter(({ needs }) => needs === undefined || this.features[needs]);
  }

  private takeMsrs(): Uint8Array {
    const bytes = this.listOf(this.msrs);
    ioctl(this.sys, this.fd, 'GET_MSRS', bytes);
    return bytes.slice(S.MSRS.size);
  }

  private putMsrs(entries: Uint8Array, keepTime: boolean): void {
    const count = entries.length / S.MSR_ENTRY.size;
    const view = new DataView(entries.buffer, entries.byteOffset);
    for (let index = 0; index < count; index++) {
      const number = view.getUint32(index * S.MSR_ENTRY.size, true);
      if (keepTime && (number === msr.TSC || number === msr.TSC_ADJUST)) continue;
      const one = new Uint8Array(S.MSRS.size + S.MSR_ENTRY.size);
      new StructView(S.MSRS, one).set('nmsrs', 1);
      const from = index * S.MSR_ENTRY.size;
      one.set(entries.subarray(from, from + S.MSR_ENTRY.size), S.MSRS.size);
      // Some read as what may not be written; those keep their value.
      tryIoctl(this.sys, this.fd, 'SET_MSRS', one);
    }
  }

  private listOf(indices: readonly number[]): Uint8Array {
    const bytes = new Uint8Array(S.MSRS.size + indices.length * S.MSR_ENTRY.size);
    new StructView(S.MSRS, bytes).set('nmsrs', indices.length);
    indices.forEach((index, at) => {
      new StructView(S.MSR_ENTRY, bytes, S.MSRS.size + at * S.MSR_ENTRY.size).set('index', index);
    });
    return bytes;
  }

  /** KVM stops at the first MSR that this vCPU does not have: leaves those out. */
  private readable(indices: readonly number[]): readonly number[] {
    let left = [...indices];
    const good: number[] = [];
    while (left.length > 0) {
      const done = Math.max(0, tryIoctl(this.sys, this.fd, 'GET_MSRS', this.listOf(left)));
      good.push(...left.slice(0, done));
      left = left.slice(done + 1);
    }
    return good;
  }
}

/** One MSR's value. */
export function readMsr(sys: Sys, fd: number, index: number): bigint {
  const bytes = new Uint8Array(S.MSRS.size + S.MSR_ENTRY.size);
  new StructView(S.MSRS, bytes).set('nmsrs', 1);
  const entry = new StructView(S.MSR_ENTRY, bytes, S.MSRS.size).set('index', index);
  return tryIoctl(sys, fd, 'GET_MSRS', bytes) === 1 ? entry.get64('data') : 0n;
}

/** Several MSRs' values, 0 for those that this vCPU does not have. */
export function readMsrs(sys: Sys, fd: number, indices: readonly number[]): bigint[] {
  const bytes = new Uint8Array(S.MSRS.size + indices.length * S.MSR_ENTRY.size);
  new StructView(S.MSRS, bytes).set('nmsrs', indices.length);
  const entries = indices.map((index, at) =>
    new StructView(S.MSR_ENTRY, bytes, S.MSRS.size + at * S.MSR_ENTRY.size).set('index', index),
  );
  const done = tryIoctl(sys, fd, 'GET_MSRS', bytes);
  if (done === indices.length) return entries.map((entry) => entry.get64('data'));
  return indices.map((index) => readMsr(sys, fd, index));
}

/** Sets an MSR; false where this vCPU does not have it or the value is refused. */
export function writeMsr(sys: Sys, fd: number, index: number, value: bigint): boolean {
  const bytes = new Uint8Array(S.MSRS.size + S.MSR_ENTRY.size);
  new StructView(S.MSRS, bytes).set('nmsrs', 1);
  new StructView(S.MSR_ENTRY, bytes, S.MSRS.size).set('index', index).set('data', value);
  return tryIoctl(sys, fd, 'SET_MSRS', bytes) === 1;
}
