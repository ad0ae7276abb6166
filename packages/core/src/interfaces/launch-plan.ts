/**
 * A launch is data: an ordered list of pages and of vCPU states, produced by a boot source,
 * consumed alike by the plain loader, launch measurement, the emulated firmware and the KVM ioctls.
 */
import type { VcpuState } from './vcpu-state.js';

/** SNP page types (SNP firmware ABI, SNP_LAUNCH_UPDATE PAGE_TYPE); plain boots use `normal`. */
export type LaunchPageType = 'normal' | 'vmsa' | 'zero' | 'unmeasured' | 'secrets' | 'cpuid';

/** Permissions of the lower VMPLs (bit 0 read, 1 write, 2 user execute, 3 supervisor execute). */
export interface VmplPermissions {
  readonly vmpl1: number;
  readonly vmpl2: number;
  readonly vmpl3: number;
}

/** A run of bytes at a guest-physical address; page-aligned when a protection is to measure it. */
export interface LaunchRegion {
  /** What it is, e.g. `kernel`, `boot-params`, `page-tables`; shown by `measure --pages`. */
  readonly name: string;
  readonly gpa: number;
  /** Contents. For type `zero` its length counts, its bytes do not. */
  readonly bytes: Uint8Array;
  readonly type: LaunchPageType;
  readonly permissions?: VmplPermissions;
}

/** E820 types as Linux and the ACPI specification number them. */
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4, unusable: 5 } as const;

export interface E820Entry {
  readonly base: number;
  readonly length: number;
  readonly type: number;
}

export interface LaunchPlan {
  /** In the order in which they are loaded and measured; later regions overwrite earlier ones. */
  readonly regions: readonly LaunchRegion[];
  /** Initial state per vCPU index; a vCPU without an entry waits for SIPI. */
  readonly vcpus: ReadonlyMap<number, VcpuState>;
  readonly e820: readonly E820Entry[];
  /** How the guest was entered, e.g. `linux64`, `linux32`, `pvh`, `multiboot`, `flat`. */
  readonly entry: string;
}

/** What a boot source is told about the machine. */
export interface BootMachine {
  /** Bytes of RAM in all. */
  readonly ramSize: number;
  /** RAM as GPA ranges, ascending (it is split around the hole below 4 GiB). */
  readonly ram: readonly { readonly gpa: number; readonly size: number }[];
  readonly cpus: number;
  /** ACPI tables as they are to lie in guest memory, and the RSDP's address; null without ACPI. */
  readonly acpi: { readonly rsdp: number; readonly regions: readonly LaunchRegion[] } | null;
  /** Bit position of the C-bit to set in every page-table entry, or null. */
  readonly cBit: number | null;
  /**
   * Pages that the protection adds to the plan; none if absent. Memory maps show them as reserved,
   * and sources leave them alone.
   */
  readonly reserved?: readonly LaunchRegion[];
  /** Whether the VM is protected: sources that cannot work then refuse with a reason. */
  readonly protection: 'none' | 'sev' | 'sev-es' | 'sev-snp';
}

/** Lays out a guest: kernel, initrd, tables, registers. */
export interface BootSource {
  /** e.g. `linux64`; shown in the summary. */
  readonly name: string;
  /**
   * Produces the plan. Pure: the same machine gives the same plan. Throws
   * `VmmError('invalid-file')` for damaged files, `('invalid-config')` where things do not fit
   * into memory, `('unsupported')` for an entry that the protection rules out.
   */
  plan(machine: BootMachine): LaunchPlan;
}
