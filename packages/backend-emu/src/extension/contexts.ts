/**
 * The contexts of a vCPU: register windows of those that are not active.
 */
import { REGISTER_WINDOW_SIZE, type Snapshot } from '@cloister/core';
import type { Processor } from '../cpu/processor.js';
import { RegisterWindows } from './registers.js';

export class Contexts {
  active = 0;
  private kept = new Map<number, Uint8Array>();
  private made: RegisterWindows | null = null;

  constructor(private readonly cpu: Processor) {}

  /** Made when an extension first asks. */
  get windows(): RegisterWindows {
    this.made ??= new RegisterWindows(this.cpu);
    return this.made;
  }

  /** The registers were replaced by others than the extension. */
  forget(): void {
    this.made?.forget();
  }

  reset(): void {
    this.active = 0;
    this.kept.clear();
    this.forget();
  }

  /** Makes another context active; `hidden`: registers are the extension's to keep. */
  switch(context: number, hidden: boolean): void {
    if (!hidden) {
      const window = new Uint8Array(REGISTER_WINDOW_SIZE);
      this.windows.save(window);
      this.kept.set(this.active, window);
    }
    const next = this.kept.get(context);
    this.kept.delete(context);
    this.active = context;
    this.windows.clear();
    if (next !== undefined) this.windows.load(next);
    this.cpu.mmu.tlb.flushAll();
  }

  snapshot(): Snapshot['state'] {
    return { active: this.active, kept: [...this.kept].flat() };
  }

  restore(saved: unknown, count: number): void {
    this.reset();
    const { active, kept } = (saved ?? {}) as { active?: unknown; kept?: unknown };
    this.active = isContext(active, count) ? active : 0;
    if (!Array.isArray(kept)) return;
    for (let i = 0; i + 1 < kept.length; i += 2) {
      const [context, window] = [kept[i] as unknown, kept[i + 1] as unknown];
      const fits = window instanceof Uint8Array && window.length === REGISTER_WINDOW_SIZE;
      if (isContext(context, count) && fits) this.kept.set(context, window.slice());
    }
  }
}

function isContext(value: unknown, count: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < count;
}
