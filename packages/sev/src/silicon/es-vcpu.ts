/**
 * One vCPU of an SEV-ES guest as the processor keeps it between two runs: its VMCB, its VMSA, and
 * what the hypervisor may ask of it.
 *
 * The VMSA lies in a page of system memory under the guest's key. Whether it is what the processor
 * left there, VMRUN finds out by the processor's own record: real ones keep a checksum in the
 * trusted memory region, this one keeps the bytes.
 *
 * Source: AMD64 APM vol. 2 (24593), 15.35.8 "VMRUN and #VMEXIT for SEV-ES guests"; SEV API 55766,
 * 2.1.5 "Trusted memory region".
 */
import type { ExtensionVcpu, GuestMemory, SystemMemory } from '@cloister/core';
import { INTERRUPT_STATE, VMCB, Vmcb } from '../abi/vmcb.js';
import { VMSA_USED } from '../abi/vmsa.js';
import type { HostVcpu } from '../hypervisor/hypervisor.js';
import { VmsaRegisters } from './vmsa-registers.js';

export class EsVcpu implements HostVcpu {
  readonly vmcb = new Vmcb();
  readonly registers = new VmsaRegisters();
  /** Whether the guest's registers are the processor's at the moment. */
  inside = false;
  /** Whether they still are, though the guest has been left for the moment. */
  loaded = false;
  /** Whether an exit was told whose entry is yet to be told. */
  told = false;
  /** Whether HLT put it to sleep. */
  halted = false;
  /** The processor's vCPU in whose hook all this happens. */
  processor!: ExtensionVcpu;
  readonly #found = new Uint8Array(VMSA_USED);
  readonly #found32 = new Uint32Array(this.#found.buffer);
  readonly #kept32 = new Uint32Array(this.registers.page.buffer);

  constructor(
    readonly index: number,
    /** System-physical address of the VMSA. */
    readonly vmsa: number,
    private readonly system: SystemMemory,
    readonly memory: GuestMemory,
    private readonly asid: () => number,
  ) {}

  // --- For the hypervisor ---------------------------------------------------------------------

  get host() {
    return this.processor.host;
  }

  get pending() {
    return this.processor.pending;
  }

  acknowledge(): number {
    return this.processor.acknowledge();
  }

  yield(): void {
    this.processor.yield();
  }

  get nmiBlocked(): boolean {
    return this.processor.nmiBlocked;
  }

  set nmiBlocked(blocked: boolean) {
    this.processor.nmiBlocked = blocked;
  }

  // --- The VMSA -------------------------------------------------------------------------------

  /** The firmware has encrypted the page: what it is now it must be at the first VMRUN. */
  seal(): void {
    this.#read();
    this.registers.page.set(this.#found);
  }

  /** Stores the guest's registers, and what the VMCB shows of them. */
  save(): void {
    const { processor, registers, vmcb } = this;
    processor.saveRegisters(registers.window);
    registers.fromWindow();
    this.system.write(this.vmsa, registers.page, this.asid());
    const shadow = processor.interruptShadow ? INTERRUPT_STATE.SHADOW : 0;
    const open = processor.interruptFlag ? INTERRUPT_STATE.GUEST_IF : 0;
    vmcb.set(VMCB.INTERRUPT_SHADOW, shadow | open);
    this.inside = false;
  }

  /** Why VMRUN does not take the VMSA; null: it does. */
  refusal(): string | null {
    this.#read();
    const found = this.#found32;
    const kept = this.#kept32;
    for (let i = 0; i < found.length; i++) {
      if (found[i] !== kept[i]) return 'the VMSA was changed';
    }
    return this.registers.refusal();
  }

  /** Makes the VMSA's registers the processor's; `refusal` has read them. */
  load(): void {
    const { processor, registers, vmcb } = this;
    // The task priority is the interrupt controller's: it stays what it is.
    processor.saveRegisters(registers.window);
    registers.toWindow();
    registers.setShadow(vmcb.shadow);
    processor.loadRegisters(registers.window);
    this.loaded = true;
  }

  #read(): void {
    this.system.read(this.vmsa, this.#found, this.asid());
  }
}
