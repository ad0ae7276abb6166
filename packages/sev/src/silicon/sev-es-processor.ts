/**
 * What an emulated processor gains by SEV-ES: registers that no hypervisor sees.
 *
 * Between two runs a guest's registers are in its VMSA, under its key. An event that the hypervisor
 * intercepts leaves the guest by itself if the hypervisor needs no register for it (an automatic
 * exit), else it becomes #VC in the guest, with the exit code as error code; the guest's handler
 * puts into a shared page (GHCB) what it wants to show, and VMGEXIT goes to the hypervisor.
 *
 * Source: AMD64 APM vol. 2 (24593), 15.35 "Encrypted state (SEV-ES)": 15.35.4 and table 15-35
 * (automatic and non-automatic exits), 15.35.5 (#VC), 15.35.6 (VMGEXIT), 15.35.7 (GHCB), 15.35.9
 * and 15.35.10 (control registers).
 *
 * Known inaccuracies: the PAUSE filter never runs out, so that PAUSE never exits; a write to ROM is
 * #VC with code 400h like MMIO, where real processors leave with a nested page fault that no
 * hypervisor can answer; DR0 to DR3 are the guest's as with the feature DebugSwap, DR7 as without;
 * INVLPGA, VMRUN and the like are #UD, since no CPU model has SVM; ICEBP, which vmm(4) intercepts,
 * is #DB and no #VC; a single-step trap behind HLT is lost.
 */
import {
  type CpuExtension,
  type CpuidValue,
  type EnterRefusal,
  type ExtensionVcpu,
  type FillRequest,
  type FillVerdict,
  type GuestMemory,
  type InterceptDetail,
  type InterceptName,
  type InterceptVerdict,
  type MsrValue,
  type Snapshot,
  type SystemMemory,
  VmmError,
  type WorldSwitch,
  type WorldSwitchSink,
} from '@cloister/core';
import { MSR_GHCB } from '../abi/ghcb.js';
import { EXIT, NP_CONTROL, VMCB } from '../abi/vmcb.js';
import type { Hypervisor, Next } from '../hypervisor/hypervisor.js';
import { exitName } from '../hypervisor/statistics.js';
import { EVENT_TYPES, EVENTS, NON_AUTOMATIC, WRITE_TRAPS } from './es-exits.js';
import { EsVcpu } from './es-vcpu.js';
import { loadEsVcpu, readEsVcpu, saveEsVcpu } from './es-vcpu-record.js';
import type { MemoryController } from './memory-controller.js';
import {
  CPUID_ENCRYPTION,
  MSR_SEV_STATUS,
  SevProcessor,
  type SevProcessorOptions,
} from './sev-processor.js';
import { VmsaRegisters } from './vmsa-registers.js';

export const VC_VECTOR = 29;
/** CPUID Fn8000_001F EAX. */
const EAX_SEV_ES = 1 << 3;
/** SEV_STATUS: SEV, SEV-ES. */
const STATUS = 3;
const RECORD_TYPE = 'sev-es-processor';
const LBR_VIRTUALIZATION = 1;
const RESUME: InterceptVerdict = { kind: 'resume' };
const PROCEED: InterceptVerdict = { kind: 'proceed' };

export interface SevEsProcessorOptions extends SevProcessorOptions {
  readonly hypervisor: Hypervisor;
  /** The host's view of the guest's memory. */
  readonly memory: () => GuestMemory;
  /** Takes the world switches that the guest makes; not those of a host that ends its slice. */
  readonly switches?: WorldSwitchSink;
}

type VcVerdict = Extract<InterceptVerdict, { kind: 'exception' }>;

/** #VC with one exit code. */
interface Raised {
  readonly verdict: VcVerdict;
  count: number;
}

export class SevEsProcessor implements CpuExtension {
  readonly name = 'sev-es';
  readonly msrs = [MSR_SEV_STATUS, MSR_GHCB];
  readonly keptMsr = MSR_GHCB;
  readonly instructions = ['VMGEXIT'];
  readonly intercepts = EVENTS;
  readonly registersHidden = true;
  readonly interruptArrivals = true;
  readonly tableBits: readonly number[];
  readonly lastingVerdicts = true;
  readonly cipher: MemoryController;
  readonly #sev: SevProcessor;
  readonly #raised = new Map<number, Raised>();
  readonly #vcpus: EsVcpu[] = [];
  #cpus = 0;
  #system!: SystemMemory;
  #vmsas: readonly { readonly spa: number; readonly registers: VmsaRegisters }[] = [];

  constructor(
    controller: MemoryController,
    private readonly options: SevEsProcessorOptions,
  ) {
    this.#sev = new SevProcessor(controller, options);
    this.cipher = controller;
    this.tableBits = this.#sev.tableBits;
  }

  /** #VC exceptions so far, by exit code. */
  get exceptions(): ReadonlyMap<number, number> {
    return new Map([...this.#raised].map(([code, { count }]) => [code, count]));
  }

  // --- As SEV ---------------------------------------------------------------------------------

  systemPages(cpus: number): number {
    this.#cpus = cpus;
    return cpus;
  }

  attach(memory: SystemMemory): void {
    this.#sev.attach(memory);
    this.#system = memory;
    this.#vmsas = Array.from({ length: this.#cpus }, () => {
      const [spa, registers] = [memory.reserve(), new VmsaRegisters()];
      this.cipher.vmsas.keepIn(spa, registers.page);
      return { spa, registers };
    });
  }

  cpuid(leaf: number, subleaf: number, value: CpuidValue): void {
    this.#sev.cpuid(leaf, subleaf, value);
    if (leaf === CPUID_ENCRYPTION) value.eax |= EAX_SEV_ES;
  }

  readMsr(index: number, value: MsrValue, vcpu: ExtensionVcpu): 'ok' {
    if (index === MSR_SEV_STATUS) {
      value.lo = STATUS;
      value.hi = 0;
      return 'ok';
    }
    const { vmcb, inside } = this.#of(vcpu);
    value.lo = inside ? vcpu.keptMsr[0]! : vmcb.get(VMCB.GHCB_GPA);
    value.hi = inside ? vcpu.keptMsr[1]! : vmcb.get(VMCB.GHCB_GPA + 4);
    return 'ok';
  }

  writeMsr(index: number, { lo, hi }: MsrValue, vcpu: ExtensionVcpu): 'ok' | 'gp' {
    if (index !== MSR_GHCB) return 'gp';
    const { vmcb, inside } = this.#of(vcpu);
    if (!inside) vmcb.setPair(VMCB.GHCB_GPA, lo, hi);
    else {
      vcpu.keptMsr[0] = lo;
      vcpu.keptMsr[1] = hi;
    }
    return 'ok';
  }

  fill(request: FillRequest): FillVerdict {
    const verdict = this.#sev.fill(request);
    if (verdict.kind === 'device') return this.#exception(request.vcpu, EXIT.NPF);
    const rom = request.access === 'write' && verdict.kind === 'page' && !isWritable(verdict);
    return rom ? this.#exception(request.vcpu, EXIT.NPF) : verdict;
  }

  // --- Launch ---------------------------------------------------------------------------------

  /** System-physical address of the VMSA of vCPU `index`. */
  vmsaOf(index: number): number {
    return this.#vmsaOf(index).spa;
  }

  #vmsaOf(index: number) {
    const vmsa = this.#vmsas[index];
    if (vmsa !== undefined) return vmsa;
    throw new VmmError('invalid-argument', `there is no vCPU ${index} with a VMSA`);
  }

  // --- Exits ----------------------------------------------------------------------------------

  intercept(name: InterceptName, vcpu: ExtensionVcpu, detail: InterceptDetail): InterceptVerdict {
    const code = NON_AUTOMATIC[name];
    if (code !== undefined && code !== EXIT.MSR) return this.#exception(vcpu.index, code);
    switch (name) {
      case 'hlt':
        vcpu.complete();
        return this.#leaveBy(vcpu, EXIT.HLT);
      case 'shutdown':
        return this.#leaveBy(vcpu, EXIT.SHUTDOWN);
      case 'cr-write-after': {
        const trap = WRITE_TRAPS[detail.number]!;
        const trapped = this.#of(vcpu).vmcb.intercepts(trap);
        return trapped ? this.#leaveBy(vcpu, trap, detail.lo, detail.hi) : PROCEED;
      }
      case 'dr': {
        const first = detail.direction === 'read' ? EXIT.READ_DR0 : EXIT.WRITE_DR0;
        const access = first + detail.number;
        const trapped = this.#of(vcpu).vmcb.intercepts(access);
        return trapped ? this.#exception(vcpu.index, access) : PROCEED;
      }
      case 'msr': {
        const passes = this.passesMsr(detail.direction, detail.number);
        return passes ? PROCEED : this.#exception(vcpu.index, EXIT.MSR);
      }
      default:
        return PROCEED;
    }
  }

  passesMsr(direction: 'read' | 'write', index: number): boolean {
    return !this.options.hypervisor.interceptsMsr(direction, index);
  }

  execute(_mnemonic: string, vcpu: ExtensionVcpu): InterceptVerdict {
    vcpu.complete();
    return this.#leaveBy(vcpu, EXIT.VMGEXIT);
  }

  interrupt(vcpu: ExtensionVcpu): void {
    const own = this.#of(vcpu);
    if (!own.inside) {
      if (own.halted && own.loaded) this.#wake(own);
      return;
    }
    const open = vcpu.interruptFlag && !vcpu.interruptShadow;
    const nmi = vcpu.pending === 'nmi';
    const window = own.vmcb.interruptWindow;
    // What the hypervisor knows already is no news until the guest can take it.
    if (window && !open && !nmi) return;
    this.#leaveBy(vcpu, nmi ? EXIT.NMI : window && open ? EXIT.VINTR : EXIT.INTR);
  }

  #exception(vcpu: number, code: number): VcVerdict {
    let raised = this.#raised.get(code);
    if (raised === undefined) {
      const exception = { vector: VC_VECTOR, errorCode: code };
      raised = { verdict: { kind: 'exception', exception }, count: 0 };
      this.#raised.set(code, raised);
    }
    raised.count++;
    this.#tell('exception', vcpu, code, VC_VECTOR);
    return raised.verdict;
  }

  #tell(kind: WorldSwitch['kind'], vcpu: number, code: number, vector?: number): void {
    const { switches } = this.options;
    if (switches === undefined || !switches.observed) return;
    const name = kind === 'entry' ? 'VMRUN' : exitName(code);
    switches.next({ kind, vcpu, code, name, ...(vector !== undefined && { vector }) });
  }

  /** An automatic exit, or VMGEXIT: to the hypervisor, and what it says comes next. */
  #leaveBy(vcpu: ExtensionVcpu, code: number, infoLo = 0, infoHi = 0): InterceptVerdict {
    const own = this.#of(vcpu);
    own.save(code === EXIT.VMGEXIT);
    own.vmcb.setExit(code, infoLo, infoHi);
    own.told = true;
    this.#tell('exit', vcpu.index, code);
    this.#goOn(own, this.options.hypervisor.handleExit(own));
    return RESUME;
  }

  #goOn(own: EsVcpu, next: Next): void {
    const { processor, vmcb } = own;
    switch (next) {
      case 'run':
        this.options.hypervisor.prepare(own);
        // The registers are still the processor's, unless somebody has touched the page.
        if (own.refusal() === null) this.#enterGuest(own);
        else {
          vmcb.setExit(EXIT.INVALID);
          this.#goOn(own, this.options.hypervisor.handleExit(own));
        }
        return;
      case 'halt':
        own.halted = true;
        processor.halt(vmcb.guestInterruptFlag);
        return;
      case 'reset-hold':
        processor.waitForStartup();
        return;
      case 'terminated':
        processor.stop(vmcb.exitCode === EXIT.SHUTDOWN ? 'shutdown' : 'error');
        return;
    }
  }

  /** What waits may end HLT, before the host has been left. */
  #wake(own: EsVcpu): void {
    this.options.hypervisor.prepare(own);
    if (own.vmcb.event !== null) this.#goOn(own, 'run');
  }

  /** The rest of VMRUN: the event goes to the guest, and intercepts are what the VMCB says. */
  #enterGuest(own: EsVcpu): void {
    const { vmcb, processor } = own;
    own.inside = true;
    own.halted = false;
    own.giveGhcb();
    const { event } = vmcb;
    if (own.told) {
      own.told = false;
      this.#tell('entry', own.index, 0, event?.vector);
    }
    if (event === null) return;
    vmcb.event = null;
    const type = EVENT_TYPES[event.type as keyof typeof EVENT_TYPES];
    if (type !== undefined) processor.inject({ ...event, type });
  }

  // --- The world switch -----------------------------------------------------------------------

  enter(vcpu: ExtensionVcpu): EnterRefusal | null {
    const own = this.#of(vcpu);
    this.options.hypervisor.prepare(own);
    if (own.halted && own.vmcb.event === null) return null;
    const reason = own.refusal();
    if (reason !== null) {
      own.vmcb.setExit(EXIT.INVALID);
      return { code: 'vmrun-invalid', message: `VMRUN of CPU ${vcpu.index}: ${reason}` };
    }
    own.load();
    vcpu.iretUnblocksNmi = false;
    vcpu.setIntercepts(this.#interceptsOf(own));
    this.#enterGuest(own);
    return null;
  }

  leave(vcpu: ExtensionVcpu): void {
    const own = this.#of(vcpu);
    if (own.inside) {
      own.save(true);
      own.vmcb.setExit(EXIT.INTR);
    }
    own.leave();
  }

  release(vcpu: ExtensionVcpu): void {
    this.#of(vcpu).release();
  }

  /** A hypervisor can't reset what it can't see: the registers stay. */
  init(vcpu: ExtensionVcpu): void {
    // Nor does the first CPU sleep on.
    this.#of(vcpu).halted = false;
  }

  startup(_vector: number, vcpu: ExtensionVcpu): void {
    const own = this.#of(vcpu);
    own.halted = false;
    const next = this.options.hypervisor.startup(own);
    if (next !== 'run') this.#goOn(own, next);
  }

  // --- Saved and restored ---------------------------------------------------------------------

  /** The host's side of the guest; its registers are in VMSAs, which are not in here. */
  snapshot(): Snapshot {
    const vcpus = this.#vmsas.map((_, index) => {
      const own = this.#vcpu(index);
      return saveEsVcpu(own.vmcb, own);
    });
    const hypervisor = { ...this.options.hypervisor.snapshot() };
    return { type: RECORD_TYPE, version: 1, state: { vcpus, hypervisor } };
  }

  restore({ type, version, state }: Snapshot): void {
    const { vcpus, hypervisor } = (state ?? {}) as { vcpus?: unknown; hypervisor?: unknown };
    const fits =
      type === RECORD_TYPE &&
      version === 1 &&
      Array.isArray(vcpus) &&
      vcpus.length === this.#vmsas.length &&
      typeof hypervisor === 'object' &&
      hypervisor !== null;
    if (!fits) {
      throw new VmmError('snapshot-mismatch', `not the state of a SEV-ES guest: ${type}`);
    }
    const records = vcpus.map(readEsVcpu);
    for (const [index, record] of records.entries()) {
      const own = this.#vcpu(index);
      own.halted = record.halted;
      own.told = record.told;
      if (!record.initialized) continue;
      this.#initialize(own);
      loadEsVcpu(own.vmcb, record);
    }
    this.options.hypervisor.restore(hypervisor as Snapshot);
  }

  /** The events of the VMCB's intercepts: a set of before, while these are what they were. */
  #interceptsOf(own: EsVcpu): ReadonlySet<InterceptName> {
    const { vmcb } = own;
    if (!own.interceptsChanged()) return own.events;
    const wanted = (name: InterceptName) => {
      const code = NON_AUTOMATIC[name];
      if (code !== undefined) return vmcb.intercepts(code);
      if (name === 'hlt') return vmcb.intercepts(EXIT.HLT);
      return true;
    };
    own.events = new Set(EVENTS.filter(wanted));
    return own.events;
  }

  #of(vcpu: ExtensionVcpu): EsVcpu {
    const known = this.#vcpus[vcpu.index];
    if (known?.initialized === true && known.processor === vcpu) return known;
    return this.#meet(vcpu);
  }

  #meet(vcpu: ExtensionVcpu): EsVcpu {
    const own = this.#vcpu(vcpu.index);
    if (own.processor === undefined) {
      own.processor = vcpu;
      // Saved asleep: whatever the file says of the processor, nothing runs but from the VMSA.
      if (own.halted) vcpu.halt(own.vmcb.guestInterruptFlag);
    }
    if (!own.initialized) this.#initialize(own);
    return own;
  }

  #initialize(own: EsVcpu): void {
    own.initialized = true;
    this.options.hypervisor.initialize(own);
  }

  #vcpu(index: number): EsVcpu {
    const known = this.#vcpus[index];
    if (known !== undefined) return known;
    const { memory, asid } = this.options;
    const { spa, registers } = this.#vmsaOf(index);
    const own = new EsVcpu(index, spa, registers, this.#system, memory(), asid);
    const { vmcb } = own;
    vmcb.set(VMCB.GUEST_ASID, asid());
    vmcb.set(VMCB.NP_CONTROL, NP_CONTROL.NP_ENABLE | NP_CONTROL.SEV | NP_CONTROL.SEV_ES);
    vmcb.set(VMCB.LBR_CONTROL, LBR_VIRTUALIZATION);
    vmcb.setAddress(VMCB.VMSA_PA, own.vmsa);
    this.#vcpus[index] = own;
    return own;
  }
}

function isWritable({ permissions }: { readonly permissions: number }): boolean {
  return (permissions & 2) !== 0;
}
