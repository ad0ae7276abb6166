/**
 * Who wants the VM to stand still, and where.
 */
import type { VmStatus } from '../interfaces/index.js';

interface Waiter {
  /** Instruction before which the VM is to stop; undefined for as soon as possible. */
  readonly at: number | undefined;
  readonly resolve: () => void;
}

export class PausePoints {
  private waiters: Waiter[] = [];

  /** Resolves when the VM stands still there, or never will. */
  wait(at: number | undefined): Promise<void> {
    return new Promise((resolve) => this.waiters.push({ at, resolve }));
  }

  /** The nearest instruction that somebody named, Infinity for none. */
  get nearest(): number {
    const places = this.waiters.map(({ at }) => at ?? Number.POSITIVE_INFINITY);
    return Math.min(Number.POSITIVE_INFINITY, ...places);
  }

  /** Tells those whose pause has come about, was taken back, or never will come. */
  settle(status: VmStatus, instructions: number, takenBack = false): void {
    const stands = status !== 'running';
    const over = stands && status !== 'paused';
    const due = this.waiters.filter(({ at }) =>
      at === undefined ? stands || takenBack : over || (stands && at <= instructions),
    );
    this.waiters = this.waiters.filter((each) => !due.includes(each));
    for (const { resolve } of due) resolve();
  }
}
