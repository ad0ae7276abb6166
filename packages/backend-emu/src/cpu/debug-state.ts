/**
 * What stands between two instructions for debug exceptions: the trap that is due, RFLAGS.RF, and
 * the shadow of a load of SS. RF and the shadow hold at one instruction count, so that nothing has
 * to end them. The trap and RF lie in the vCPU record: emitted code asks for the one and sets the
 * other.
 *
 * Source: AMD APM vol. 2, 3.1.6 (RF), 13.1.4 (single step), 8.5 (priorities).
 */
import { FLAG_RF, FLAG_TF } from './flags.js';
import * as L from './layout.js';
import type { CpuRecord } from './record.js';

/** DR6.BS: a single-step trap. */
export const DR6_BS = 1 << 14;
const PENDING = L.DEBUG_PENDING >> 2;

export class DebugState {
  /** The instruction in execution takes no single-step trap. */
  untraced = false;
  private stackShadowAt = -1;

  constructor(
    private readonly record: CpuRecord,
    /** Instructions executed by the vCPU when the one in execution, if any, has ended. */
    public boundary: () => number,
  ) {}

  /** Causes, as DR6 has them, of the trap that is due. */
  get pending(): number {
    return this.record.words[PENDING];
  }

  set pending(causes: number) {
    this.record.words[PENDING] = causes;
  }

  private get resumeAt(): number {
    return this.record.hi(L.RESUME_AT) * 2 ** 32 + this.record.u32(L.RESUME_AT);
  }

  private set resumeAt(count: number) {
    this.record.setPair(L.RESUME_AT, count, Math.floor(count / 2 ** 32));
  }

  clear(): void {
    this.pending = 0;
    this.resumeAt = -1;
    this.stackShadowAt = -1;
  }

  /** A trap is due after the instruction. */
  pend(causes: number): void {
    this.pending |= causes;
  }

  /** No debug exception before the instruction after this one has ended: it loads SS. */
  inhibit(): void {
    this.stackShadowAt = this.boundary();
    this.untraced = true;
  }

  /** Between instructions: the last one has loaded SS. */
  get inStackShadow(): boolean {
    return this.stackShadowAt === this.boundary();
  }

  /** RFLAGS.RF at this point, in its place. It ends with the instruction. */
  get resumeFlag(): number {
    return this.resumeAt === this.boundary() ? FLAG_RF : 0;
  }

  /** Sets RFLAGS.RF for the next instruction. */
  setResumeFlag(): void {
    this.resumeAt = this.boundary();
  }

  clearResumeFlag(): void {
    this.resumeAt = -1;
  }

  /** A single-step trap is due if TF is set after the instruction rather than before. */
  traceByNewFlags(): void {
    this.untraced = true;
    if ((this.record.i32(L.EFLAGS) & FLAG_TF) !== 0) this.pending |= DR6_BS;
  }

  snapshot(): readonly number[] {
    return [this.pending, this.resumeAt, this.stackShadowAt];
  }

  restore(saved: unknown): void {
    this.clear();
    if (!Array.isArray(saved)) return;
    const [pending, resumeAt, stackShadowAt] = saved.map(Number);
    this.pending = pending;
    this.resumeAt = resumeAt;
    this.stackShadowAt = stackShadowAt;
  }
}
