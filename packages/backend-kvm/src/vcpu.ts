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
import { ERRNO } from './abi/linux.js';
import { type DebugRequest, guestDebug } from './debug.js';
import { HypercallLoop } from './hypercall-loop.js';
import { type KickHandle, KickRequest } from './kick.js';
import { RunDeadline } from './run-deadline.js';
import { ioctl } from './sys/sys.js';
import { VcpuEntry } from './vcpu-entry.js';
import { VcpuFollower } from './vcpu-follower.js';
import type { VcpuGroup } from './vcpu-group.js';
import type { VcpuPorts } from './vcpu-ports.js';
import type { VcpuThread } from './vcpu-thread.js';

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
  readonly kicks = new KickRequest();
  readonly thread: VcpuThread | null;
  /** Its part in the group; null for the first vCPU and where there is no group. */
  readonly follower: VcpuFollower | null;
  private readonly group: VcpuGroup | null;
  private readonly leader: KvmVcpu;
  private readonly entry: VcpuEntry;
  private readonly deadline: RunDeadline;
  /** What looks whether the guest stands still in a hypercall; null where none does. */
  private readonly calls: HypercallLoop | null;
  private interruptionsHere = 0;

  constructor(
    readonly index: number,
    readonly fd: number,
    runSize: number,
    private readonly ports: VcpuPorts,
    { group, leader, thread }: Membership | typeof ALONE = ALONE,
  ) {
    this.group = group;
    this.leader = leader ?? this;
    this.thread = thread;
    const { sys, readMemory } = ports;
    this.calls = readMemory === null ? null : new HypercallLoop(sys, fd, readMemory);
    this.deadline = new RunDeadline(ports.clock, ports.signals, group === null ? fd : null);
    this.entry = new VcpuEntry(index, fd, runSize, ports, (action) =>
      group === null ? action() : group.still(action),
    );
    if (index === 0) ports.interrupts.onWanted = () => this.deadline.attend();
    this.follower = thread === null ? null : new VcpuFollower(this.entry, thread);
  }

  /** Times that KVM_RUN was called. */
  get entries(): number {
    return this.entry.count + (this.thread?.entries ?? 0);
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
    return this.entry.interruptible;
  }

  get runnable(): boolean {
    if (this.thread !== null) return false;
    return this.kicks.pending || this.entry.sleep.mayEnd || (this.group?.active ?? false);
  }

  run(slice: number, sink: ExitSink): RunEnd {
    const { entry } = this;
    const { sleep } = entry;
    if (entry.inside) throw new VmmError('invalid-state', 'the vCPU is running already');
    if (this.thread !== null) {
      throw new VmmError('invalid-state', 'the vCPU runs in a thread of its own', {
        remedy: 'run the first one, or use kvm({ parallel: false })',
      });
    }
    if (sleep.state !== null && this.kicks.take()) return 'kicked';
    const { signals, events, watch } = this.ports;
    entry.inside = true;
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
      this.deadline.end();
      entry.inside = false;
      // What this vCPU did may have woken another.
      events.count++;
      sleep.note();
      if (sleep.state !== null) this.deadline.halted();
      this.group?.note();
    }
  }

  /** Null when there is something to run, else what the run comes to. */
  private beginning(sink: ExitSink): RunEnd | null {
    const { group } = this;
    const { sleep } = this.entry;
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
    if (this.leader.entry.inside) this.leader.deadline.shorten(ns);
  }

  kick(): void {
    this.leader.kicks.ask();
    this.leader.deadline.attend();
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
    this.deadline.attend();
    return this.still(() => this.entry.registers.read(this.entry.inside));
  }

  writeState(state: VcpuState): void {
    this.still(() => {
      if (!this.entry.inside) {
        this.requireAnswered();
        this.settle();
      }
      this.entry.registers.write(state);
      this.setRunnable();
    });
  }

  /** An exit that waits for its answer is of the state of before. */
  private requireAnswered(): void {
    if (this.thread?.exited !== true) return;
    throw new VmmError('invalid-state', `an exit of CPU ${this.index} is not answered yet`, {
      remedy: 'park the VM first',
    });
  }

  /** Does what takes the vCPU out of its thread, which then goes on. */
  private still<Result>(action: () => Result): Result {
    return this.thread === null ? action() : this.thread.still(action);
  }

  /** As after a change of state from outside: not asleep, nothing under way. */
  setRunnable(): void {
    this.entry.sleep.makeRunnable();
  }

  /** The vCPU's state was replaced: finds out whether it sleeps. */
  stateReplaced(): void {
    this.entry.stateReplaced();
  }

  /** Completes the instruction under way, as a snapshot needs it. */
  settle(): void {
    const nothing = () => {};
    if (this.follower !== null) this.follower.settle(nothing);
    else this.entry.asInside(() => this.entry.complete(nothing));
  }

  get halted(): boolean {
    return this.entry.sleep.state === 'halted';
  }

  set halted(value: boolean) {
    if (value) this.entry.sleep.state = 'halted';
  }

  dispose(): void {
    this.entry.dispose();
  }

  private loop(sink: ExitSink): RunEnd {
    const { entry, deadline, group } = this;
    const { watch } = this.ports;
    for (let exited = false; ; ) {
      if (this.kicks.take() || watch.calls()) return this.stop('kicked', sink);
      if (deadline.stopping) return this.stop('slice', sink, exited && group === null);
      if (group !== null) {
        const end = group.attend(sink);
        if (end !== null) return entry.complete(sink) ?? end;
        // A handler of another's exit may have asked for the end.
        if (deadline.stopping || !group.enter()) continue;
      }
      const alone = group === null && entry.plain;
      const before = entry.count;
      const result = alone ? entry.access(sink, deadline) : entry.enter();
      group?.leave();
      exited = result === 0;
      // Each entry but the last came to an exit.
      if (exited || entry.count > before + 1) this.calls?.moved();
      if (exited) {
        if (alone && entry.answered) continue;
        const end = entry.exit(sink);
        if (end !== null) return end;
        deadline.exited();
      } else {
        const end = this.interrupted(result, sink);
        if (end !== null) return end;
      }
    }
  }

  /** KVM_RUN came back without an exit; what the run comes to if that ends it. */
  private interrupted(result: number, sink: ExitSink): RunEnd | null {
    const { entry } = this;
    entry.incomplete = false;
    if (result === -ERRNO.EINTR) {
      this.interruptionsHere++;
      // Without a deadline or request it was some other signal: go on.
      if (this.deadline.interrupted() && this.over()) return this.stop('slice', sink);
      return null;
    }
    if (result !== -ERRNO.EAGAIN) return entry.failed(result, sink);
    // A CPU that waits for SIPI was told something.
    return entry.sleep.find() === 'waiting' ? this.stop('slice', sink) : null;
  }

  /** The timer fired: whether the run is over. */
  private over(): boolean {
    const { group } = this;
    const { sleep } = this.entry;
    if (group === null) return this.deadline.passed(() => sleep.worthwhile);
    return this.deadline.passed(() => {
      // What was told to a CPU that waits for SIPI is only found by looking.
      group.listen();
      return group.seemAsleep && sleep.worthwhile;
    });
  }

  /**
   * Ends a run: completes the instruction, then looks whether the vCPU sleeps, which it cannot
   * right behind an exit (`awake`).
   */
  private stop(end: 'slice' | 'kicked', sink: ExitSink, awake = false): RunEnd {
    const { sleep, page } = this.entry;
    this.deadline.close();
    const completed = this.entry.complete(sink);
    if (completed !== null) return completed;
    if (end === 'kicked') return end;
    if (awake) return end;
    // While others run, HLT is theirs to end.
    const { group, ports } = this;
    if (group !== null && !(sleep.find() !== null && group.allSleep(sink))) return end;
    // Rung before they slept, and nobody was told yet.
    if (ports.watch.tell()) return end;
    const asleep = sleep.begin(group !== null);
    if (asleep === 'halted') page.deliverHalt(sink);
    return asleep ?? this.inHypercall(sink) ?? end;
  }

  /** A run without exits ended: an error where the guest stands still for good. */
  private inHypercall(sink: ExitSink): RunEnd | null {
    const at = this.calls?.found() ?? null;
    if (at === null) return null;
    const place = `the hypercall at 0x${at.toString(16)}`;
    const text = `KVM tries ${place} for ever: on this host guests can make none in kernel mode`;
    this.entry.page.deliverError(sink, 'hypercall-loop', text);
    return 'error';
  }
}
