/**
 * The vCPUs of a VM that execute at the same time: the first in the thread of the VM, every other
 * in one of its own. A run of the first lets the others go; their exits are answered inside of it,
 * as their rings interrupt KVM_RUN. Between its runs they go on, and their exits wait.
 *
 * While all sleep every vCPU is parked and the VM's thread is free. That all do is only certain
 * with every one of them stopped: one may have woken another since that was looked at.
 */
import type { ExitSink, RunEnd } from '@cloister/core';
import type { Bell } from './vcpu-mailbox.js';
import type { Asleep } from './vcpu-sleep.js';
import type { VcpuThread } from './vcpu-thread.js';

/** Others' exits in a row, each answered as the next came, before the first vCPU has its turn. */
const MISSES_MAX = 32;

/** A vCPU with a thread of its own, as its group needs it. */
export interface Follower {
  readonly thread: VcpuThread;
  /** Of one that is parked: the sleep that it was found in; null when awake. */
  readonly asleep: Asleep | null;
  /** Whether something happened that may have woken it since. */
  readonly disturbed: boolean;
  /** Answers the exit that its thread came back with; what the run comes to if that ends it. */
  answer(sink: ExitSink): RunEnd | null;
  /** Of one that is parked: looks whether it is still asleep. An exit on the way is answered. */
  rouse(sink: ExitSink): RunEnd | null;
  /** Of one that waits for SIPI: looks whether it has come. */
  listen(): void;
  /** Takes it for awake: its thread goes on, be it in the middle of HLT. */
  wake(): void;
  /** Of one that is parked: completes what is under way. */
  settle(sink: ExitSink): RunEnd | null;
  /**
   * Of one that is settled: finds out whether it sleeps; a halt is told to `sink` once. An exit on
   * the way is answered.
   */
  rest(sink: ExitSink): RunEnd | null;
  /** Nothing that happened up to now wakes it. */
  note(): void;
}

export class VcpuGroup {
  private readonly followers: Follower[] = [];
  private heard = 0;
  private misses = 0;
  /** What a run is to come to: found when none was there to end. */
  private due: RunEnd | null = null;

  constructor(
    private readonly bell: Bell,
    private readonly tid: number,
  ) {}

  add(follower: Follower): void {
    this.followers.push(follower);
  }

  /** Whether some vCPU executes, or is to. */
  get going(): boolean {
    return this.followers.some(({ thread }) => !thread.owned || thread.exited);
  }

  /** Whether a run has something to do for the others. */
  get active(): boolean {
    if (this.due !== null || this.going) return true;
    return this.followers.some(({ asleep, disturbed }) => asleep === null || disturbed);
  }

  /** Whether every other vCPU was asleep when that was last looked at. */
  get seemAsleep(): boolean {
    return this.followers.every(({ thread, asleep }) =>
      thread.owned ? !thread.exited && asleep !== null : thread.seemsAsleep,
    );
  }

  /**
   * A run begins: lets those go that are awake. While one executes, the first if `first`, those
   * that halted have to be in KVM_RUN as well, where it can wake them. What the run comes to if
   * that ends it.
   */
  release(first: boolean, sink: ExitSink): RunEnd | null {
    const { due } = this;
    this.due = null;
    if (due !== null) return due;
    for (const each of this.followers) {
      if (!each.thread.owned) continue;
      const end = this.forward(each, first, sink);
      if (end !== null) return end;
    }
    if (!first && !this.going) return null;
    for (const each of this.followers) {
      if (!each.thread.owned || each.asleep !== 'halted') continue;
      each.wake();
      each.thread.go(true);
    }
    return null;
  }

  /** In the middle of a run: lets those go that were told SIPI. */
  listen(): void {
    for (const each of this.followers) {
      if (!each.thread.owned || each.asleep !== 'waiting') continue;
      each.listen();
      if (each.asleep === null) each.thread.go();
    }
  }

  /** Answers what the others came back with since the last call. */
  attend(sink: ExitSink): RunEnd | null {
    const { due } = this;
    if (due !== null) {
      this.due = null;
      return due;
    }
    const { rings } = this.bell;
    if (rings === this.heard) return null;
    this.heard = rings;
    for (const each of this.followers) {
      if (!each.thread.exited && each.thread.failure === null) continue;
      const end = this.forward(each, true, sink);
      if (end !== null) return end;
    }
    return null;
  }

  /** Before KVM_RUN of the first vCPU; false when there is something to attend to. */
  enter(): boolean {
    if (this.due !== null) return false;
    // However many exit without end: the deadline is only seen behind KVM_RUN.
    const entered = this.bell.enter(this.tid, this.heard, this.misses >= MISSES_MAX);
    this.misses = entered ? 0 : this.misses + 1;
    return entered;
  }

  leave(): void {
    this.bell.leave();
  }

  /** Parks every vCPU between two instructions; what exits until then is answered. */
  park(sink: ExitSink): void {
    this.stopAll();
    for (const each of this.followers) {
      const end = (each.thread.exited ? each.answer(sink) : null) ?? each.settle(sink);
      if (each.thread.exited) each.thread.keep();
      this.due ??= end;
    }
  }

  /**
   * The first vCPU sleeps: whether all do, and then all are parked. A run that ends meanwhile does
   * so at the next `attend`.
   */
  allSleep(sink: ExitSink): boolean {
    if (!this.seemAsleep) return false;
    this.park(sink);
    for (const each of this.followers) this.due = each.rest(sink) ?? this.due;
    return this.due === null && this.followers.every(({ asleep }) => asleep !== null);
  }

  /** The VM's state was replaced: what its runs were to come to is past. */
  forget(): void {
    this.due = null;
  }

  note(): void {
    for (const each of this.followers) each.note();
  }

  /** Does what must not meet a running vCPU; exits stay unanswered meanwhile. */
  still<Result>(action: () => Result): Result {
    const stopped = this.stopAll();
    try {
      return action();
    } finally {
      for (const { thread } of stopped) if (!thread.exited) thread.go();
    }
  }

  /** Those that were going. */
  private stopAll(): Follower[] {
    const going = this.followers.filter(({ thread }) => !thread.owned);
    for (const { thread } of going) thread.ask();
    for (const { thread } of going) thread.await();
    return going;
  }

  /** Stops all for good and ends their threads. */
  async end(): Promise<void> {
    this.stopAll();
    await Promise.all(this.followers.splice(0).map(({ thread }) => thread.end()));
  }

  /** Lets one that is here go on if it can; `first` as for `release`. */
  private forward(each: Follower, first: boolean, sink: ExitSink): RunEnd | null {
    const { thread } = each;
    let end: RunEnd | null = null;
    if (thread.exited || thread.failure !== null) {
      end = each.answer(sink);
      if (end !== null && thread.exited) thread.keep();
    } else if (each.asleep === 'waiting' || !first) end = each.rouse(sink);
    if (end === null && each.asleep === null) thread.go();
    return end;
  }
}
