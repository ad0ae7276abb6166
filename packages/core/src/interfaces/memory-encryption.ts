/**
 * The plugin that protects a VM: what it asks of the backend, the launch, page-state changes, and
 * the late check that the protection is really active.
 */
import type { BackendProbe, BackendVm } from './backend.js';
import type { CpuExtension } from './cpu-extension.js';
import type { BootMachine, LaunchPlan, LaunchRegion } from './launch-plan.js';
import type { Snapshot } from './snapshot.js';
import type { VcpuState } from './vcpu-state.js';

export interface PlanAdditions {
  readonly regions: readonly LaunchRegion[];
  readonly vcpus: ReadonlyMap<number, VcpuState>;
}

/** How a VM is saved. */
export interface SaveOptions {
  /** The guest does not go on here: a protection lets its keys go. */
  readonly leave?: boolean;
  /**
   * Keeps what was saved, e.g. in a file. The guest leaves when it is done; if it fails, `save`
   * fails with it, and the guest has not left.
   */
  readonly keep?: (saved: Snapshot) => Promise<void>;
}

/** A protected guest's part of a saved VM. */
export interface SavedGuest {
  /** What `MemoryEncryption.restore` takes. */
  readonly record: Snapshot;
  /** Whether the page of `gpa` is saved as the host sees it; others are in the record. */
  saves(gpa: number): boolean;
  /**
   * Called once, when all that was saved is kept or could not be: whether the guest leaves. Until
   * then it stands still.
   */
  settle?(leaves: boolean): void;
}

export interface MemoryEncryption {
  /** e.g. `sev`, `sev-es`, `sev-snp`. */
  readonly name: string;
  readonly protection: BootMachine['protection'];
  /**
   * `hardware`, or `emulated`: then the host process holds the keys. Named by probe, summary and
   * config; whoever asks for hardware is refused `emulated`.
   */
  readonly strength: 'hardware' | 'emulated';
  /** Words that the backend's probe must list. */
  readonly requires: readonly string[];
  /**
   * This protection as `probe`'s backend has it, asked once, before anything else is; itself
   * unless given. Options that do not fit there are a `VmmError`.
   */
  on?(probe: BackendProbe): MemoryEncryption;
  /** VM type to create (KVM), decided before creation. */
  vmType?(probe: BackendProbe): number;
  /** What an emulated processor gains. */
  readonly extensions: readonly CpuExtension[];
  /** Bit position of the C-bit, for the boot source's page tables. */
  readonly cBit: number | null;
  /**
   * What it adds to every plan, for a VM of so many vCPUs: pages, which the guest finds reserved,
   * and states of vCPUs that the boot source leaves alone.
   */
  additions?(cpus: number): PlanAdditions;
  /** Loads and measures the plan in place of the plain loader. */
  launch(vm: BackendVm, plan: LaunchPlan): Promise<void>;
  /**
   * Last call before the first instruction, and before each slice of a run: false, and the VM does
   * not start, or its run ends. Quick.
   */
  ready(vm: BackendVm): boolean;
  /** The launch measurement, once `launch` is done. */
  readonly measurement: Uint8Array | null;
  /**
   * The guest's private memory in a form that a protection like this one can go on with; a VM
   * whose protection has it not is not saved. `VmmError` where the guest may not be saved.
   */
  save?(vm: BackendVm): SavedGuest;
  /** Takes `record` in place of a launch, in a VM that was never launched. */
  restore?(vm: BackendVm, record: Snapshot): void;
  /** For the summary: `[name, value]`. */
  summary(): readonly (readonly [string, string])[];
}
