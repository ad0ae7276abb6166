/**
 * A vCPU on KVM: KVM_RUN again and again in the calling thread, exits answered in place.
 *
 * A run ends by its deadline, a kick or `shorten`; the instruction under way is completed first, so
 * that registers are those between two instructions.
 *
 * One with a thread of its own follows the first vCPU of its group (`vcpu-group.ts`): a run of that
 * lets it go and answers its exits; kicks and deadlines are those of that run.
 */
import { type ExitSink, type RunEnd, type Vcpu, type VcpuState, VmmError } from '@cloister/core';
import { EXIT } from './abi/constants.js';
import { KVM } from './abi/ioctls.js';
import { ERRNO, NR } from './abi/linux.js';
import { make } from './abi/struct.js';
import { INTERRUPT } from './abi/structs.js';
import { type DebugRequest, guestDebug } from './debug.js';
import { type KickHandle, KickRequest } from './kick.js';
import type { KvmAssist } from './kvm-assist.js';
import { Mapping } from './mapping.js';
import { RunDeadline } from './run-deadline.js';
import { RunPage } from './run-page.js';
import { errnoName, ioctl, tryIoctl } from './sys/sys.js';
import type { VcpuGroup } from './vcpu-group.js';
import type { VcpuPorts } from './vcpu-ports.js';
import { VcpuRegisters } from './vcpu-registers.js';
import { type Asleep, VcpuSleep } from './vcpu-sleep.js';
import type { VcpuThread } from './vcpu-thread.js';

/** Exits of one instruction that are completed before a run ends (REP may have any number). */
const COMPLETIONS_MAX = 65536;
/** Full rings in a row that list nothing: KVM has lost count of the ring, and never runs again. */
const EMPTY_RINGS_MAX = 8;

/** A vCPU among others that execute at the same time. */
export interface Membership {
  readonly group: VcpuGroup;
  /** The first vCPU; null for itself. */
  readonly leader: KvmVcpu | null;
  /** The thread of its own; null for the first. */
  readonly thread: VcpuThread | null;
}

export const ALONE = { group: null, leader: null, thread: null } as const;

export class KvmVcpu implements Vcpu {
  readonly page: RunPage;
  readonly kicks = new KickRequest();
  readonly thread: VcpuThread | null;
  private readonly group: VcpuGroup | null;
  private readonly leader: KvmVcpu;
  private entriesHere = 0;
  private interruptionsHere = 0;
  private readonly mapping: Mapping;
  private readonly registers: VcpuRegisters;
  private readonly deadline: RunDeadline;
  private readonly sleep: VcpuSleep;
  private inside = false;
  /** Whether KVM still has to complete the instruction of the last exit. */
  private incomplete = false;
  /** Whether `poll` ended in an exit that is still to be answered. */
  private undelivered = false;
  /** Whether KVM is asked to leave the guest once an interrupt can be injected. */
  private windowAsked = false;
  /** Times in a row that KVM found a ring full which listed nothing. */
  private emptyRings = 0;

  constructor(
    readonly index: number,
    readonly fd: number,
    runSize: number,
    private readonly ports: VcpuPorts,
    { group, leader, thread }: Membership | typeof ALONE = ALONE,
  ) {
    const { sys } = ports;
    this.group = group;
    this.leader = leader ?? this;
    this.thread = thread;
    this.mapping = Mapping.ofFile(sys, fd, runSize);
    this.page = new RunPage(this.mapping.bytes, index);
    this.registers = new VcpuRegisters(fd, this.page, ports);
    this.deadline = new RunDeadline(ports.clock, ports.signals);
    this.sleep = new VcpuSleep(this, ports, index > 0 ? 'waiting' : null);
    try {
      ports.signals.admit(fd);
    } catch (error) {
      this.mapping.dispose();
      throw error;
    }
  }

  /** Times that KVM_RUN was called. */
  get entries(): number {
    return this.entriesHere + (this.thread?.entries ?? 0);
  }

  /** Times that a signal ended KVM_RUN. */
  get interruptions(): number {
    return this.interruptionsHere + (this.thread?.interruptions ?? 0);
  }

  get kickHandle(): KickHandle {
    return this.leader.kicks.handle(this.ports.signals.pid);
  }

  /** RFLAGS.IF at the last exit. */
  get interruptible(): boolean {
    return this.page.interruptible;
  }

  get runnable(): boolean {
    if (this.thread !== null) return false;
    return this.kicks.pending || this.sleep.mayEnd || (this.group?.active ?? false);
  }

  run(slice: number, sink: ExitSink): RunEnd {
    if (this.inside) throw new VmmError('invalid-state', 'the vCPU is running already');
    if (this.thread !== null) {
      throw new VmmError('invalid-state', 'the vCPU runs in a thread of its own', {
        remedy: 'run the first one, or use kvm({ parallel: false })',
      });
    }
    if (this.sleep.state !== null && this.kicks.take()) return 'kicked';
    const { signals, events, watch } = this.ports;
    this.inside = true;
    this.kicks.enter(signals.tid);
    this.deadline.start(slice);
    let end: RunEnd | null = null;
    try {
      watch.begin();
      end = this.beginning(sink) ?? this.loop(sink);
      return end;
    } finally {
      watch.finish(end === 'slice');
      this.kicks.leave();
      signals.disarm();
      this.inside = false;
      // What this vCPU did may have woken another.
      events.count++;
      this.sleep.note();
      if (this.sleep.state !== null) this.deadline.halted();
      this.group?.note();
    }
  }

  /** Null when there is something to run, else what the run comes to. */
  private beginning(sink: ExitSink): RunEnd | null {
    const { sleep, group } = this;
    if (sleep.state === null && group === null) return null;
    const awake = sleep.state === null || sleep.ends();
    const end = group?.release(awake, sink) ?? null;
    // Looking takes signals, also the deadline's.
    this.deadline.again();
    if (end !== null || awake) return end;
    // While others run, one that sleeps waits in KVM_RUN, where they can wake it.
    if (group?.going !== true) return sleep.state;
    sleep.wake();
    return null;
  }

  shorten(ns: number): void {
    if (this.leader.inside) this.leader.deadline.shorten(ns);
  }

  kick(): void {
    this.leader.kicks.ask();
  }

  nmi(): void {
    this.still(() => ioctl(this.ports.sys, this.fd, 'NMI'));
    this.ports.events.count++;
  }

  /** Sets breakpoints and single-stepping; hits are `debug` exits. */
  debug(request: DebugRequest): void {
    this.still(() => ioctl(this.ports.sys, this.fd, 'SET_GUEST_DEBUG', guestDebug(request)));
  }

  readState(): VcpuState {
    return this.still(() => this.registers.read(this.inside));
  }

  writeState(state: VcpuState): void {
    this.still(() => {
      if (!this.inside) this.complete(() => {});
      this.registers.write(state);
      this.setRunnable();
    });
  }

  /** Does what takes the vCPU out of its thread, which then goes on. */
  private still<Result>(action: () => Result): Result {
    return this.thread === null ? action() : this.thread.still(action);
  }

  /** As after a change of state from outside: not asleep, nothing under way. */
  setRunnable(): void {
    this.sleep.makeRunnable();
  }

  /** The vCPU's state was replaced: finds out whether it sleeps. */
  stateReplaced(): void {
    this.incomplete = false;
    this.undelivered = false;
    this.registers.stale();
    this.sleep.replaced();
  }

  /** Completes the instruction under way, as a snapshot needs it. What else a run came to. */
  settle(sink: ExitSink = () => {}): RunEnd | null {
    return this.asInside(() => this.complete(sink));
  }

  get halted(): boolean {
    return this.sleep.state === 'halted';
  }

  set halted(value: boolean) {
    if (value) this.sleep.state = 'halted';
  }

  dispose(): void {
    this.sleep.cancelWake();
    this.mapping.dispose();
    this.ports.sys.syscall(NR.close, this.fd);
  }

  private loop(sink: ExitSink): RunEnd {
    const { signals, watch } = this.ports;
    for (;;) {
      if (this.kicks.take() || watch.calls()) return this.stop('kicked', sink);
      if (this.deadline.stopping) return this.stop('slice', sink);
      if (this.group !== null) {
        const end = this.group.attend(sink);
        if (end !== null) return this.complete(sink) ?? end;
        // A handler of another's exit may have asked for the end.
        if (this.deadline.stopping || !this.group.enter()) continue;
      }
      const result = this.enter();
      this.group?.leave();
      this.incomplete = false;
      if (result === 0) {
        const end = this.exit(sink);
        if (end !== null) return end;
        continue;
      }
      if (result === -ERRNO.EINTR) {
        this.interruptionsHere++;
        // Without a deadline or request it was some other signal: go on.
        if (signals.drain() && this.over()) return this.stop('slice', sink);
      } else if (result === -ERRNO.EAGAIN) {
        // A CPU that waits for SIPI was told something.
        if (this.sleep.find() === 'waiting') return this.stop('slice', sink);
      } else return this.runFailed(result, sink);
    }
  }

  private runFailed(result: number, sink: ExitSink): RunEnd {
    const { page } = this;
    if (page.reason === EXIT.MEMORY_FAULT && result !== -ERRNO.EBADF) page.deliverMemoryFault(sink);
    else page.deliverError(sink, 'run-failed', `KVM_RUN: ${errnoName(result)}`);
    return 'error';
  }

  /** The timer fired: whether the run is over. */
  private over(): boolean {
    const { group } = this;
    if (group === null) return this.deadline.passed(() => this.sleep.worthwhile);
    return this.deadline.passed(() => {
      // What was told to a CPU that waits for SIPI is only found by looking.
      group.listen();
      return group.seemAsleep && this.sleep.worthwhile;
    });
  }

  /** KVM_RUN; or the exit that `poll` found. */
  private enter(): number {
    if (this.undelivered) {
      this.undelivered = false;
      return 0;
    }
    this.inject();
    this.registers.stale();
    this.entriesHere++;
    return this.ports.sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
  }

  /** Ends a run: completes the instruction, then looks whether the vCPU sleeps. */
  private stop(end: 'slice' | 'kicked', sink: ExitSink): RunEnd {
    const completed = this.complete(sink);
    if (completed !== null) return completed;
    if (end === 'kicked') return end;
    // While others run, HLT is theirs to end.
    const { group, ports } = this;
    if (group !== null && !(this.sleep.find() !== null && group.allSleep(sink))) return end;
    // Rung before they slept, and nobody was told yet.
    if (ports.watch.tell()) return end;
    const asleep = this.sleep.begin(group !== null);
    if (asleep === 'halted') this.page.deliverHalt(sink);
    return asleep ?? end;
  }

  /** Answers one exit; what the run comes to if that ends it. */
  private exit(sink: ExitSink): RunEnd | null {
    const { page } = this;
    this.registers.exited();
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
        return this.sleep.halt();
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

  private ringFull(sink: ExitSink): RunEnd | null {
    this.emptyRings = this.ports.ringFull() > 0 ? 0 : this.emptyRings + 1;
    if (this.emptyRings < EMPTY_RINGS_MAX) return null;
    this.page.deliverError(sink, 'dirty-ring', 'KVM calls a dirty ring full that lists no pages');
    return 'error';
  }

  /** Another processor executes the instruction that KVM could not; what the run comes to. */
  private assisted(assist: KvmAssist, sink: ExitSink): RunEnd | null {
    const step = () => assist.step(this, sink);
    const end = this.group === null ? step() : this.group.still(step);
    if (end === 'shutdown') return end;
    if (end === 'done') {
      this.registers.forget();
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
    if (!this.incomplete || this.thread?.ran === true) return null;
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

  // As a follower of its group.

  get asleep(): Asleep | null {
    return this.sleep.state;
  }

  get disturbed(): boolean {
    return this.sleep.mayEnd;
  }

  answer(sink: ExitSink): RunEnd | null {
    const thread = this.thread!;
    if (thread.failure !== null) {
      this.page.deliverError(sink, 'vcpu-thread', `CPU ${this.index}: ${thread.failure}`);
      return 'error';
    }
    const result = thread.take();
    this.incomplete = false;
    this.registers.stale();
    if (result !== 0) return this.runFailed(result, sink);
    return this.asInside(() => this.exit(sink));
  }

  rouse(sink: ExitSink): RunEnd | null {
    if (this.sleep.state === null || !this.sleep.mayEnd || !this.sleep.ends()) return null;
    return this.looked(sink);
  }

  listen(): void {
    if (this.sleep.find() === null) this.wake();
  }

  wake(): void {
    this.sleep.wake();
  }

  rest(sink: ExitSink): RunEnd | null {
    const before = this.sleep.state;
    this.sleep.cancelWake();
    if (this.sleep.begin(true) === 'halted' && before === null) this.page.deliverHalt(sink);
    return this.looked(sink);
  }

  /** Behind a look: answers the exit that it came to, if it did. */
  private looked(sink: ExitSink): RunEnd | null {
    if (!this.undelivered) return null;
    this.undelivered = false;
    return this.asInside(() => this.exit(sink));
  }

  note(): void {
    this.sleep.note();
  }

  private asInside<Result>(action: () => Result): Result {
    const before = this.inside;
    this.inside = true;
    try {
      return action();
    } finally {
      this.inside = before;
    }
  }

  /** Injects the PIC's interrupt, or asks to be told when that can be. */
  private inject(): void {
    const { interrupts, sys } = this.ports;
    if (this.index !== 0) return;
    if (!interrupts.wanted) {
      if (this.windowAsked) this.askWindow(false);
      return;
    }
    if (!this.page.ready) {
      this.askWindow(true);
      return;
    }
    const irq = make(INTERRUPT, { irq: interrupts.acknowledge() });
    tryIoctl(sys, this.fd, 'INTERRUPT', irq.bytes);
    this.askWindow(interrupts.wanted);
  }

  private askWindow(on: boolean): void {
    this.windowAsked = on;
    this.page.requestWindow = on;
  }

  /** Enters the guest with a signal pending; true when it ran so far as to exit. */
  poll(): boolean {
    // An exit that the loop has not seen yet must not be lost.
    if (this.undelivered) return true;
    const { sys, signals } = this.ports;
    this.inject();
    signals.raise();
    this.registers.stale();
    this.entriesHere++;
    const result = sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
    signals.drain();
    this.undelivered = result === 0;
    return this.undelivered;
  }
}
