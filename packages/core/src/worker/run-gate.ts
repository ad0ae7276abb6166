/**
 * Who wants a VM to stand still. It runs while nobody does, so that a slow console and a host that
 * pauses do not let it go on in each other's place.
 */
import type { Vm } from '../machine/vm.js';

export type HoldReason = 'host' | 'console' | 'save';

export class RunGate {
  private readonly reasons = new Set<HoldReason>();

  constructor(private readonly vm: Vm) {}

  holds(reason: HoldReason): boolean {
    return this.reasons.has(reason);
  }

  /** Resolves when the VM stands still or has ended. */
  async hold(reason: HoldReason): Promise<void> {
    this.reasons.add(reason);
    if (this.vm.status !== 'created') await this.vm.pause();
  }

  /** Lets the VM run up to instruction `at` and holds it there. */
  async holdAt(reason: HoldReason, at: number): Promise<void> {
    await this.vm.pause({ at });
    if (this.vm.status === 'paused') this.reasons.add(reason);
  }

  release(reason: HoldReason): void {
    if (this.reasons.delete(reason)) this.settle();
  }

  /** Makes the VM do what the reasons come to, after it was started. */
  settle(): void {
    const { status } = this.vm;
    if (status !== 'running' && status !== 'paused') return;
    if (this.reasons.size === 0) this.vm.resume();
    // Never rejects in these states, and nobody waits for it.
    else void this.vm.pause();
  }
}
