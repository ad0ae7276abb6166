/**
 * One vCPU of an SEV-ES guest as the processor keeps it between two runs: its VMCB, its VMSA, and
 * what the hypervisor may ask of it.
 *
 * The VMSA lies in a page of system memory under the guest's key. Whether it is what processor
 * or firmware left there, VMRUN finds out by a record that both keep: real ones have a checksum
 * in the trusted memory region, these have the bytes. From most exits to the next entry nobody
 * looks at the page: it is stored when somebody does, and is as it was left if nobody has.
 *
 * Source: AMD64 APM vol. 2 (24593), 15.35.8 "VMRUN and #VMEXIT for SEV-ES guests"; SEV API 55766,
 * 2.1.5 "Trusted memory region".
 */
import type { ExtensionVcpu, GuestMemory, InterceptName, SystemMemory } from '@cloister/core';
import { INTERCEPT_WORDS, INTERRUPT_STATE, VMCB, Vmcb } from '../abi/vmcb.js';
import { VMSA_USED } from '../abi/vmsa.js';
import type { HostVcpu } from '../hypervisor/hypervisor.js';
import type { VmsaRegisters } from './vmsa-registers.js';

export class EsVcpu implements HostVcpu {
  readonly vmcb = new Vmcb();
  /** Whether the guest's registers are the processor's at the moment. */
  inside = false;
  /** Whether they still are, though the guest has been left for the moment. */
  loaded = false;
  /** Whether an exit was told whose entry is yet to be told. */
  told = false;
  /** Whether HLT put it to sleep. */
  halted = false;
  /** Whether the hypervisor has set it up. */
  initialized = false;
  /** The events that the VMCB's intercepts stand for. */
  events: ReadonlySet<InterceptName> = new Set();
  /** The processor's vCPU in whose hook all this happens. */
  processor!: ExtensionVcpu;
  /** None of a VMCB that has never run. */
  readonly #intercepts = new Array<number>(INTERCEPT_WORDS).fill(-1);
  readonly #found = new Uint8Array(VMSA_USED);
  readonly #found32 = new Uint32Array(this.#found.buffer);
  readonly #page32: Uint32Array;
  /** Where the registers are that the VMSA is to hold. */
  #kept: 'processor' | 'window' = 'window';

  constructor(
    readonly index: number,
    /** System-physical address of the VMSA. */
    readonly vmsa: number,
    /** On their way to the VMSA and back; the page is the record of what it must hold. */
    readonly registers: VmsaRegisters,
    private readonly system: SystemMemory,
    readonly memory: GuestMemory,
    private readonly asid: () => number,
  ) {
    this.#page32 = new Uint32Array(registers.page.buffer);
  }

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

  /** Whether the VMCB's intercepts are others than at the last call. */
  interceptsChanged(): boolean {
    const { vmcb } = this;
    let changed = false;
    for (let word = 0; word < INTERCEPT_WORDS; word++) {
      const bits = vmcb.get(VMCB.INTERCEPTS + word * 4);
      changed ||= bits !== this.#intercepts[word];
      this.#intercepts[word] = bits;
    }
    return changed;
  }

  // --- The VMSA -------------------------------------------------------------------------------

  /**
   * Has the VMSA hold the guest's registers, and the VMCB what it shows of them. `checked`: they
   * are what a guest may run with, since it did and has changed no control register; else VMRUN
   * looks.
   */
  save(checked: boolean): void {
    const { processor, vmcb } = this;
    this.#kept = 'processor';
    if (checked) this.system.defer(this.vmsa, this.asid(), this.#store);
    else this.#store();
    const shadow = processor.interruptShadow ? INTERRUPT_STATE.SHADOW : 0;
    const open = processor.interruptFlag ? INTERRUPT_STATE.GUEST_IF : 0;
    vmcb.set(VMCB.INTERRUPT_SHADOW, shadow | open);
    if (this.inside) vmcb.setPair(VMCB.GHCB_GPA, processor.keptMsr[0]!, processor.keptMsr[1]!);
    this.inside = false;
  }

  /** The guest is entered: the GHCB's MSR is the processor's until it is left. */
  giveGhcb(): void {
    const { processor, vmcb } = this;
    processor.keptMsr[0] = vmcb.get(VMCB.GHCB_GPA);
    processor.keptMsr[1] = vmcb.get(VMCB.GHCB_GPA + 4);
  }

  /** The guest is left: the processor keeps registers of a VMSA that is yet to be stored. */
  leave(): void {
    this.loaded = false;
    if (this.#kept === 'processor') this.processor.keepRegisters();
  }

  /** Before the processor forgets them. */
  release(): void {
    if (this.#kept !== 'processor') return;
    this.processor.saveRegisters(this.registers.window);
    this.#kept = 'window';
  }

  readonly #store = (): void => {
    const { processor, registers } = this;
    if (this.#kept === 'processor') processor.saveRegisters(registers.window);
    registers.fromWindow();
    this.system.write(this.vmsa, registers.page, this.asid());
  };

  /** Why VMRUN does not take the VMSA; null: it does. */
  refusal(): string | null {
    if (this.system.isDeferred(this.vmsa)) return null;
    this.#read();
    const found = this.#found32;
    const kept = this.#page32;
    for (let i = 0; i < found.length; i++) {
      if (found[i] !== kept[i]) return 'the VMSA was changed';
    }
    return this.registers.refusal();
  }

  /** Makes the VMSA's registers the processor's; `refusal` has read them. */
  load(): void {
    const { processor, registers, vmcb } = this;
    const deferred = this.system.isDeferred(this.vmsa);
    const kept = deferred && this.#kept === 'processor';
    this.loaded = true;
    if (kept && vmcb.shadow === processor.interruptShadow) return;
    // The task priority is the interrupt controller's: it stays what it is.
    if (kept || !deferred) processor.saveRegisters(registers.window);
    if (!deferred) registers.toWindow();
    registers.setShadow(vmcb.shadow);
    processor.loadRegisters(registers.window);
  }

  #read(): void {
    this.system.read(this.vmsa, this.#found, this.asid());
  }
}
