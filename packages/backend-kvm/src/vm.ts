/**
 * A VM on KVM: memory, interrupt controllers and vCPUs of one kernel object, and their end.
 *
 * Everything that is opened is noted at once and closed in reverse order, whether by `dispose` or
 * because the making failed in the middle.
 */
import {
  type BackendVm,
  type BackendVmOptions,
  type Doorbells,
  type ExitSink,
  type MemorySlot,
  type NativeVmControl,
  type SlotMemory,
  type Snapshot,
  slotMemory,
  VmmError,
} from '@cloister/core';
import { CAP, MSR_EXIT_REASON, SYNC, VM_TYPE } from './abi/constants.js';
import { NR } from './abi/linux.js';
import { make, StructView } from './abi/struct.js';
import { CLOCK_DATA, DIRTY_GFN, ENABLE_CAP, IRQCHIP } from './abi/structs.js';
import type { CpuChoice } from './cpuid-policy.js';
import type { DirtyRing } from './dirty-ring.js';
import { EventFds } from './event-fds.js';
import { EventWatch } from './event-watch.js';
import { KvmGuestMemory } from './guest-memory.js';
import type { KvmHost } from './host.js';
import { emulatesKernels } from './hypercall-loop.js';
import { IOAPIC_PINS, KvmInterrupts, type KvmIrqchip } from './interrupts.js';
import { type KvmAssist, openAssist } from './kvm-assist.js';
import { KvmNativeControl } from './native-control.js';
import { closeWithThread } from './open-vms.js';
import { RunWatch } from './run-watch.js';
import { ioctl, type Sys, sysError, tryIoctl } from './sys/sys.js';
import { ThreadSignals } from './thread-signals.js';
import type { KvmVcpu } from './vcpu.js';
import type { VcpuGroup } from './vcpu-group.js';
import type { VcpuWorkerData } from './vcpu-mailbox.js';
import type { VcpuPorts } from './vcpu-ports.js';
import type { VcpuRecords } from './vcpu-record.js';
import { openVcpus, type VcpuSet } from './vcpu-set.js';
import type { VcpuRunner } from './vcpu-thread.js';
import { CLOCK_SIZE, readVm, VM_RECORD } from './vm-record.js';

export interface KvmVmChoices {
  readonly cpu: CpuChoice;
  readonly irqchip: KvmIrqchip;
  /** Entries of the rings of written pages, a power of two; 0 for the log. */
  readonly dirtyRing: number;
  /** Starts the threads of further vCPUs; null where all take turns in the VM's. */
  readonly startThread: ((data: VcpuWorkerData) => VcpuRunner) | null;
}

const PAGE = 4096;
/** Three pages that Intel's processors need for real mode, below the BIOS. */
const IDENTITY_MAP = 0xfeffc000n;
const TSS = 0xfeffd000;
const CHIPS = [0, 1, 2] as const;

export class KvmVm implements BackendVm {
  readonly memory: SlotMemory;
  readonly interrupts: KvmInterrupts;
  readonly vcpus: readonly KvmVcpu[];
  readonly native: NativeVmControl;
  /** Doorbells and interrupts by event file descriptors. */
  readonly eventFds: EventFds;
  readonly park?: (sink: ExitSink) => void;
  readonly doorbells?: Doorbells;
  /** The memory file, for other threads to map. */
  readonly memoryFd: number;
  private readonly sys: Sys;
  private readonly fd: number;
  private readonly guest: KvmGuestMemory;
  private readonly assist: KvmAssist | null;
  private readonly watch: RunWatch;
  private readonly rings: readonly DirtyRing[];
  private readonly records: readonly VcpuRecords[];
  private readonly fresh: ((keepTime: boolean) => void)[];
  private readonly freshChips: readonly Uint8Array[];
  private readonly undo: (() => void)[] = [];
  private readonly events = { count: 0 };
  /** Where vCPUs execute at the same time. */
  private readonly group: VcpuGroup | null;

  constructor(
    private readonly host: KvmHost,
    options: BackendVmOptions,
    private readonly choices: KvmVmChoices,
  ) {
    const { sys } = host;
    this.sys = sys;
    try {
      const vmType = options.vmType ?? VM_TYPE.DEFAULT_VM;
      // In a handler of another VM's exit: CREATE_VM does not bear signals.
      ThreadSignals.quiet(sys);
      this.fd = ioctl(sys, host.fd, 'CREATE_VM', vmType);
      this.undo.push(() => void sys.syscall(NR.close, this.fd));
      this.placeRealModePages();
      this.enableExits();
      const ring = this.enableRing();
      this.guest = new KvmGuestMemory({
        sys,
        vmFd: this.fd,
        size: Math.max(PAGE, Math.ceil(options.memorySize / PAGE) * PAGE),
        ...(ring && { collect: () => void this.collectRings() }),
        withPrivate: hasPrivateMemory(vmType),
      });
      this.undo.push(() => this.guest.dispose());
      this.memoryFd = this.guest.fd;
      this.memory = slotMemory(this.guest);
      this.assist = this.openAssist(options);
      this.createIrqchip();
      this.interrupts = new KvmInterrupts(sys, this.fd, choices.irqchip, () => {
        this.events.count++;
      });
      this.eventFds = new EventFds(sys, this.fd, this.interrupts);
      this.undo.push(() => this.eventFds.dispose());
      this.watch = new RunWatch(sys, this.eventFds);
      this.undo.push(() => this.watch.dispose(true));
      const native = new KvmNativeControl(sys, this.fd, vmType, host.vmTypes(), this.guest);
      this.native = native;
      this.undo.push(() => native.dispose());
      const { vcpus, records, rings, group } = this.openVcpus(options, vmType);
      this.vcpus = vcpus;
      this.records = records;
      this.rings = rings;
      this.group = group;
      if (group !== null) {
        this.park = (sink) => this.parkAll(group, sink);
        // One CPU's exit is sooner answered than another thread told.
        this.doorbells = this.watch;
      }
      this.fresh = this.records.map((record) => record.check(record.take()));
      this.freshChips = this.takeChips();
      this.undo.push(closeWithThread(() => this.close()));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  instructions(): number {
    return -1;
  }

  addSlot(slot: MemorySlot): void {
    this.still(() => {
      this.memory.addSlot(slot);
      try {
        this.guest.addSlot(slot);
      } catch (error) {
        this.memory.removeSlot(slot.id);
        throw error;
      }
      try {
        this.assist?.addSlot(slot);
      } catch (error) {
        this.guest.removeSlot(slot.id);
        this.memory.removeSlot(slot.id);
        throw error;
      }
    });
  }

  /** The guest loses the slot first: what the host still knows of is zeros, and nobody else's. */
  removeSlot(id: number): void {
    this.still(() => {
      this.assist?.removeSlot(id);
      this.guest.removeSlot(id);
      this.memory.removeSlot(id);
    });
  }

  /** Lets what the event loop waits for interrupt runs; once, after the VM was made. */
  async watchEvents(): Promise<void> {
    this.watch.connect(await EventWatch.acquire(this.sys));
  }

  private parkAll(group: VcpuGroup, sink: ExitSink): void {
    group.park(sink);
    this.watch.tell();
  }

  /** No vCPU executes meanwhile. */
  private still(action: () => void): void {
    if (this.group === null) action();
    else this.group.still(action);
  }

  private requireParked(): void {
    if (this.group?.going !== true) return;
    throw new VmmError('invalid-state', 'vCPUs are running in threads of their own', {
      remedy: 'park the VM first',
    });
  }

  reset(): void {
    this.requireParked();
    for (const chip of this.freshChips) this.putChip(chip);
    this.vcpus.forEach((vcpu, index) => {
      vcpu.settle();
      this.fresh[index]!(true);
      vcpu.stateReplaced();
      vcpu.halted = false;
    });
    this.group?.forget();
    this.events.count++;
  }

  statistics(): readonly (readonly [string, number])[] {
    const sum = (of: (vcpu: KvmVcpu) => number) =>
      this.vcpus.reduce((total, vcpu) => total + of(vcpu), 0);
    return [
      ['KVM entries', sum((vcpu) => vcpu.entries)],
      ['runs ended by a signal', sum((vcpu) => vcpu.interruptions)],
      ['instructions assisted', this.assist?.steps ?? 0],
    ];
  }

  snapshot(): Snapshot {
    this.requireParked();
    for (const vcpu of this.vcpus) vcpu.settle();
    const { irqchip } = this.choices;
    return {
      ...VM_RECORD,
      state: {
        irqchip,
        halted: this.vcpus.map((vcpu) => vcpu.halted),
        cpus: this.records.map((record) => record.take()),
        chips: this.takeChips(),
        routes: this.interrupts.learnedRoutes(),
        clock: this.takeClock(),
        memory: this.guest.save(),
      },
    };
  }

  restore(snapshot: Snapshot): void {
    this.requireParked();
    const saved = readVm(snapshot, {
      irqchip: this.choices.irqchip,
      cpus: this.vcpus.length,
      chips: this.freshChips.length,
      memorySize: this.guest.bytes.length,
    });
    const states = saved.cpus.map((cpu, index) => this.records[index]!.check(cpu));
    for (const vcpu of this.vcpus) vcpu.settle();
    this.putStates(states);
    this.guest.load(saved.memory);
    this.putClock(saved.clock);
    this.interrupts.learnRoutes(saved.routes);
    for (const chip of saved.chips) this.putChip(chip);
    // Once more: PAE paging takes its directory pointers from memory as CR3 is set.
    for (const put of states) put();
    this.vcpus.forEach((vcpu, index) => {
      vcpu.stateReplaced();
      vcpu.halted = saved.halted[index]!;
    });
    this.group?.forget();
    this.events.count++;
  }

  async dispose(): Promise<void> {
    try {
      await this.group?.end();
      this.watch.dispose();
    } finally {
      this.close();
    }
  }

  /** Undoes everything, whatever fails of it. */
  private close(): void {
    const errors: unknown[] = [];
    for (const undo of this.undo.splice(0).reverse()) {
      try {
        undo();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, 'the VM could not be closed whole');
  }

  private enableCap(cap: number, ...args: readonly number[]): number {
    const request = make(ENABLE_CAP, { cap });
    args.forEach((arg, index) => {
      request.view.setBigUint64(8 + 8 * index, BigInt(arg), true);
    });
    return tryIoctl(this.sys, this.fd, 'ENABLE_CAP', request.bytes);
  }

  private placeRealModePages(): void {
    const address = new BigUint64Array([IDENTITY_MAP]);
    // Needed by Intel's older processors only; elsewhere refused or ignored.
    tryIoctl(this.sys, this.fd, 'SET_IDENTITY_MAP_ADDR', new Uint8Array(address.buffer));
    tryIoctl(this.sys, this.fd, 'SET_TSS_ADDR', TSS);
  }

  private enableExits(): void {
    const reasons = MSR_EXIT_REASON.INVAL | MSR_EXIT_REASON.UNKNOWN;
    this.enableCap(CAP.X86_USER_SPACE_MSR, reasons);
    this.enableCap(CAP.EXIT_ON_EMULATION_FAILURE, 1);
  }

  private enableRing(): boolean {
    const { dirtyRing } = this.choices;
    if (dirtyRing === 0) return false;
    const result = this.enableCap(CAP.DIRTY_LOG_RING, dirtyRing * DIRTY_GFN.size);
    if (result < 0) {
      throw new VmmError('unsupported', `no dirty ring of ${dirtyRing} entries on this host`, {
        remedy: 'ask for a power of two up to 65536, or do without dirtyRing',
        cause: sysError('KVM_CAP_DIRTY_LOG_RING', result),
      });
    }
    return true;
  }

  private openAssist(options: BackendVmOptions): KvmAssist | null {
    const { sys, host, choices, guest } = this;
    const assist = openAssist({
      sys,
      options,
      cpu: choices.cpu,
      supported: host.supportedCpuid(),
      memory: guest,
      xsave: host.capability(CAP.XCRS) > 0,
    });
    if (assist !== null) this.undo.push(() => assist.dispose());
    return assist;
  }

  private createIrqchip(): void {
    const { irqchip } = this.choices;
    if (irqchip === 'kernel') ioctl(this.sys, this.fd, 'CREATE_IRQCHIP');
    if (irqchip !== 'split') return;
    const result = this.enableCap(CAP.SPLIT_IRQCHIP, IOAPIC_PINS);
    if (result >= 0) return;
    throw new VmmError('unsupported', 'this kernel has no split irqchip', {
      remedy: "use kvm({ irqchip: 'kernel' }) with pc({ irqchip: 'internal' })",
      cause: sysError('KVM_CAP_SPLIT_IRQCHIP', result),
    });
  }

  private openVcpus({ cpus, clock }: BackendVmOptions, vmType: number): VcpuSet {
    const { sys, host, choices, undo } = this;
    const signals = ThreadSignals.acquire(sys);
    undo.push(() => signals.release());
    const ports: Omit<VcpuPorts, 'tscKhz'> = {
      sys,
      signals,
      clock,
      interrupts: this.interrupts,
      watch: this.watch,
      events: this.events,
      xsave: host.capability(CAP.XCRS) > 0,
      syncRegs: (host.capability(CAP.SYNC_REGS) & SYNC.REGS) !== 0,
      assist: this.assist,
      readMemory:
        vmType === VM_TYPE.DEFAULT_VM && emulatesKernels()
          ? (gpa, target) => this.memory.read(gpa, target)
          : null,
      ringFull: () => this.collectRings(),
      requireReadable: () => requireReadable(vmType),
    };
    return openVcpus({ host, vmFd: this.fd, cpus, choices, vmType, ports, undo });
  }

  /** Empties the rings; how many entries there were. */
  private collectRings(): number {
    let count = 0;
    const note = (slot: number, page: number) => this.guest.guestWrote(slot, page);
    for (const ring of this.rings) count += ring.take(note);
    tryIoctl(this.sys, this.fd, 'RESET_DIRTY_RINGS');
    return count;
  }

  /** Puts vCPUs' states there; where the kernel refuses one, those of before stay. */
  private putStates(states: readonly (() => void)[]): void {
    const before = this.records.map((record) => record.check(record.take()));
    try {
      for (const put of states) put();
    } catch (cause) {
      for (const put of before) put();
      throw new VmmError('snapshot-mismatch', 'this host cannot take the state of a saved vCPU', {
        remedy: 'restore on a host with the features of the one that it was saved on',
        cause,
      });
    }
  }

  /** PIC and IOAPIC, where they are in the kernel. */
  private takeChips(): Uint8Array[] {
    if (this.choices.irqchip !== 'kernel') return [];
    return CHIPS.map((id) => {
      const chip = make(IRQCHIP, { chip_id: id });
      ioctl(this.sys, this.fd, 'GET_IRQCHIP', chip.bytes);
      return chip.bytes;
    });
  }

  private putChip(saved: Uint8Array): void {
    ioctl(this.sys, this.fd, 'SET_IRQCHIP', saved.slice());
  }

  private takeClock(): Uint8Array {
    const clock = new StructView(CLOCK_DATA);
    tryIoctl(this.sys, this.fd, 'GET_CLOCK', clock.bytes);
    return clock.bytes.slice(0, CLOCK_SIZE);
  }

  private putClock(saved: Uint8Array): void {
    const clock = new StructView(CLOCK_DATA);
    clock.bytes.set(saved);
    tryIoctl(this.sys, this.fd, 'SET_CLOCK', clock.bytes);
  }
}

/** VM types whose private pages are not those of the memory file. */
function hasPrivateMemory(vmType: number): boolean {
  return vmType === VM_TYPE.SW_PROTECTED_VM || vmType >= VM_TYPE.SNP_VM;
}

/** Registers of SEV-ES and later guests are encrypted. */
function requireReadable(vmType: number): void {
  if (vmType < VM_TYPE.SEV_ES_VM) return;
  throw new VmmError('unsupported', 'the protection hides the registers of this VM');
}
