/**
 * A saved VM, looked through whole before anything of a VM is changed.
 */
import { readPages, type Snapshot, type SnapshotValue, VmmError } from '@cloister/core';
import { IRQCHIP } from './abi/structs.js';
import type { KvmIrqchip } from './interrupts.js';
import type { VcpuRecord } from './vcpu-record.js';

export const VM_RECORD = { type: 'kvm-vm', version: 1 } as const;
/** Bytes of the saved clock: `kvm_clock_data.clock`. */
export const CLOCK_SIZE = 8;

/** What a saved VM must have in common with the one that it is restored to. */
export interface VmShape {
  readonly irqchip: KvmIrqchip;
  readonly cpus: number;
  /** Interrupt controllers in the kernel. */
  readonly chips: number;
  /** Bytes. */
  readonly memorySize: number;
}

export interface SavedVm {
  readonly cpus: readonly VcpuRecord[];
  readonly halted: readonly boolean[];
  readonly chips: readonly Uint8Array[];
  readonly clock: Uint8Array;
  /** `KvmInterrupts.learnRoutes` looks at these itself. */
  readonly routes: unknown;
  /** Fills memory that is all zeros. */
  readonly memory: (target: Uint8Array) => void;
}

type Fields = { readonly [name: string]: SnapshotValue | undefined };

const damaged = (what: string): VmmError =>
  new VmmError('snapshot-mismatch', `the saved ${what} of this KVM VM are damaged`);

function listOf<T>(value: unknown, length: number, is: (each: unknown) => each is T): T[] | null {
  return Array.isArray(value) && value.length === length && value.every(is) ? value : null;
}

const isRecord = (each: unknown): each is VcpuRecord => typeof each === 'object' && each !== null;
const isFlag = (each: unknown): each is boolean => typeof each === 'boolean';
const bytesOf =
  (size: number) =>
  (each: unknown): each is Uint8Array =>
    each instanceof Uint8Array && each.length === size;

/** Throws `VmmError('snapshot-mismatch')` for anything but the state of a VM of `shape`. */
export function readVm({ type, version, state }: Snapshot, shape: VmShape): SavedVm {
  const saved = (state ?? {}) as Fields;
  const cpus = listOf(saved['cpus'], shape.cpus, isRecord);
  const halted = listOf(saved['halted'], shape.cpus, isFlag);
  const known = type === VM_RECORD.type && version === VM_RECORD.version;
  if (!known || saved['irqchip'] !== shape.irqchip || cpus === null || halted === null) {
    throw new VmmError('snapshot-mismatch', `not the state of this KVM VM: ${type}`, {
      remedy: 'restore with the memory size, CPU count and irqchip that it was saved with',
    });
  }
  const chips = listOf(saved['chips'], shape.chips, bytesOf(IRQCHIP.size));
  if (chips === null) throw damaged('interrupt controllers');
  const { clock } = saved;
  if (!bytesOf(CLOCK_SIZE)(clock)) throw damaged('clock readings');
  const memory = readPages(saved['memory'], shape.memorySize);
  return { cpus, halted, chips, clock, routes: saved['routes'], memory };
}
