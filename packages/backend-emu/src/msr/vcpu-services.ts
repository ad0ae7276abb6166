/**
 * The parts beside a vCPU's core, wired together: time-stamp counter, local APIC, KVM's clock and
 * end of interrupt, MSRs and CPUID. One call builds what a `Processor` asks.
 */
import type {
  Clock,
  CpuExtension,
  DmaView,
  ExtensionVcpu,
  Snapshot,
  Snapshotable,
} from '@cloister/core';
import { VmmError } from '@cloister/core';
import type { CpuSelection } from '@cloister/core/cpu';
import { CpuidTable } from '@cloister/core/cpu';
import type { ApicBus } from '../apic/bus.js';
import { LocalApic } from '../apic/local-apic.js';
import type { ApicCpu } from '../apic/ports.js';
import { KvmClock, type KvmClockGroup } from '../paravirt/kvm-clock.js';
import { PvEoi } from '../paravirt/pv-eoi.js';
import { TimeStamp } from '../timing/time-stamp.js';
import { MsrFile } from './file.js';
import { MEMORY_TYPE_WORDS, memoryTypeMsrs, resetMemoryTypes } from './memory-type-msrs.js';
import { type PlatformState, platformMsrs, platformReset } from './platform-msrs.js';
import type { MsrCpu } from './ports.js';
import { systemMsrs } from './system-msrs.js';
import { timingMsrs } from './timing-msrs.js';

/** What all vCPUs of a VM share. */
export interface ServicesShared {
  readonly cpu: CpuSelection;
  readonly cpus: number;
  readonly clock: Clock;
  /** Guest memory by physical address, for what KVM's interfaces keep there. */
  readonly memory: Pick<DmaView, 'read' | 'write'>;
  readonly bus: ApicBus;
  readonly kvmClocks: KvmClockGroup;
  readonly extensions: readonly CpuExtension[];
}

export interface ServicesOptions {
  readonly index: number;
  /** The vCPU record, from cpuBase. */
  readonly view: DataView;
  readonly cpu: ApicCpu & MsrCpu;
  readonly vcpu: ExtensionVcpu | null;
}

export class VcpuServices implements Snapshotable {
  readonly tsc: TimeStamp;
  readonly apic: LocalApic;
  readonly msrs: MsrFile;
  readonly cpuid: CpuidTable;
  readonly kvmClock: KvmClock;
  readonly pvEoi: PvEoi;
  readonly platform: PlatformState = platformReset();
  private readonly memoryTypes: number[] = Array.from({ length: MEMORY_TYPE_WORDS }, () => 0);

  constructor(shared: ServicesShared, options: ServicesOptions) {
    const { cpu, clock, memory, bus, extensions, cpus } = shared;
    const { index, view } = options;
    const { physicalBits } = cpu.model;
    this.tsc = new TimeStamp(clock, view);
    this.apic = new LocalApic(
      {
        id: index,
        boot: index === 0,
        x2apic: cpu.has('x2apic'),
        tscDeadline: cpu.has('tsc_deadline'),
        physicalBits,
      },
      options.cpu,
      bus,
      clock,
      this.tsc,
    );
    bus.add(this.apic);
    this.pvEoi = new PvEoi(memory);
    this.apic.connectShortcut(this.pvEoi);
    const stable = cpu.has('kvmclock_stable');
    this.kvmClock = new KvmClock(clock, this.tsc, memory, shared.kvmClocks, stable);
    this.cpuid = new CpuidTable(cpu, { cpus, index, physicalBits, extensions });
    const entries = [
      ...systemMsrs(view, cpu, options.cpu),
      ...platformMsrs(this.platform, cpu, options.cpu),
      ...timingMsrs(this, cpu),
      ...(cpu.has('mtrr') ? memoryTypeMsrs(this.memoryTypes, physicalBits) : []),
    ];
    const { apic } = this;
    this.msrs = new MsrFile({ entries, apic, cpu: options.cpu, extensions, vcpu: options.vcpu });
    this.handOver();
  }

  /**
   * RESET. The record, and so the TSC's offset, is reset by its owner. INIT: `apic.init()`.
   * Memory types and the boot CPU's APIC are left as firmware leaves them, since kernels are
   * entered without any; firmware that does run sets all of that again.
   */
  reset(): void {
    this.resetPlatform();
    this.kvmClock.reset();
    this.apic.reset();
    this.pvEoi.write(0, 0);
    this.handOver();
  }

  /** The platform's registers of RESET. */
  resetPlatform(): void {
    Object.assign(this.platform, platformReset());
  }

  private handOver(): void {
    resetMemoryTypes(this.memoryTypes);
    if (this.apic.id === 0) this.apic.enterVirtualWire();
  }

  snapshot(): Snapshot {
    return {
      type: 'vcpu-services',
      version: 2,
      state: {
        apic: this.apic.snapshot().state,
        kvmClock: this.kvmClock.snapshot(),
        pvEoi: [this.pvEoi.lo, this.pvEoi.hi],
        platform: { ...this.platform },
        memoryTypes: [...this.memoryTypes],
      },
    };
  }

  /** Restore the record and the clock first: timers are set by them. */
  restore(snapshot: Snapshot | undefined): void {
    const state = servicesState(snapshot);
    this.apic.restore({ type: 'local-apic', version: 1, state: state.apic });
    this.kvmClock.restore(state.kvmClock);
    this.pvEoi.write(state.pvEoi[0]!, state.pvEoi[1]!);
    Object.assign(this.platform, state.platform);
    this.memoryTypes.splice(0, MEMORY_TYPE_WORDS, ...state.memoryTypes);
  }
}

interface ServicesState {
  apic: Snapshot['state'];
  kvmClock: number[];
  pvEoi: number[];
  platform: PlatformState;
  memoryTypes: number[];
}

function servicesState(snapshot: Snapshot | undefined): ServicesState {
  const state = snapshot?.state as Partial<ServicesState> | null | undefined;
  const numbers = (list: unknown, length: number) =>
    Array.isArray(list) && list.length === length && list.every((item) => Number.isFinite(item));
  const valid =
    snapshot?.type === 'vcpu-services' &&
    snapshot.version === 2 &&
    typeof state === 'object' &&
    state !== null &&
    numbers(state.kvmClock, 5) &&
    numbers(state.pvEoi, 2) &&
    numbers(state.memoryTypes, MEMORY_TYPE_WORDS) &&
    typeof state.platform === 'object' &&
    state.platform !== null &&
    numbers(Object.values(state.platform), Object.keys(platformReset()).length);
  if (!valid) throw new VmmError('snapshot-mismatch', 'not the state of vCPU services');
  return state as ServicesState;
}
