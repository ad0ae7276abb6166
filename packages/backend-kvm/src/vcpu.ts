/**
 * A vCPU on KVM: KVM_RUN again and again in the calling thread, exits answered in place.
 *
 * A run ends by its deadline, a kick or `shorten`; the instruction under way is completed first, so
 * that registers are those between two instructions. With local APICs in the kernel HLT stays in
 * KVM_RUN: it is found when a run ends, reported then, and the vCPU sleeps outside until something
 * happened that may wake it (an interrupt sent from here, another vCPU's run, the APIC's timer).
 */
import {
  type ExitSink,
  type RunEnd,
  type Timer,
  type Vcpu,
  type VcpuState,
  VmmError,
} from '@cloister/core';
import { EXIT, MP, SYNC } from './abi/constants.js';
import { KVM } from './abi/ioctls.js';
import { ERRNO, NR } from './abi/linux.js';
import { make, offsetOf, type Struct, StructView } from './abi/struct.js';
import { INTERRUPT, MP_STATE, REGS, RUN, SREGS, SYNC_REGS, VCPU_EVENTS } from './abi/structs.js';
import { type DebugRequest, guestDebug } from './debug.js';
import { type KickHandle, KickRequest } from './kick.js';
import type { KvmAssist } from './kvm-assist.js';
import { untilLapicTimer } from './lapic-timer.js';
import { Mapping } from './mapping.js';
import { fromState, registerStructs, toState } from './registers.js';
import { RunPage } from './run-page.js';
import { errnoName, ioctl, tryIoctl } from './sys/sys.js';
import type { VcpuPorts } from './vcpu-ports.js';

/** Exits of one instruction that are completed before a run ends (REP may have any number). */
const COMPLETIONS_MAX = 65536;
/** Exits without a look at the registers after which they are no longer kept in the page. */
const SYNC_PATIENCE = 256;
/** The first look whether the guest halts: outside of KVM_RUN the event loop goes on meanwhile. */
const DOZE_NS = 250_000;
/** A guest that its APIC's timer wakes sooner stays in KVM_RUN: the host's timers are coarser. */
const NAP_NS = 2_000_000;
/** Full rings in a row that list nothing: KVM has lost count of the ring, and never runs again. */
const EMPTY_RINGS_MAX = 8;
const SYNC_ALL = SYNC.REGS | SYNC.SREGS | SYNC.EVENTS;
const SYNC_AT = offsetOf(RUN, 's');

export class KvmVcpu implements Vcpu {
  readonly page: RunPage;
  readonly kicks = new KickRequest();
  /** Times that KVM_RUN was called, and that a signal ended it. */
  entries = 0;
  interruptions = 0;
  private readonly mapping: Mapping;
  private readonly structs;
  private readonly sync: { readonly regs: StructView; readonly sregs: StructView };
  private inside = false;
  private stopping = false;
  /** Whether KVM still has to complete the instruction of the last exit. */
  private incomplete = false;
  private deadline = 0;
  /** Nanoseconds from the timer that is set to the deadline, and between two looks. */
  private left = 0;
  private interval = DOZE_NS;
  private asleep: 'halted' | 'waiting' | null = null;
  /** What the VM's count of events was when this vCPU was found asleep. */
  private seen = -1;
  private wake: Timer | null = null;
  /** Whether `poll` ended in an exit that is still to be answered. */
  private undelivered = false;
  /** Exits since the registers in the page were last looked at. */
  private unread = 0;
  /** Times in a row that KVM found a ring full which listed nothing. */
  private emptyRings = 0;
  /** The entry whose exit left the registers in the page. */
  private syncedAt = -1;

  constructor(
    readonly index: number,
    readonly fd: number,
    runSize: number,
    private readonly ports: VcpuPorts,
  ) {
    const { sys } = ports;
    this.mapping = Mapping.ofFile(sys, fd, runSize);
    this.page = new RunPage(this.mapping.bytes, index);
    this.structs = registerStructs(ports.xsave);
    const synced = (type: Struct, field: string) =>
      new StructView(type, this.mapping.bytes, SYNC_AT + offsetOf(SYNC_REGS, field));
    this.sync = { regs: synced(REGS, 'regs'), sregs: synced(SREGS, 'sregs') };
    try {
      ports.signals.admit(fd);
    } catch (error) {
      this.mapping.dispose();
      throw error;
    }
    if (index > 0) this.asleep = 'waiting';
  }

  get kickHandle(): KickHandle {
    return this.kicks.handle(this.ports.signals.pid);
  }

  get runnable(): boolean {
    if (this.asleep === null || this.kicks.pending) return true;
    if (this.ports.interrupts.kind === 'none') {
      return (this.ports.interrupts.wanted && this.page.interruptible) || this.nmiWaits();
    }
    return this.seen !== this.ports.events.count;
  }

  run(slice: number, sink: ExitSink): RunEnd {
    if (this.inside) throw new VmmError('invalid-state', 'the vCPU is running already');
    const { signals, clock } = this.ports;
    if (this.asleep !== null) {
      if (this.kicks.take()) return 'kicked';
      if (!this.awakes()) return this.asleep;
    }
    this.inside = true;
    this.stopping = false;
    this.deadline = clock.now() + slice;
    this.kicks.enter(signals.tid);
    this.interval = DOZE_NS;
    this.arm(slice);
    try {
      return this.loop(sink);
    } finally {
      this.kicks.leave();
      signals.disarm();
      this.inside = false;
      // What this vCPU did may have woken another.
      this.ports.events.count++;
      if (this.asleep !== null) this.seen = this.ports.events.count;
    }
  }

  shorten(ns: number): void {
    if (!this.inside) return;
    if (ns <= 0) {
      this.stopping = true;
      return;
    }
    const at = this.ports.clock.now() + ns;
    if (at >= this.deadline) return;
    this.deadline = at;
    this.arm(ns);
  }

  /** Sets the run's deadline, and before it a look whether the guest halts. */
  private arm(ns: number): void {
    const first = Math.min(ns, this.interval);
    this.left = ns - first;
    this.ports.signals.arm(first);
  }

  /** The timer fired: whether the run is to end, be it that the guest halts for longer. */
  private isOver(): boolean {
    if (this.left <= 0 || this.dozes()) return true;
    this.interval *= 2;
    this.arm(this.left);
    return false;
  }

  private dozes(): boolean {
    const { sys, interrupts, tscKhz } = this.ports;
    if (interrupts.kind === 'none') return false;
    const state = this.sleepState();
    if (state !== 'halted') return state !== null;
    return untilLapicTimer(sys, this.fd, tscKhz) > NAP_NS;
  }

  kick(): void {
    this.kicks.ask();
  }

  nmi(): void {
    ioctl(this.ports.sys, this.fd, 'NMI');
    this.ports.events.count++;
  }

  /** Sets breakpoints and single-stepping; hits are `debug` exits. */
  debug(request: DebugRequest): void {
    ioctl(this.ports.sys, this.fd, 'SET_GUEST_DEBUG', guestDebug(request));
  }

  readState(): VcpuState {
    this.ports.requireReadable();
    const { sys } = this.ports;
    const { debug, xcrs } = this.structs;
    ioctl(sys, this.fd, 'GET_DEBUGREGS', debug.bytes);
    if (xcrs !== null) ioctl(sys, this.fd, 'GET_XCRS', xcrs.bytes);
    if (this.synced) {
      this.unread = 0;
      return toState({ ...this.sync, debug, xcrs });
    }
    if (this.inside && this.ports.syncRegs) this.page.syncValid = SYNC_ALL;
    this.fetch();
    return toState(this.structs);
  }

  writeState(state: VcpuState): void {
    this.ports.requireReadable();
    const { sys } = this.ports;
    const { regs, sregs, debug, xcrs } = this.structs;
    if (!this.inside) this.complete(() => {});
    this.fetch();
    ioctl(sys, this.fd, 'GET_DEBUGREGS', debug.bytes);
    fromState(state, this.structs);
    if (xcrs !== null) ioctl(sys, this.fd, 'SET_XCRS', xcrs.bytes);
    ioctl(sys, this.fd, 'SET_SREGS', sregs.bytes);
    ioctl(sys, this.fd, 'SET_REGS', regs.bytes);
    ioctl(sys, this.fd, 'SET_DEBUGREGS', debug.bytes);
    this.page.syncValid = 0;
    this.setRunnable();
  }

  /** As after a change of state from outside: not asleep, nothing under way. */
  setRunnable(): void {
    const mp = make(MP_STATE, { mp_state: MP.RUNNABLE });
    tryIoctl(this.ports.sys, this.fd, 'SET_MP_STATE', mp.bytes);
    this.asleep = null;
    this.cancelWake();
  }

  /** The vCPU's state was replaced: finds out whether it sleeps. */
  stateReplaced(): void {
    this.incomplete = false;
    this.undelivered = false;
    this.cancelWake();
    // Without APICs in the kernel only the VM's record knows: it sets `halted` behind this.
    this.asleep = null;
    this.asleep = this.sleepState();
    this.seen = -1;
  }

  /** Completes the instruction under way, as a snapshot needs it. */
  settle(): void {
    this.complete(() => {});
  }

  get halted(): boolean {
    return this.asleep === 'halted';
  }

  set halted(value: boolean) {
    this.asleep = value ? 'halted' : this.asleep;
  }

  dispose(): void {
    this.cancelWake();
    this.mapping.dispose();
    this.ports.sys.syscall(NR.close, this.fd);
  }

  private loop(sink: ExitSink): RunEnd {
    const { page } = this;
    const { signals } = this.ports;
    for (;;) {
      if (this.kicks.take()) return this.stop('kicked', sink);
      if (this.stopping) return this.stop('slice', sink);
      const result = this.enter();
      this.incomplete = false;
      if (result === 0) {
        const end = this.exit(sink);
        if (end !== null) return end;
        continue;
      }
      if (result === -ERRNO.EINTR) {
        this.interruptions++;
        // Without a deadline or request it was some other signal: go on.
        if (signals.drain() && this.isOver()) return this.stop('slice', sink);
      } else if (result === -ERRNO.EAGAIN) {
        // A CPU that waits for SIPI was told something.
        if (this.sleepState() === 'waiting') return this.stop('slice', sink);
      } else if (page.reason === EXIT.MEMORY_FAULT && result !== -ERRNO.EBADF) {
        page.deliverMemoryFault(sink);
        return 'error';
      } else {
        page.deliverError(sink, 'run-failed', `KVM_RUN: ${errnoName(result)}`);
        return 'error';
      }
    }
  }

  /** KVM_RUN; or the exit that `poll` found. */
  private enter(): number {
    if (this.undelivered) {
      this.undelivered = false;
      return 0;
    }
    this.inject();
    this.entries++;
    return this.ports.sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
  }

  /** Ends a run: completes the instruction, then looks whether the vCPU sleeps. */
  private stop(end: 'slice' | 'kicked', sink: ExitSink): RunEnd {
    const completed = this.complete(sink);
    if (completed !== null) return completed;
    if (end === 'kicked') return end;
    this.asleep = this.sleepState();
    this.settleSleep();
    if (this.asleep === null) return end;
    if (this.asleep === 'halted') this.page.deliverHalt(sink);
    return this.asleep;
  }

  /** Answers one exit; what the run comes to if that ends it. */
  private exit(sink: ExitSink): RunEnd | null {
    const { page } = this;
    this.ageSync();
    switch (page.reason) {
      case EXIT.IO:
        this.incomplete = true;
        page.deliverIo(sink);
        return null;
      case EXIT.MMIO:
        this.incomplete = true;
        page.deliverMmio(sink);
        return null;
      case EXIT.X86_RDMSR:
      case EXIT.X86_WRMSR:
        this.incomplete = true;
        page.deliverMsr(sink);
        return null;
      case EXIT.HYPERCALL:
        this.incomplete = true;
        page.deliverHypercall(sink);
        return null;
      case EXIT.IRQ_WINDOW_OPEN:
        return null;
      case EXIT.INTR:
        return null;
      case EXIT.IOAPIC_EOI:
        this.ports.interrupts.endOfInterrupt(page.eoiVector);
        return null;
      case EXIT.DIRTY_RING_FULL:
        return this.ringFull(sink);
      case EXIT.HLT:
        page.deliverHalt(sink);
        this.asleep = 'halted';
        return this.runnable ? this.awake() : 'halted';
      case EXIT.DEBUG:
        page.deliverDebug(sink);
        return null;
      case EXIT.SHUTDOWN:
        page.deliverShutdown(sink);
        return 'shutdown';
      case EXIT.SYSTEM_EVENT:
        page.deliverSystemEvent(sink);
        return null;
      case EXIT.MEMORY_FAULT:
        page.deliverMemoryFault(sink);
        return 'error';
      case EXIT.INTERNAL_ERROR:
        if (this.ports.assist !== null && page.failedInstruction() !== null) {
          return this.assisted(this.ports.assist, sink);
        }
        page.deliverInternalError(sink);
        return 'error';
      case EXIT.FAIL_ENTRY:
        page.deliverFailEntry(sink);
        return 'error';
      default:
        page.deliverError(sink, 'unknown-exit', `KVM left the guest for ${page.reasonName}`);
        return 'error';
    }
  }

  private awake(): null {
    this.asleep = null;
    return null;
  }

  private ringFull(sink: ExitSink): RunEnd | null {
    this.emptyRings = this.ports.ringFull() > 0 ? 0 : this.emptyRings + 1;
    if (this.emptyRings < EMPTY_RINGS_MAX) return null;
    this.page.deliverError(sink, 'dirty-ring', 'KVM calls a dirty ring full that lists no pages');
    return 'error';
  }

  /** Another processor executes the instruction that KVM could not; what the run comes to. */
  private assisted(assist: KvmAssist, sink: ExitSink): RunEnd | null {
    const end = assist.step(this, sink);
    if (end === 'shutdown') return end;
    if (end === 'done') {
      this.page.syncValid = 0;
      return null;
    }
    this.page.deliverInternalError(sink);
    return 'error';
  }

  /**
   * Lets KVM finish what the last exit began. Another exit of the same instruction is answered as
   * usual. Null, or what the run came to.
   */
  private complete(sink: ExitSink): RunEnd | null {
    if (!this.incomplete) return null;
    const { page } = this;
    page.immediateExit = true;
    try {
      for (let count = 0; this.incomplete && count < COMPLETIONS_MAX; count++) {
        const result = this.ports.sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
        this.incomplete = false;
        if (result !== 0) return null;
        const end = this.exit(sink);
        if (end !== null) return end;
      }
      return null;
    } finally {
      page.immediateExit = false;
    }
  }

  /** Injects the PIC's interrupt, or asks to be told when that can be. */
  private inject(): void {
    const { interrupts, sys } = this.ports;
    if (this.index !== 0) return;
    if (!interrupts.wanted) {
      this.page.requestWindow = false;
      return;
    }
    if (!this.page.ready) {
      this.page.requestWindow = true;
      return;
    }
    const irq = make(INTERRUPT, { irq: interrupts.acknowledge() });
    tryIoctl(sys, this.fd, 'INTERRUPT', irq.bytes);
    this.page.requestWindow = interrupts.wanted;
  }

  /** A sleeping vCPU was found runnable: whether it really wakes. */
  private awakes(): boolean {
    const { ports } = this;
    if (ports.interrupts.kind === 'none') {
      if (!this.runnable) return false;
      this.awake();
      return true;
    }
    this.cancelWake();
    if (this.asleep === 'halted') this.look();
    else this.asleep = this.sleepState();
    this.seen = ports.events.count;
    this.settleSleep();
    return this.asleep === null;
  }

  /** Two looks: the first makes an interrupt of a timer that fired, the second takes it. */
  private look(): void {
    for (let looks = 0; looks < 2 && this.asleep === 'halted' && !this.undelivered; looks++) {
      this.poll();
      this.asleep = this.sleepState();
    }
  }

  /**
   * A vCPU that was found halted: plans its wake. Without a timer to wake it, one may have fired
   * since it was looked at; then it does not sleep.
   */
  private settleSleep(): void {
    if (this.asleep !== 'halted' || this.ports.interrupts.kind === 'none') return;
    if (!this.planWake()) this.look();
  }

  /** Enters the guest with a signal pending: KVM wakes the vCPU if it can, and comes back. */
  private poll(): void {
    const { sys, signals } = this.ports;
    this.inject();
    signals.raise();
    this.entries++;
    const result = sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
    signals.drain();
    // It may have run so far as to exit: the loop must find that exit again.
    if (result === 0) this.undelivered = true;
  }

  /** Whether an NMI is pending that the guest would take now. */
  private nmiWaits(): boolean {
    const events = new StructView(VCPU_EVENTS);
    ioctl(this.ports.sys, this.fd, 'GET_VCPU_EVENTS', events.bytes);
    return events.get('nmi.pending') !== 0 && events.get('nmi.masked') === 0;
  }

  private sleepState(): 'halted' | 'waiting' | null {
    if (this.ports.interrupts.kind === 'none') return this.asleep;
    const mp = new StructView(MP_STATE);
    if (tryIoctl(this.ports.sys, this.fd, 'GET_MP_STATE', mp.bytes) < 0) return null;
    switch (mp.get('mp_state')) {
      case MP.HALTED:
        return 'halted';
      case MP.UNINITIALIZED:
      case MP.INIT_RECEIVED:
        return 'waiting';
      default:
        return null;
    }
  }

  /** The kernel's APIC timer cannot wake a vCPU outside of KVM_RUN: the machine's clock does. */
  private planWake(): boolean {
    const { sys, clock, events, tscKhz } = this.ports;
    const ns = untilLapicTimer(sys, this.fd, tscKhz);
    if (ns === Number.POSITIVE_INFINITY) return false;
    this.wake = clock.at(clock.now() + ns, () => {
      this.wake = null;
      events.count++;
    });
    return true;
  }

  private cancelWake(): void {
    this.wake?.cancel();
    this.wake = null;
  }

  private get synced(): boolean {
    return this.inside && this.page.syncValid === SYNC_ALL && this.syncedAt === this.entries;
  }

  /** Notes whether this exit left the registers in the page; stops that when nobody looks. */
  private ageSync(): void {
    if (this.page.syncValid === 0) return;
    this.syncedAt = this.entries;
    if (++this.unread < SYNC_PATIENCE) return;
    this.unread = 0;
    this.page.syncValid = 0;
  }

  private fetch(): void {
    const { sys } = this.ports;
    ioctl(sys, this.fd, 'GET_REGS', this.structs.regs.bytes);
    ioctl(sys, this.fd, 'GET_SREGS', this.structs.sregs.bytes);
  }
}
