/**
 * A vCPU with a thread of its own, as its group needs it while it is in the thread of the VM.
 */
import type { ExitSink, RunEnd } from '@cloister/core';
import type { VcpuEntry } from './vcpu-entry.js';
import type { Follower } from './vcpu-group.js';
import type { Asleep } from './vcpu-sleep.js';
import type { VcpuThread } from './vcpu-thread.js';

export class VcpuFollower implements Follower {
  constructor(
    private readonly entry: VcpuEntry,
    readonly thread: VcpuThread,
  ) {}

  get asleep(): Asleep | null {
    return this.entry.sleep.state;
  }

  get disturbed(): boolean {
    return this.entry.sleep.mayEnd;
  }

  answer(sink: ExitSink): RunEnd | null {
    const { entry, thread } = this;
    if (thread.failure !== null) {
      const text = `CPU ${entry.index}: ${thread.failure}`;
      entry.page.deliverError(sink, 'vcpu-thread', text);
      return 'error';
    }
    const result = thread.take();
    entry.incomplete = false;
    entry.registers.stale();
    if (result !== 0) return entry.failed(result, sink);
    return entry.asInside(() => entry.exit(sink));
  }

  rouse(sink: ExitSink): RunEnd | null {
    const { sleep } = this.entry;
    if (sleep.state === null || !sleep.mayEnd || !sleep.ends()) return null;
    return this.entry.looked(sink);
  }

  listen(): void {
    if (this.entry.sleep.find() === null) this.wake();
  }

  wake(): void {
    this.entry.sleep.wake();
  }

  settle(sink: ExitSink): RunEnd | null {
    // Where KVM was entered since, it has completed that.
    return this.thread.ran ? null : this.entry.asInside(() => this.entry.complete(sink));
  }

  rest(sink: ExitSink): RunEnd | null {
    const { sleep, page } = this.entry;
    const before = sleep.state;
    sleep.cancelWake();
    if (sleep.begin(true) === 'halted' && before === null) page.deliverHalt(sink);
    return this.entry.looked(sink);
  }

  note(): void {
    this.entry.sleep.note();
  }
}
