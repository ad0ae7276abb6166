/**
 * A hypervisor of SEV-ES guests: what a profile (`profile.ts`) says, for all CPUs of one VM.
 */
import type { Snapshot, WorldSwitchSink } from '@cloister/core';
import { EXIT, VMCB } from '../abi/vmcb.js';
import { answerExit } from './automatic-exits.js';
import type { Exchange, HypervisorSettings } from './exchange.js';
import { GhcbPage } from './ghcb-page.js';
import { answerGhcb } from './ghcb-protocol.js';
import { endGhcbHold } from './guest-events.js';
import type { HostVcpu, Hypervisor, Next } from './hypervisor.js';
import { prepareEvents } from './injection.js';
import { answerMsr, endMsrHold, REQUEST_BITS, resetGhcbMsr } from './msr-protocol.js';
import { type HostProfile, SEV_HOSTS, type SevHostName } from './profile.js';
import {
  loadRecord,
  newVcpuRecord,
  saveRecord,
  type VcpuRecord,
  type VmRecord,
} from './records.js';
import { ScratchArea } from './scratch-area.js';
import { Statistics } from './statistics.js';
import { describeTermination } from './termination.js';

/** What guests may move before the host's event loop gets its turn; a few milliseconds' work. */
const MOVED_PER_TURN = 1 << 20;

export interface SevEsHypervisorOptions {
  /** Whose behaviour; `kvm` unless given. */
  readonly host?: SevHostName;
  /** Bit of table entries, 32 to 51. */
  readonly cBit: number;
  /** Highest version of the GHCB protocol, if lower than the host's: Linux had 1 until 6.10. */
  readonly ghcbVersion?: 1 | 2;
  /** Address of the AP jump table that the launch made, 0 for none; the guest may set another. */
  readonly apJumpTable?: number;
  /** Takes what guests ask. */
  readonly switches?: WorldSwitchSink;
}

export class SevEsHypervisor implements Hypervisor {
  readonly statistics = new Statistics();
  readonly #settings: HypervisorSettings;
  readonly #preset: number;
  #vm: VmRecord;
  /** The one under way: CPUs come one after the other. */
  #exchange: Exchange | null = null;

  constructor(options: SevEsHypervisorOptions) {
    const { host = 'kvm', cBit, ghcbVersion = 2, apJumpTable = 0, switches } = options;
    this.#settings = { profile: limited(SEV_HOSTS[host], ghcbVersion), cBit, switches };
    this.#preset = apJumpTable;
    this.#vm = { apJumpTable, vcpus: [] };
  }

  initialize(vcpu: HostVcpu): void {
    for (const code of this.#settings.profile.intercepts) vcpu.vmcb.setIntercept(code, true);
    this.#vm.vcpus[vcpu.index] = newVcpuRecord();
    // Whatever the guest of before the reset told is forgotten.
    if (vcpu.index === 0) this.#vm.apJumpTable = this.#preset;
    resetGhcbMsr(vcpu, this.#settings);
  }

  interceptsMsr(direction: 'read' | 'write', index: number): boolean {
    const { passedReads, passedWrites } = this.#settings.profile;
    return !(direction === 'read' ? passedReads : passedWrites).has(index);
  }

  prepare(vcpu: HostVcpu): void {
    prepareEvents(vcpu);
  }

  handleExit(vcpu: HostVcpu): Next {
    const { vmcb } = vcpu;
    if (vmcb.exitCode !== EXIT.VMGEXIT) {
      this.statistics.exits.count(vmcb.exitCode);
      return answerExit(vcpu, this.#record(vcpu), this.#settings.profile);
    }
    const exchange = this.#exchangeWith(vcpu);
    const isRequest = (vmcb.get(VMCB.GHCB_GPA) & REQUEST_BITS) !== 0;
    if (isRequest) return answerMsr(exchange);
    const next = answerGhcb(exchange, vmcb.getAddress(VMCB.GHCB_GPA));
    // One instruction of the guest's may be thousands of accesses to a device.
    if (exchange.moved >= MOVED_PER_TURN) {
      exchange.moved = 0;
      if (next === 'run') vcpu.yield();
    }
    return next;
  }

  startup(vcpu: HostVcpu): Next {
    const record = this.#record(vcpu);
    if (record.hold === 'msr') endMsrHold(vcpu);
    else if (record.hold === 'ghcb') endGhcbHold(vcpu, record.ghcb);
    record.hold = 'none';
    return 'run';
  }

  /** What the write traps told of a CPU, lower halves: all that the host knows of its registers. */
  controlRegisters(index: number): Pick<VcpuRecord, 'cr0' | 'cr4' | 'cr8' | 'efer'> {
    const { cr0, cr4, cr8, efer } = this.#vm.vcpus[index] ?? newVcpuRecord();
    return { cr0, cr4, cr8, efer };
  }

  summary(): readonly string[] {
    const lines = [`hypervisor: as ${this.#settings.profile.title}`, ...this.statistics.lines()];
    const terminated = this.#exchange?.terminated ?? null;
    if (terminated === null) return lines;
    return [...lines, `the guest terminated itself: ${describeTermination(terminated)}`];
  }

  snapshot(): Snapshot {
    return saveRecord(this.#vm, this.#spoken);
  }

  restore(snapshot: Snapshot): void {
    this.#vm = loadRecord(snapshot, this.#spoken);
  }

  get #spoken() {
    const { name, protocol } = this.#settings.profile;
    return { host: name, ghcbVersion: protocol.max };
  }

  #record({ index }: HostVcpu): VcpuRecord {
    return (this.#vm.vcpus[index] ??= newVcpuRecord());
  }

  #exchangeWith(vcpu: HostVcpu): Exchange {
    const record = this.#record(vcpu);
    this.#exchange ??= {
      vcpu,
      record,
      vm: this.#vm,
      settings: this.#settings,
      ghcb: new GhcbPage(),
      scratch: new ScratchArea(),
      statistics: this.statistics,
      moved: 0,
      terminated: null,
    };
    this.#exchange.vcpu = vcpu;
    this.#exchange.record = record;
    this.#exchange.vm = this.#vm;
    return this.#exchange;
  }
}

/** The profile of a host that speaks `version` at most. */
function limited(profile: HostProfile, version: number): HostProfile {
  const { min, max } = profile.protocol;
  return { ...profile, protocol: { min, max: Math.min(max, version) } };
}
