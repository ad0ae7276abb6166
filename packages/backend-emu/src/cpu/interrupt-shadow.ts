/**
 * The shadow of STI, MOV SS and POP SS: interrupts are not taken before the next instruction has
 * ended.
 *
 * Source: AMD APM vol. 3, STI, MOV, POP. It is the RIP of the instruction in the
 * shadow (`SHADOW_RIP`, which emitted code sets too), so that nothing has to end it.
 */
import * as L from './layout.js';
import type { CpuRecord } from './record.js';

const NONE = -1;
const RIP = L.RIP >> 2;
const SHADOW = L.SHADOW_RIP >> 2;

export class InterruptShadow {
  constructor(private readonly record: CpuRecord) {}

  clear(): void {
    this.record.setPair(L.SHADOW_RIP, NONE, NONE);
  }

  /** The instruction in execution casts a shadow on the next one. */
  cast(): void {
    this.record.copyPair(L.SHADOW_RIP, L.NEXT_RIP);
  }

  /** Whether the next instruction is in the shadow. Ends a shadow left behind. */
  covers(): boolean {
    const { words } = this.record;
    const lo = words[SHADOW];
    const hi = words[SHADOW + 1];
    if (lo === NONE && hi === NONE) return false;
    if (lo === words[RIP] && hi === words[RIP + 1]) return true;
    this.clear();
    return false;
  }

  /**
   * The instruction at this RIP, in the shadow, was executed: unless it cast a shadow of its own,
   * there is none any more, even if it jumped to itself or is to be repeated.
   */
  end(ripLo: number, ripHi: number): void {
    const { words } = this.record;
    if (words[SHADOW] === ripLo && words[SHADOW + 1] === ripHi) this.clear();
  }
}
