/**
 * What a hypervisor remembers of a guest with encrypted registers: plain records, saved with the
 * VM.
 */
import type { Snapshot } from '@cloister/core';
import { VmmError } from '@cloister/core';

/** Of one CPU. Register values are the lower 32 bits. */
export interface VcpuRecord {
  /** How the guest asked to be held until a SIPI. */
  hold: 'none' | 'ghcb' | 'msr';
  /** Address of the GHCB of that hold, or of the only one that may be used; -1 for none. */
  ghcb: number;
  /** As the write traps told, for CPUID and for people; 0 before the first write. */
  cr0: number;
  cr4: number;
  cr8: number;
  efer: number;
  /** As the guest wrote it through the GHCB: the processor's own is in the VMSA. */
  dr7: number;
}

/** DR7 after RESET, and its bits that can be written (AMD64 APM vol. 2, figure 13-5). */
export const DR7_RESET = 0x400;
export const DR7_WRITABLE = 0xffff_23ff;

/** Of a VM. */
export interface VmRecord {
  /** Address of the page through which the guest starts its other CPUs; 0 for none. */
  apJumpTable: number;
  readonly vcpus: VcpuRecord[];
}

export function newVcpuRecord(): VcpuRecord {
  return {
    hold: 'none',
    ghcb: -1,
    cr0: 0,
    cr4: 0,
    cr8: 0,
    efer: 0,
    dr7: DR7_RESET,
  };
}

const TYPE = 'sev-es-hypervisor';
const VERSION = 2;

/** What a guest has found here and relies on. */
export interface Spoken {
  readonly host: string;
  /** Highest version of the GHCB protocol. */
  readonly ghcbVersion: number;
}

export function saveRecord(record: VmRecord, { host, ghcbVersion }: Spoken): Snapshot {
  // A CPU that has not run yet has left a gap if one behind it has.
  const vcpus = Array.from(record.vcpus, (vcpu) => ({ ...(vcpu ?? newVcpuRecord()) }));
  const { apJumpTable } = record;
  return { type: TYPE, version: VERSION, state: { host, ghcbVersion, apJumpTable, vcpus } };
}

/**
 * The record of a snapshot. Throws `VmmError('snapshot-mismatch')` where it is none, or one of a
 * hypervisor that behaves otherwise.
 */
export function loadRecord({ type, version, state }: Snapshot, spoken: Spoken): VmRecord {
  if (type !== TYPE || version !== VERSION || !isRecord(state)) {
    throw new VmmError(
      'snapshot-mismatch',
      `this is no record of a hypervisor: ${type} ${version}`,
    );
  }
  const saved = `${state.host}, GHCB version ${state.ghcbVersion}`;
  const here = `${spoken.host}, GHCB version ${spoken.ghcbVersion}`;
  if (saved !== here) {
    throw new VmmError('snapshot-mismatch', `the guest was saved under ${saved}; this is ${here}`, {
      remedy: 'restore it under the hypervisor that it was saved under',
    });
  }
  const vcpus = state.vcpus.map((vcpu) => ({ ...vcpu }));
  return { apJumpTable: state.apJumpTable, vcpus };
}

function isRecord(state: unknown): state is VmRecord & Spoken {
  if (typeof state !== 'object' || state === null) return false;
  const { apJumpTable, vcpus, host, ghcbVersion } = state as Partial<VmRecord & Spoken>;
  if (typeof host !== 'string' || typeof ghcbVersion !== 'number') return false;
  return isAddress(apJumpTable) && Array.isArray(vcpus) && vcpus.every(isVcpuRecord);
}

function isVcpuRecord(vcpu: unknown): boolean {
  if (typeof vcpu !== 'object' || vcpu === null) return false;
  const { hold, ghcb, ...registers } = vcpu as VcpuRecord;
  const words = [registers.cr0, registers.cr4, registers.cr8, registers.efer, registers.dr7];
  return (
    ['none', 'ghcb', 'msr'].includes(hold) &&
    (ghcb === -1 || isAddress(ghcb)) &&
    words.every((word) => isAddress(word) && word < 2 ** 32)
  );
}

function isAddress(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
